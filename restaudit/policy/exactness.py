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


USES = ("sampling", "training", "likelihood", "kl")
# A difference in nats over a response of BOUND_TOKENS that rounding does not explain: in float32,
# and in a lower precision where the model cannot be computed in float32 (it is quantised, its
# attention needs half precision, memory is short). Over fewer tokens less is allowed: errors of a
# cache grow with every token.
BOUND, ROUGH_BOUND, BOUND_TOKENS = 0.001, 1.0, 12
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
FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    AssertionError,
)

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
        said = [
            "self-check: how restaudit computes and the model's own forward pass agree within "
            f"{self.largest:.2g} nats"
            f" over {self.tokens} tokens (in {self.dtype}, {self.seconds:.1f} s)"
        ]
        for use, proof in self.uses.items():
            if proof.refused:
                route, why = proof.refused[0]
                said.append(f"  {use}: {described(use, proof.route)}; not {route}: {why}")
        return said


def described(use: str, route: Route) -> str:
    """A route in words."""
    weights = "adapter merged into the weights" if route.merged else "the model as it is"
    if use == "sampling":
        how = {
            "shared": "one cache, common beginnings computed once",
            "growing": "one cache, prompts padded",
            "padded": "the model's own generate, prompts padded",
            "equal": "the model's own generate, prompts of one length at a time",
            "none": "a whole forward pass for every token",
        }[route.cache]
    else:
        how = "responses to a prompt in one row" if route.packed else "a row for each response"
        how += ", logits of response tokens only" if route.head else ", all logits"
    return f"{weights}, {how}"


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
    with evaluating(policy.model), in_float32(policy.model) as exact, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of libraries, about arguments that a way which is not taken passes
        found = _Check(policy, longest, BOUND if exact else ROUGH_BOUND).run()
    policy.exactness = replace(found, seconds=time.perf_counter() - began)
    policy.routes = Routes(**{use: p.route for use, p in found.uses.items()}, reach=found.reach)
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
        if isinstance(limit, int) and limit > 0:
            longest = min(longest, limit)
        short = [e for e in edges if e <= SHORT_WINDOW]
        self.steps = max([STEPS, *(e + 8 for e in short)])
        self.nats = bound
        # The longest window that any sequence can exceed is crossed while sampling, and by a prompt
        # of another length: also where a sequence exceeds it by one token, which is less than these
        # two need.
        exceeded = [e for e in edges if SHORT_WINDOW < e < longest]
        room = max(
            (limit if isinstance(limit, int) and limit > 0 else longest + self.steps + 3)
            - self.steps,
            1,
        )
        long = [min(n, room) for e in exceeded[-1:] for n in (e - 2, e + 3)]
        self.prompts = self._prompts(max(longest - self.steps, 1), short, long)
        self.longest = max(map(len, self.prompts)) + self.steps
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
        answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in BEGUN]
        prompts = [tuple(int(i) for i in [*question, *answer][-limit:]) for answer in answers]
        body = prompts[-1]
        return [*prompts, *((body * (n // len(body) + 1))[:n] for n in long)]

    @property
    def bound(self) -> float:
        """What is allowed over a response of the check, in nats."""
        return self.nats * min(self.steps / BOUND_TOKENS, 1)

    def run(self) -> Exactness:
        sampling, drawn, own_now = self._sampling()
        # Some again with one token of their response, beside the long ones: what a causal model
        # computes for a token does not depend on how much comes after it, but positions that are
        # scaled beyond some length make it so.
        again = [drawn[0], *drawn[len(BEGUN) + 1 :][:1]] if self.edges else []
        cut = [TrainingExample(e.prompt, e.response[:1]) for e in again]
        own_now = [*own_now, *self._own(cut, changed=True)]
        examples = [*drawn, *cut]
        own_before = self._own(examples, changed=False)
        now, before = _totals(own_now, examples), _totals(own_before, examples)
        kl = [_kl(p, q) for p, q in zip(own_now, own_before, strict=True)]
        pairs = [(e.prompt, e.response) for e in examples]

        def training(route: Route) -> float:
            with self.weights.state(changed=True):
                return _furthest(now, training_logprobs(self.policy, examples, route=route))

        def likelihood(route: Route) -> float:
            with self.weights.state(changed=True):
                return _furthest(
                    now, [nats for nats, _ in loglikelihoods(self.policy, pairs, route=route)]
                )

        def divergence(route: Route) -> float:
            restore, change = self.weights.restore, self.weights.change
            found = kl_between(
                self.policy, examples, restore, change, forward_tokens=2048, route=route
            )
            return _furthest(kl, [nats for nats, _ in found])

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
        requests = [
            SampleRequest(str(k), p, (f"{k}/0", f"{k}/1") if k == 0 else (f"{k}/0",))
            for k, p in enumerate(self.prompts)
        ]
        prompts = {r.prompt_id: r.tokens for r in requests}
        examples: list[TrainingExample] = []
        own: list[torch.Tensor] = []

        def difference(route: Route) -> float:
            found = []
            if route.cache in ("padded", "equal"):
                self.steps = max(self.steps, STEPS_OF_STATES)
            # With the weights as they are a token of one prompt will do: all that is new then is
            # how they are merged.
            for changed, steps, asked in ((False, 1, requests[:1]), (True, self.steps, requests)):
                config = SamplingConfig(temperature=1.0, top_k=0, max_tokens=steps)
                with self.weights.state(changed):
                    drawn = sample(self.policy, asked, config, seed=0, route=route, stops=())
                examples[:] = [TrainingExample(prompts[s.prompt_id], s.tokens) for s in drawn]
                own[:] = self._own(examples, changed=changed)
                found.append(_furthest(_totals(own, examples), [s.logprob for s in drawn]))
            return max(found)

        return self._first("sampling", difference), examples, own

    def _first(self, use: str, difference: Callable[[Route], float]) -> Proof:
        """The first route that agrees with the model's own forward pass.

        Raises BadInput where none does.
        """
        refused: list[tuple[str, str]] = []
        closest = (math.inf, 0)
        for route in self._ladder(use):
            try:
                found = difference(route)
                if found <= self.bound:
                    return Proof(route, found, self.bound, tuple(refused))
                why = f"differs by {found:.3g} nats"
                closest = min(closest, (found, self.steps))
            except FAILURES as e:
                if "out of memory" in str(e).lower():
                    raise
                why = _first_line(e)
            finally:
                self.weights.restore()
            refused.append((described(use, route), why))
        tried = "; ".join(f"{route}: {why}" for route, why in refused)
        measured = (
            "" if not closest[1] else f" (closest: {closest[0]:.3g} nats over {closest[1]} tokens)"
        )
        raise BadInput(
            f"{self.policy.config.model}: refused, since no way to compute {use} of this "
            f"{self.name} agrees with the"
            f" model's own forward pass within {self.bound:g} nats{measured}. Tried: {tried}"
        )

    def _ladder(self, use: str) -> list[Route]:
        """Routes from the fastest to the plainest."""
        adapters = hasattr(self.policy.model, "peft_config")
        merge = [True, False] if adapters and self.why_unmerged is None else [False]
        if use == "training":
            return [
                Route(merged=False, packed=p, head=h)
                for p, h in ((True, True), (False, True), (False, False))
            ]
        if use == "sampling":
            caches: tuple[Cache, ...] = ("shared", "growing", "padded", "equal")
            ours = [Route(merged=m, cache=c) for m in merge for c in caches[:2]]
            return [*ours, *(Route(merged=m, cache=c) for c in caches[2:] for m in merge), PLAIN]
        ladder = [Route(merged=m, packed=p) for m in merge for p in (True, False)]
        return [*ladder, Route(merged=False, packed=False, head=False)]

    def _own(self, examples: Sequence[TrainingExample], *, changed: bool) -> list[torch.Tensor]:
        """Log-probabilities (response tokens, vocabulary) by the model's own forward pass, float32,
        without padding.
        """
        import torch

        out: list[Any] = [None] * len(examples)
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
                    out[k] = torch.log_softmax(row.float(), dim=-1)
        return out


def _first_line(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:200]}"
    )


def _edges(config: Any) -> list[int]:
    """Lengths, in tokens, beyond which a model may compute otherwise, by the names of its settings;
    rising.
    """
    found: set[int] = set()

    def look(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(inner, str(key))
            if value.get("rope_type") == "dynamic":
                found.add(int(getattr(config, "max_position_embeddings", 0) or 0))
        elif isinstance(value, list):
            for inner in value:
                look(inner, name)
        elif (
            isinstance(value, int)
            and not isinstance(value, bool)
            and EDGES.search(name)
            and "layer" not in name
        ):
            found.add(max(value, 0))

    look(config.get_text_config().to_dict(), "")
    return sorted(found - {0})


def _totals(logprobs: Sequence[torch.Tensor], examples: Sequence[TrainingExample]) -> list[float]:
    """Log-probability of each whole response, in nats."""
    import torch

    return [
        float(lp.gather(1, torch.tensor(e.response, device=lp.device)[:, None]).double().sum())
        for lp, e in zip(logprobs, examples, strict=True)
    ]


def _kl(now: torch.Tensor, before: torch.Tensor) -> float:
    return float((now.exp() * (now - before)).sum())


def _furthest(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest absolute difference; infinite where a figure is not a number."""
    differences = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return max((d if math.isfinite(d) else math.inf for d in differences), default=math.inf)


# A model's weights for as long as a check takes: changed at random, and in float32.
#
# What was there comes back.


class TwoStates:
    """The weights as they are, and changed at random: an adapter's trained ones, or every vector of
    a whole model.

    Tensors are exchanged and never written into, so that what comes back is what was there.
    """

    def __init__(self, model: Any) -> None:
        import torch

        adapters = hasattr(model, "peft_config")
        self.parameters = [
            p
            for p in model.parameters()
            if p.is_floating_point() and (p.requires_grad if adapters else p.dim() == 1)
        ]
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

    tensors = [*model.parameters(), *model.buffers()]
    lower = [t for t in tensors if t.dtype in (torch.bfloat16, torch.float16)]
    whole = all(
        p.dtype in plain_dtypes() for p in model.parameters()
    )  # others are quantised weights
    flash = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    if lower and (not whole or flash or 4 * sum(t.numel() for t in lower) > _room(lower[0].device)):
        yield False
        return
    before = [t.data for t in lower]
    try:
        for t in lower:
            t.data = t.data.float()
        yield True
    finally:
        for t, data in zip(lower, before, strict=True):
            t.data = data


def _room(device: torch.device) -> int:
    """Bytes of memory that are free, less a tenth."""
    import torch

    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    return free * 9 // 10
