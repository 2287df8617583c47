"""How far an exported model is from the audited policy: log-probabilities of audited responses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from restaudit.errors import BadInput
from restaudit.evidence.chats import Message, as_messages
from restaudit.evidence.record import AUDIT, Run, read_table

if TYPE_CHECKING:
    from restaudit.policy import Policy

# Responses that are compared, each to another prompt.
RESPONSES = 8
# What float32 may round, in nats a token. What is forgotten (a layer, a scale, a bias) moves tokens
# by far more.
EXACT = 0.001

# Log-probabilities in nats: of every response, of every token of it.
TokenLogprobs = list[list[float]]


@dataclass(frozen=True)
class Response:
    """A response of the audit as tokens: its text tokenised again, and the end of turn if it ended.

    `logprob` is what the audit recorded of it (nats); None where the tokens are not as many as were
    drawn, so that the text does not tell which ones these were.
    """

    messages: tuple[Message, ...]
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprob: float | None


@dataclass(frozen=True)
class Apart:
    """The largest difference of two models' log-probabilities, in nats: of a response, of a
    token.
    """

    response: float
    token: float

    def __str__(self) -> str:
        return f"{self.response:.2g} nats for a response and {self.token:.2g} for a token"


@dataclass(frozen=True)
class Agreement:
    """What was measured when the exported folder was loaded again.

    loader     what it was loaded with
    responses  how many responses were compared, with `tokens` tokens in all
    dtype      what the policy was audited in
    difference    exported folder against the audited policy, both in `dtype`
    rounding      the audited policy in `dtype` against itself in float32; None where that was not
                  computed
    own_rounding  the exported folder in `dtype` against itself in float32; None likewise
    in_float32    exported folder against the policy, both in float32; None likewise. An adapter is
                  compared as it was recorded, a merged one as it was rounded for sampling.
    bit_equal  whether every weight that was loaded is the audited one, bit for bit
    recorded   median difference (nats) between the audited policy, loaded again, and what the audit
               recorded of these responses, over `recorded_of` of them
    """

    loader: str
    responses: int
    tokens: int
    dtype: str
    difference: Apart
    rounding: Apart | None
    own_rounding: Apart | None
    in_float32: Apart | None
    bit_equal: bool
    recorded: float | None
    recorded_of: int

    def sentences(self) -> list[str]:
        """The comparison in plain sentences."""
        sentences = [
            f"Loaded with {self.loader} and compared with the audited policy on {self.responses} "
            f"audited responses ({self.tokens} tokens, in {self.dtype}), the largest difference "
            f"in log-probability is {self.difference}."
        ]
        if self.bit_equal:
            sentences.append("Its weights are the audited ones bit for bit.")
        if self.dtype == "float32":
            sentences.append(f"Rounding in float32 explains up to {EXACT:g} nats for a token.")
        elif self.rounding is None:
            sentences.append(
                "The model could not be computed in float32 here, so what rounding explains was "
                "not measured."
            )
        else:
            own = ""
            if self.own_rounding is not None:
                own = f", and the exported one by up to {self.own_rounding}"
            sentences.append(
                f"Rounding to {self.dtype} alone moves the audited policy by up to "
                f"{self.rounding}{own}."
            )
        if self.in_float32 is not None and self.dtype != "float32":
            sentences.append(f"Computed in float32, the largest difference is {self.in_float32}.")
        if self.recorded is not None:
            sentences.append(
                "The policy as loaded here gives these responses what the audit recorded within "
                f"{self.recorded:.2g} nats (median of {self.recorded_of})."
            )
        return sentences

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; differences in nats."""

        def pair(apart: Apart | None) -> dict[str, float] | None:
            return None if apart is None else {"response": apart.response, "token": apart.token}

        return {
            "loaded_with": self.loader,
            "responses": self.responses,
            "tokens": self.tokens,
            "dtype": self.dtype,
            "largest_difference_nats": pair(self.difference),
            "rounding_of_the_audited_policy_nats": pair(self.rounding),
            "rounding_of_the_exported_one_nats": pair(self.own_rounding),
            "largest_difference_in_float32_nats": pair(self.in_float32),
            "weights_are_the_audited_ones_bit_for_bit": self.bit_equal,
            "median_difference_from_the_recorded_nats": self.recorded,
            "compared_with_the_recorded": self.recorded_of,
        }


def audited_responses(record: Run, iteration: str, policy: Policy) -> list[Response]:
    """Up to RESPONSES responses of an audit, chosen by hash.

    Those come first whose tokens are as many as were drawn. Raises BadInput where the audit has no
    response with a token.
    """
    needed = ["sample_id", "prompt_id", "text", "n_tokens", "finished", "logprob"]
    rows = read_table(record.path, f"{iteration}/audit.parquet", AUDIT, needed)
    prompts = record.prompts("audit").set_index("prompt_id")["prompt"]
    by_hash = rows["sample_id"].map(lambda s: hashlib.sha256(str(s).encode()).hexdigest())
    order = by_hash.sort_values().index
    # By prompt, so that each response is to another one.
    comparable: dict[str, Response] = {}
    others: dict[str, Response] = {}
    columns = ["prompt_id", "text", "n_tokens", "finished", "logprob"]
    for name, text, drawn, finished, logprob in rows.loc[order, columns].to_numpy().tolist():
        if name in comparable:
            continue
        tokens = _tokens(policy, str(text), finished=bool(finished))
        messages = tuple(as_messages(str(prompts[name])))
        prompt = tuple(policy.prompt_tokens(messages))
        # Another number of tokens: the text does not tell which ones were drawn.
        if tokens and len(tokens) == int(drawn):
            comparable[name] = Response(messages, prompt, tokens, float(logprob))
        elif tokens:
            others.setdefault(name, Response(messages, prompt, tokens, None))
        if len(comparable) == RESPONSES:
            break
    further = [response for name, response in others.items() if name not in comparable]
    chosen = [*comparable.values(), *further][:RESPONSES]
    if not chosen:
        raise BadInput(
            f"{record.path / iteration / 'audit.parquet'}: holds no response with a text, so there is nothing to "
            "compare an export with"
        )
    return chosen


def _tokens(policy: Policy, text: str, *, finished: bool) -> tuple[int, ...]:
    if finished:
        return tuple(policy.response_tokens(text))
    return tuple(int(i) for i in policy.tokenizer(text, add_special_tokens=False)["input_ids"])


def token_logprobs(model: Any, responses: Sequence[Response], device: str) -> TokenLogprobs:
    """Log-probability of every token of the responses at temperature 1, in nats.

    It is the model's own forward pass, a sequence at a time, without padding, as anybody would ask.
    """
    import torch

    from restaudit.policy.forward import evaluating

    logprobs: TokenLogprobs = []
    with evaluating(model), torch.inference_mode():
        for r in responses:
            ids = torch.tensor([[*r.prompt, *r.tokens]], device=device)
            # Counted from the end: prompt tuning puts virtual tokens in front.
            logits = model(input_ids=ids).logits[0, -ids.shape[1] :][len(r.prompt) - 1 : -1]
            every = torch.log_softmax(logits.float(), dim=-1)
            wanted = torch.tensor(r.tokens, device=every.device)[:, None]
            logprobs.append(every.gather(1, wanted)[:, 0].double().tolist())
    return logprobs


def apart(a: TokenLogprobs, b: TokenLogprobs) -> Apart:
    """The largest differences of two models' figures; infinite where a figure is not a number."""
    tokens: list[float] = []
    responses: list[float] = []
    for of_a, of_b in zip(a, b, strict=True):
        tokens += [abs(p - q) for p, q in zip(of_a, of_b, strict=True)]
        responses.append(abs(sum(of_a) - sum(of_b)))
    return Apart(max(_finite(responses)), max(_finite(tokens)))


def from_recorded(
    logprobs: TokenLogprobs, responses: Sequence[Response]
) -> tuple[float | None, int]:
    """Median difference (nats) between figures and what was recorded, and of how many responses."""
    differences = []
    for tokens, response in zip(logprobs, responses, strict=True):
        if response.logprob is not None:
            differences.append(abs(sum(tokens) - response.logprob))
    if not differences:
        return None, 0
    # The median: what one response is rounded by on another machine says little of the rest.
    return float(np.median(differences)), len(differences)


def to_float32(model: Any) -> bool:
    """Let a model compute in float32; where it cannot, nothing is changed and the answer is False.

    It cannot where weights are quantised, attention needs half precision, or memory is too short.
    """
    import torch

    from restaudit.policy.exactness import fits_in_float32

    others = [p for p in model.parameters() if p.dtype != torch.float32]
    if not fits_in_float32(model, others):
        return False
    model.float()
    return True


def _finite(differences: Sequence[float]) -> Iterator[float]:
    return (d if math.isfinite(d) else math.inf for d in differences)
