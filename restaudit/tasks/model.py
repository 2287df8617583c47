"""A policy as a model of lm-eval: likelihoods and greedy replies come from this project's own
code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from restaudit.config import SamplingConfig
from restaudit.errors import BadInput

if TYPE_CHECKING:
    from restaudit.policy import Policy

BATCH = 16


def policy_model(policy: Policy) -> Any:
    """An instance of lm-eval's HFLM for the policy with the weights it has when it is asked.

    lm-eval's own code would compute the whole vocabulary's logits at every place of every choice;
    restaudit.policy computes what choices share once (a test compares the two). Text that is too
    long loses its beginning, as there.
    """
    from lm_eval.models.huggingface import HFLM

    from restaudit.policy.likelihood import loglikelihoods
    from restaudit.policy.turns import unended

    class PolicyModel(HFLM):  # type: ignore[misc]
        def _loglikelihood_tokens(
            self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
        ) -> list[tuple[float, bool]]:
            longest = int(self.max_length) + 1  # the last token is only predicted
            pairs = []
            for _key, context, continuation in requests:
                if len(continuation) >= longest:
                    raise BadInput(
                        f"a benchmark's answer has {len(continuation)} tokens; this policy reads "
                        f"{longest - 1} at most"
                    )
                pairs.append(
                    (tuple(context[-(longest - len(continuation)) :]), tuple(continuation))
                )
            return loglikelihoods(policy, pairs)

        def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
            ids = super().tok_encode(string, *args, **kwargs)
            return unended(policy.tokenizer, string, ids, policy.stop_tokens)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
            for request in requests:
                _check_greedy(request.args[1])
            return _greedy(policy, self, requests)

    return PolicyModel(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=BATCH)


def _check_greedy(how: dict[str, Any]) -> None:
    """Raise BadInput for what is not greedy decoding: a benchmark that samples gives another figure
    every time.
    """
    other = sorted(set(how) - {"until", "do_sample", "max_gen_toks", "temperature"})
    if other or how.get("do_sample") or how.get("temperature"):
        asked = ", ".join(f"{k}={how[k]!r}" for k in sorted(how))
        raise BadInput(
            f"a benchmark asks for generation with {asked}; only greedy decoding is done here"
        )


def _greedy(policy: Policy, lm: Any, requests: Sequence[Any]) -> list[str]:
    """Greedy replies, cut at the first of their stop strings, by the policy's own sampler.

    lm-eval's batches are padded and cached, which not every model computes as it computes a prompt
    alone. Here a reply that a stop string ends is sampled to its last token and then cut: the same
    text, for more work.
    """
    from restaudit.policy import SampleRequest, sample

    out: dict[int, str] = {}
    lengths = [int(r.args[1].get("max_gen_toks") or lm.max_gen_toks) for r in requests]
    for length in sorted(set(lengths)):
        places = [k for k in range(len(requests)) if lengths[k] == length]
        room = int(lm.max_length) - length
        if room < 1:
            raise BadInput(
                f"a benchmark asks for replies of {length} tokens; this policy reads "
                f"{lm.max_length} in all"
            )
        # The template, or nothing at all, has put every special token there is into the text
        # already.
        wanted = [
            SampleRequest(
                f"{k:06d}", tuple(lm.tok_encode(requests[k].args[0])[-room:]), (f"{k:06d}",)
            )
            for k in places
        ]
        # The most probable token alone is left to draw from: the seed decides nothing.
        how = SamplingConfig(temperature=1.0, top_k=1, max_tokens=length)
        for place, drawn in zip(places, sample(policy, wanted, how, seed=0), strict=True):
            out[place] = _cut(policy, drawn.tokens, requests[place].args[1].get("until") or [])
    return [out[k] for k in range(len(requests))]


def _cut(policy: Policy, tokens: Sequence[int], until: Sequence[str] | str) -> str:
    """The reply up to the first stop string; stripped, as all replies here, where there is none."""
    ends = [until] if isinstance(until, str) else [u for u in until if u]
    if not ends:
        return policy.text(tokens)
    text = str(policy.tokenizer.decode(list(tokens), skip_special_tokens=True))
    for end in ends:
        text = text.split(end)[0]
    return text
