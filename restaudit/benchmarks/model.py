"""A policy as a model of lm-eval: likelihoods and greedy replies come from this project's own code."""

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

    lm-eval's own code would compute the whole vocabulary's logits at every place of every choice; restaudit.policy
    computes what choices share once (a test compares the two). Text that is too long loses its beginning, as there.
    """
    from lm_eval.models.huggingface import HFLM

    from restaudit.policy.likelihood import loglikelihoods

    class PolicyModel(HFLM):  # type: ignore[misc]
        def _loglikelihood_tokens(
            self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
        ) -> list[tuple[float, bool]]:
            longest = int(self.max_length) + 1  # the last token is only predicted
            pairs = []
            for _key, context, continuation in requests:
                if len(continuation) >= longest:
                    raise BadInput(
                        f"a benchmark's answer has {len(continuation)} tokens; this policy reads {longest - 1} at most"
                    )
                pairs.append((tuple(context[-(longest - len(continuation)) :]), tuple(continuation)))
            return loglikelihoods(policy, pairs)

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            if all(_plain_greedy(r.args[1]) for r in requests):
                return _greedy(policy, self, requests)
            with policy.inference() as model:
                self._model = model
                try:
                    return list(super().generate_until(requests, disable_tqdm=disable_tqdm))
                finally:
                    self._model = policy.model

    return PolicyModel(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=BATCH)


def _plain_greedy(how: dict[str, Any]) -> bool:
    return set(how) == {"until", "do_sample", "max_gen_toks"} and not how["until"] and not how["do_sample"]


def _greedy(policy: Policy, lm: Any, requests: Sequence[Any]) -> list[str]:
    from restaudit.policy import SampleRequest, sample

    out: dict[int, str] = {}
    for length in sorted({int(r.args[1]["max_gen_toks"]) for r in requests}):
        places = [k for k, r in enumerate(requests) if int(r.args[1]["max_gen_toks"]) == length]
        # The template, or nothing at all, has put every special token there is into the text already.
        wanted = [SampleRequest(f"{k:06d}", tuple(lm.tok_encode(requests[k].args[0])), (f"{k:06d}",)) for k in places]
        # The most probable token alone is left to draw from: the seed decides nothing.
        how = SamplingConfig(temperature=1.0, top_k=1, max_tokens=length)
        for place, drawn in zip(places, sample(policy, wanted, how, seed=0), strict=True):
            out[place] = policy.text(drawn.tokens)
    return [out[k] for k in range(len(requests))]
