"""Sampling tokens/s against the loop everybody writes first: model.generate on prompts in arrival
order, the adapter unmerged, the same batch size and the same distribution. Prints the share of the
machine's own matrix peak as well.

    python -m benchmarks.sampling [--rounds 3] [--prompts 32]
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.common import demo_policy, demo_prompts, matrix_peak, paired, parameters, report
from restaudit.policy import SampleRequest, sample


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--prompts", type=int, default=32)
    given = args.parse_args()
    config, policy = demo_policy()
    settings, n = config.loop.sampling, config.loop.samples_per_prompt
    prompts = demo_prompts(config, policy, given.prompts)
    requests = [
        SampleRequest(f"p{k}", p, tuple(f"p{k}/{j}" for j in range(n)))
        for k, p in enumerate(prompts)
    ]
    flat = [p for p in prompts for _ in range(n)]
    pad = policy.tokenizer.pad_token_id

    def ours() -> float:
        began = time.perf_counter()
        drawn = sample(policy, requests, settings, seed=1)
        return sum(len(s.tokens) for s in drawn) / (time.perf_counter() - began)

    def theirs() -> float:
        began, tokens = time.perf_counter(), 0
        torch.manual_seed(1)
        stops = torch.tensor(policy.stop_tokens)
        for start in range(0, len(flat), settings.batch):
            batch = flat[start : start + settings.batch]
            width = max(len(p) for p in batch)
            ids = torch.tensor(
                [[pad] * (width - len(p)) + list(p) for p in batch], device=policy.device
            )
            mask = torch.tensor(
                [[0] * (width - len(p)) + [1] * len(p) for p in batch], device=policy.device
            )
            with torch.inference_mode():
                out = policy.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=settings.temperature,
                    top_k=settings.top_k,
                    top_p=1.0,
                    repetition_penalty=1.0,
                    max_new_tokens=settings.max_tokens,
                    pad_token_id=pad,
                )
            for row in out[:, width:].cpu():
                ended = torch.isin(row, stops).nonzero()
                tokens += int(ended[0]) + 1 if len(ended) else len(row)
        return tokens / (time.perf_counter() - began)

    a, b = paired(ours, theirs, given.rounds)
    report("sampling", a, b, 2.0)
    peak = matrix_peak(policy.model.dtype, policy.device)
    used = 2 * parameters(policy.model) * max(a) / 1e9
    print(
        f"matrix peak {peak:,.0f} GFLOP/s ({policy.model.dtype}); "
        f"the weights' products in our sampling: {used:,.0f} ({used / peak:.0%})"
    )


if __name__ == "__main__":
    main()
