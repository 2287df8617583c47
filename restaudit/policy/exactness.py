"""The self-check at load: every fast way to compute is compared with the model's own forward pass,
on this very model.

Prompts of different lengths and with a common beginning get responses; where the model has a
sliding window that sequences can exceed, some do. Sampling, training, likelihoods and KL are then
computed by the fastest route and compared with `model(input_ids).logits`, with the weights as they
are and with the trained weights changed at random (a fresh adapter changes nothing, and would hide
what forgets it). A route that disagrees is replaced by the next plainer one; where the plainest
disagrees too, the model is refused.

The check is made in float32, also for a model that computes in bfloat16: there rounding alone moves
a response by up to a nat, and a wrong window or a forgotten bias could hide behind it.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from restaudit.config import SamplingConfig
from restaudit.errors import BadInput
from restaudit.policy.adapters import plain_dtypes, unmergeable
from restaudit.policy.divergence import free_memory, kl_between
from restaudit.policy.finetune import training_logprobs
from restaudit.policy.forward import PLAIN, Cache, Route, Routes, evaluating
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.packing import TrainingExample
from restaudit.policy.sample import SampleRequest, sample

if TYPE_CHECKING:
    import torch

    from restaudit.policy.model import Policy


# A difference in nats over a response of BOUND_TOKENS that rounding does not explain: in float32,
# and in a lower precision where the model cannot be computed in float32 (it is quantised, its
# attention needs half precision, memory is short). Over fewer tokens less is allowed: errors of a
# cache grow with every token.
# Ways that are right agree within 0.0001 nats in float32, so that 0.001 tells right from wrong; in
# bfloat16 rounding alone moves 8 tokens of SmolLM2-135M by 0.3 to 0.9 (docs/decisions/0015).
BOUND, ROUGH_BOUND, BOUND_TOKENS = 0.001, 1.0, 12
# Tokens that are drawn from each prompt.
STEPS = 4
# Of the model's own caches more is asked: some hold states whose error grows with every token.
STEPS_OF_STATES = 24
# Two prompts: a question as the policy is asked it, and the beginnings of two answers, so that they
# have much in common and end differently soon after. Of the first one two samples are drawn.
QUESTION = "Write one sentence."
BEGUN = ("A river", "How a small town lives through the winter")
# A window up to this long is crossed while sampling, token by token; a longer one by the prompt.
SHORT_WINDOW = 48
# Settings of a model beyond whose value it computes in another way.
EDGES = re.compile(r"window|chunk_size|block_size|local_attention|original_max_position")
# What a model's code raises when it is asked in a way that it does not know.
FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    AssertionError,
)

CACHES_IN_WORDS: dict[Cache, str] = {
    "shared": "one cache, common beginnings computed once",
    "growing": "one cache, prompts padded",
    "padded": "the model's own generate, prompts padded",
    "equal": "the model's own generate, prompts of one length at a time",
    "none": "a whole forward pass for every token",
}

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Proof:
    """What was seen of one use: the route that is taken, its largest difference in nats, and the
    routes that are not.

    `bound` is what was allowed; `refused` holds (route in words, why it is not taken).
    """

    route: Route
    difference: float
    bound: float
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Exactness:
    """The result of the self-check; `dtype` is the one it was made in.

    `effect` is how far the changed weights moved a response's log-probability (nats, the median),
    so that a route that forgot them would have been seen. The routes hold for sequences of up to
    `reach` tokens; None is any length.
    """

    model: str
    dtype: str
    sequences: int
    tokens: int
    longest: int
    reach: int | None
    effect: float
    unmergeable: str | None
    uses: dict[str, Proof]
    seconds: float

    @property
    def largest(self) -> float:
        """The largest difference of all routes that are taken, in nats."""
        return max(p.difference for p in self.uses.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as environment.json holds them."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            "compared_with": "model(input_ids).logits, without padding and cache",
            "sequences": self.sequences,
            "response_tokens": self.tokens,
            "longest_sequence": self.longest,
            "proved_up_to": self.reach,
            "effect_of_changed_weights_nats": self.effect,
            "largest_difference_nats": self.largest,
            "not_merged_because": self.unmergeable,
            "uses": {
                use: {
                    "route": described(use, proof.route),
                    "difference_nats": proof.difference,
                    "allowed_nats": proof.bound,
                    "routes_not_taken": [{"route": r, "because": why} for r, why in proof.refused],
                }
                for use, proof in self.uses.items()
            },
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> list[str]:
        """What a person should know, in sentences: the agreement, and every fast route that is not
        taken.
        """
        lines = [
            "self-check: how restaudit computes and the model's own forward pass agree within "
            f"{self.largest:.2g} nats over {self.tokens} tokens (in {self.dtype}, "
            f"{self.seconds:.1f} s)"
        ]
        for use, proof in self.uses.items():
            if proof.refused:
                route, why = proof.refused[0]
                lines.append(f"  {use}: {described(use, proof.route)}; not {route}: {why}")
        return lines


def described(use: str, route: Route) -> str:
    """A route in words."""
    weights = "adapter merged into the weights" if route.merged else "the model as it is"
    if use == "sampling":
        return f"{weights}, {CACHES_IN_WORDS[route.cache]}"
    rows = "responses to a prompt in one row" if route.packed else "a row for each response"
    logits = "logits of response tokens only" if route.head else "all logits"
    return f"{weights}, {rows}, {logits}"


def prove(policy: Policy, *, longest: int) -> Exactness:
    """Find the fastest exact route of each use and set `policy.routes` and `policy.exactness`.

    `longest` is the number of tokens (prompt and response) of the longest sequence to expect.
    Weights, modes and random generators are as before afterwards. Raises BadInput, with the
    figures, where a use has no exact route.
    """
    began = time.perf_counter()
    for adapter in getattr(policy.model, "peft_config", {}).values():
        if getattr(adapter, "alora_invocation_tokens", None):
            raise BadInput(
                f"{policy.config.model}: refused, since its adapter is an activated LoRA "
                "(alora_invocation_tokens): what it computes depends on where certain tokens "
                "stand in the input, which a cache does not hold"
            )
    with (
        evaluating(policy.model),
        in_float32(policy.model) as is_float32,
        warnings.catch_warnings(),
    ):
        # Of libraries, about arguments that a way which is not taken passes.
        warnings.simplefilter("ignore")
        exactness = _Check(policy, longest, BOUND if is_float32 else ROUGH_BOUND).run()
    policy.exactness = replace(exactness, seconds=time.perf_counter() - began)
    routes = {use: proof.route for use, proof in exactness.uses.items()}
    policy.routes = Routes(**routes, reach=exactness.reach)
    return policy.exactness


class _Check:
    """One self-check: its prompts, its two states of the weights, and the model's own figures to
    compare with.
    """

    def __init__(self, policy: Policy, longest: int, bound: float) -> None:
        self.policy = policy
        adapted = hasattr(policy.model, "peft_config")
        self.name = type(policy.model.get_base_model() if adapted else policy.model).__name__
        self.weights = TwoStates(policy.model)
        self.why_unmerged = unmergeable(policy.model)
        self.edges = edges = _edges(policy.model.config)
        limit = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
        limit = limit if isinstance(limit, int) and limit > 0 else None
        if limit is not None:
            longest = min(longest, limit)
        short = [e for e in edges if e <= SHORT_WINDOW]
        self.steps = max([STEPS, *(e + 8 for e in short)])
        self.nats = bound
        # The longest window that any sequence can exceed is crossed while sampling, and by a prompt
        # of another length: also where a sequence exceeds it by one token, which is less than these
        # two need.
        exceeded = [e for e in edges if SHORT_WINDOW < e < longest]
        prompt_room = max(longest + 3 if limit is None else limit - self.steps, 1)
        long: list[int] = []
        if exceeded:
            long = [min(exceeded[-1] - 2, prompt_room), min(exceeded[-1] + 3, prompt_room)]
        self.prompts = self._prompts(max(longest - self.steps, 1), short, long)
        self.longest = max(map(len, self.prompts)) + self.steps
        # Up to the next edge nothing changes; beyond it `routes_for` has the check made again.
        self.reach = next((e for e in edges if e >= self.longest), None)

    def _prompts(self, limit: int, short: Sequence[int], long: Sequence[int]) -> list[Tokens]:
        """The prompts, the last `limit` tokens of each, and further ones of the lengths `long`.

        Where there are `short` windows the question is cut, so that sequences begin within them and
        grow out of them.
        """
        tokenizer = self.policy.tokenizer
        try:  # with the template, whose special tokens some adapters act upon
            question = self.policy.prompt_tokens([{"role": "user", "content": QUESTION}])
        except BadInput:  # said when the run's own prompts are looked at
            question = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
        for window in short[:1]:
            question = question[-max(window // 2, 1) :]
        prompts: list[Tokens] = []
        for text in BEGUN:
            answer = tokenizer(text, add_special_tokens=False)["input_ids"]
            prompts.append(tuple(int(i) for i in [*question, *answer][-limit:]))
        # Long ones repeat the last: any tokens will do to cross a window.
        body = prompts[-1]
        long_prompts = [(body * (length // len(body) + 1))[:length] for length in long]
        return [*prompts, *long_prompts]

    @property
    def bound(self) -> float:
        """What is allowed over a response of the check, in nats."""
        return self.nats * min(self.steps / BOUND_TOKENS, 1)

    def run(self) -> Exactness:
        """The proof of every use. Raises BadInput where a use has no exact route."""
        sampling, drawn, truth_changed = self._sampling()
        # Some again with one token of their response, beside the long ones: what a causal model
        # computes for a token does not depend on how much comes after it, but positions that are
        # scaled beyond some length make it so.
        cut: list[TrainingExample] = []
        if self.edges:
            first_long = drawn[len(BEGUN) + 1 :][:1]
            cut = [TrainingExample(e.prompt, e.response[:1]) for e in (drawn[0], *first_long)]
        truth_changed = [*truth_changed, *self._truth(cut, changed=True)]
        examples = [*drawn, *cut]
        truth_before = self._truth(examples, changed=False)
        now, before = _totals(truth_changed, examples), _totals(truth_before, examples)
        kl = [_kl(p, q) for p, q in zip(truth_changed, truth_before, strict=True)]
        pairs = [(e.prompt, e.response) for e in examples]

        def training(route: Route) -> float:
            with self.weights.state(changed=True):
                return _furthest(now, training_logprobs(self.policy, examples, route=route))

        def likelihood(route: Route) -> float:
            with self.weights.state(changed=True):
                scored = loglikelihoods(self.policy, pairs, route=route)
            return _furthest(now, [nats for nats, _ in scored])

        def divergence(route: Route) -> float:
            restore, change = self.weights.restore, self.weights.change
            divergences = kl_between(
                self.policy, examples, restore, change, forward_tokens=2048, route=route
            )
            return _furthest(kl, [nats for nats, _ in divergences])

        uses = {
            "sampling": sampling,
            "training": self._first("training", training),
            "likelihood": self._first("likelihood", likelihood),
            "kl": self._first("kl", divergence),
        }
        return Exactness(
            model=self.name,
            dtype=str(self.policy.model.dtype).removeprefix("torch."),
            sequences=len(examples),
            tokens=self.steps,
            longest=self.longest,
            reach=self.reach,
            effect=float(np.median(np.abs(np.subtract(now, before)))),
            unmergeable=self.why_unmerged,
            uses=uses,
            seconds=0.0,
        )

    def _sampling(self) -> tuple[Proof, list[TrainingExample], list[torch.Tensor]]:
        """The proof for sampling, what was drawn with the changed weights, and the model's own
        figures of that.
        """
        requests = [SampleRequest(str(k), p, (f"{k}/0",)) for k, p in enumerate(self.prompts)]
        # Two samples of the first prompt, so that one is computed for several.
        requests[0] = replace(requests[0], names=("0/0", "0/1"))
        prompts = {r.prompt_id: r.tokens for r in requests}
        examples: list[TrainingExample] = []
        truth: list[torch.Tensor] = []

        def difference(route: Route) -> float:
            differences = []
            if route.cache in ("padded", "equal"):
                self.steps = max(self.steps, STEPS_OF_STATES)
            # With the weights as they are a token of one prompt will do: all that is new then is
            # how they are merged.
            for changed, steps, some in ((False, 1, requests[:1]), (True, self.steps, requests)):
                config = SamplingConfig(temperature=1.0, top_k=0, max_tokens=steps)
                with self.weights.state(changed):
                    drawn = sample(self.policy, some, config, seed=0, route=route, stops=())
                examples[:] = [TrainingExample(prompts[s.prompt_id], s.tokens) for s in drawn]
                truth[:] = self._truth(examples, changed=changed)
                recorded = [s.logprob for s in drawn]
                differences.append(_furthest(_totals(truth, examples), recorded))
            return max(differences)

        return self._first("sampling", difference), examples, truth

    def _first(self, use: str, difference: Callable[[Route], float]) -> Proof:
        """The first route that agrees with the model's own forward pass.

        Raises BadInput where none does.
        """
        refused: list[tuple[str, str]] = []
        closest = (math.inf, 0)
        for route in self._ladder(use):
            try:
                nats = difference(route)
                if nats <= self.bound:
                    return Proof(route, nats, self.bound, tuple(refused))
                why = f"differs by {nats:.3g} nats"
                closest = min(closest, (nats, self.steps))
            except FAILURES as e:
                # That is no property of the route: a plainer one would be taken for good.
                if "out of memory" in str(e).lower():
                    raise
                why = _first_line(e)
            finally:
                self.weights.restore()
            refused.append((described(use, route), why))
        tried = "; ".join(f"{route}: {why}" for route, why in refused)
        nats, tokens = closest
        measured = f" (closest: {nats:.3g} nats over {tokens} tokens)" if tokens else ""
        raise BadInput(
            f"{self.policy.config.model}: refused, since no way to compute {use} of this "
            f"{self.name} agrees with the model's own forward pass within {self.bound:g} "
            f"nats{measured}. Tried: {tried}"
        )

    def _ladder(self, use: str) -> list[Route]:
        """Routes from the fastest to the plainest."""
        adapters = hasattr(self.policy.model, "peft_config")
        merge = [True, False] if adapters and self.why_unmerged is None else [False]
        plainest = Route(merged=False, packed=False, head=False)
        if use == "training":
            # Never merged: gradients are those of the adapter.
            return [Route(merged=False), Route(merged=False, packed=False), plainest]
        if use == "sampling":
            ours: tuple[Cache, ...] = ("shared", "growing")
            generate: tuple[Cache, ...] = ("padded", "equal")

            ladder = [Route(merged=m, cache=cache) for m in merge for cache in ours]
            ladder += [Route(merged=m, cache=cache) for cache in generate for m in merge]
            return [*ladder, PLAIN]
        return [*(Route(merged=m, packed=p) for m in merge for p in (True, False)), plainest]

    def _truth(self, examples: Sequence[TrainingExample], *, changed: bool) -> list[torch.Tensor]:
        """Log-probabilities (response tokens, vocabulary) by the model's own forward pass, float32,
        without padding.
        """
        import torch

        logprobs: list[Any] = [None] * len(examples)
        by_length: dict[tuple[int, int], list[int]] = {}
        for k, e in enumerate(examples):
            by_length.setdefault((len(e.prompt), len(e.response)), []).append(k)
        with self.weights.state(changed), torch.inference_mode():
            for places in by_length.values():
                rows = [[*examples[k].prompt, *examples[k].response] for k in places]
                ids = torch.tensor(rows, device=self.policy.device)
                try:
                    logits = self.policy.model(input_ids=ids).logits
                except FAILURES as e:  # then there is nothing to compare with
                    if "out of memory" in str(e).lower():
                        raise
                    raise BadInput(
                        f"{self.policy.config.model}: the model's own forward pass fails "
                        f"({_first_line(e)}); restaudit can neither sample nor train it"
                    ) from None
                # Virtual tokens of prompt tuning come first; the last position predicts nothing we
                # have.
                logits = logits[:, -len(rows[0]) :][:, len(examples[places[0]].prompt) - 1 : -1]
                for k, row in zip(places, logits, strict=True):
                    logprobs[k] = torch.log_softmax(row.float(), dim=-1)
        return logprobs


def _first_line(error: Exception) -> str:
    reason = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {reason.splitlines()[0][:200]}"


def _edges(config: Any) -> list[int]:
    """Lengths, in tokens, beyond which a model may compute otherwise, by the names of its settings;
    rising.
    """
    edges: set[int] = set()

    def names_edge(name: str) -> bool:
        # "max_window_layers" and the like count layers, not tokens.
        return EDGES.search(name) is not None and "layer" not in name

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, str(key))
            if value.get("rope_type") == "dynamic":
                edges.add(int(getattr(config, "max_position_embeddings", 0) or 0))
        elif isinstance(value, list):
            for inner in value:
                collect(inner, name)
        elif isinstance(value, int) and not isinstance(value, bool) and names_edge(name):
            edges.add(max(value, 0))

    collect(config.get_text_config().to_dict(), "")
    return sorted(edges - {0})


def _totals(logprobs: Sequence[torch.Tensor], examples: Sequence[TrainingExample]) -> list[float]:
    """Log-probability of each whole response, in nats."""
    import torch

    totals = []
    for logprob, example in zip(logprobs, examples, strict=True):
        tokens = torch.tensor(example.response, device=logprob.device)
        totals.append(float(logprob.gather(1, tokens[:, None]).double().sum()))
    return totals


def _kl(now: torch.Tensor, before: torch.Tensor) -> float:
    return float((now.exp() * (now - before)).sum())


def _furthest(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest absolute difference; infinite where a figure is not a number."""
    differences = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return max((d if math.isfinite(d) else math.inf for d in differences), default=math.inf)


# --- a model's weights for as long as a check takes: changed at random, and in float32


class TwoStates:
    """The weights as they are, and changed at random: an adapter's trained ones, or every vector of
    a whole model.

    Tensors are exchanged and never written into, so that what comes back is what was there.
    """

    def __init__(self, model: Any) -> None:
        import torch

        adapters = hasattr(model, "peft_config")
        self.parameters = []
        for p in model.parameters():
            # Of a whole model only its vectors (biases, norms), so that no matrix is held twice.
            chosen = p.requires_grad if adapters else p.dim() == 1
            if chosen and p.is_floating_point():
                self.parameters.append(p)
        generator = torch.Generator().manual_seed(0)
        self.before = [p.data for p in self.parameters]
        self.changed = [_changed(p.data, generator) for p in self.parameters]

    def change(self) -> None:
        """Take the changed ones."""
        for p, data in zip(self.parameters, self.changed, strict=True):
            p.data = data

    def restore(self) -> None:
        """Take the ones that were there."""
        for p, data in zip(self.parameters, self.before, strict=True):
            p.data = data

    @contextlib.contextmanager
    def state(self, changed: bool) -> Iterator[None]:
        """The weights in one of the two states, and then as they were."""
        try:
            if changed:
                self.change()
            yield
        finally:
            self.restore()


def _changed(data: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Another tensor, a fifth of the weights' own size away; zeros, as in LoRA's B, get numbers of
    that size of one.

    On SmolLM2-135M this moves a response of 4 tokens by some 5 nats (environment.json says how far
    it did).
    """
    import torch

    size = float(data.float().pow(2).mean().sqrt()) if data.numel() else 0.0
    noise = torch.randn(data.shape, generator=generator) * 0.2 * (size if size > 0 else 1.0)
    return (data.float() + noise.to(data.device)).to(data.dtype)


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[bool]:
    """The model in float32 for as long as it takes, if it can be; yields whether it is."""
    import torch

    half = [
        t
        for t in (*model.parameters(), *model.buffers())
        if t.dtype in (torch.bfloat16, torch.float16)
    ]
    if half and not fits_in_float32(model, half):
        yield False
        return
    before = [t.data for t in half]
    try:
        for t in half:
            t.data = t.data.float()
        yield True
    finally:
        for t, data in zip(half, before, strict=True):
            t.data = data


def fits_in_float32(model: Any, tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a model can compute in float32: `tensors` are those that would have to be copied.

    It cannot where weights are quantised, attention needs half precision, or memory is short.
    """
    import torch

    if any(p.dtype not in plain_dtypes() for p in model.parameters()):
        return False
    if "flash" in str(getattr(model.config, "_attn_implementation", "")):
        return False
    if not tensors:
        return True
    device = tensors[0].device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    # Four bytes a number; a tenth is left for what computing takes.
    return 4 * sum(t.numel() for t in tensors) <= free * 9 // 10
