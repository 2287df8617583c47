"""Whether anything that restaudit computes with a model is silently wrong: every kind of model,
every kind of adapter.

    python -m benchmarks.exactness [NAME …] [--full] [--markdown FILE] [--zoo FOLDER]

A row is an architecture with LoRA on all linear layers (with --full also trained whole), or an
adapter of PEFT's in somebody else's trainer (see benchmarks.zoo). A column is a use. A figure is
the largest difference in nats, over a response of 12 tokens, between restaudit and
`model(input_ids=…).logits` of another model object, which transformers and PEFT loaded from the
files: a sequence at a time, no padding, no cache, both with the weights at the start and with the
trained weights changed. Instead of figures a row may say that the model was refused, and why. A
figure above 0.001 nats that was not refused is WRONG, and so is an error that is no refusal; then
the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import zoo
from restaudit.config import PolicyConfig, SamplingConfig
from restaudit.errors import BadInput
from restaudit.policy import Policy, SampleRequest, TrainingExample, load_policy, sample, token_kl
from restaudit.policy.finetune import training_logprobs
from restaudit.policy.likelihood import loglikelihoods
from restaudit.policy.loading import live_policy

BAR = 0.001
TOKENS = 12
USES = ("sampling", "training", "likelihood", "kl")
# Three lengths in one batch; the longest begins as the first does.
PROMPTS = (
    "write one sentence about a film",
    "good film",
    (
        "write one sentence about a film and tell how many apples a doctor has who buys 12 more in "
        "the city by the river"
    ),
)
SAMPLING = SamplingConfig(temperature=1.0, top_k=0, max_tokens=TOKENS, batch=32)
CHANGE = {"lora": 0.1, "full": 0.03}

Own = Callable[[], Any]


@dataclass
class Row:
    """What was found of one model; `differences` in nats by use, `refused` or `failed` where there
    is no figure.
    """

    name: str
    training: str
    differences: dict[str, float] = field(default_factory=dict)
    route: str = ""
    short: str = ""
    seconds: float = math.nan
    refused: str = ""
    failed: str = ""

    @property
    def worst(self) -> float:
        return max(self.differences.values(), default=0.0)

    @property
    def verdict(self) -> str:
        if self.refused.startswith("skipped"):
            return "skipped"
        if self.refused:
            return "refused"
        return "WRONG" if self.failed or self.worst > BAR else "exact"

    def cells(self) -> list[str]:
        """Name, training, the four uses, route, seconds of the self-check, verdict."""
        figures = [f"{self.differences[u]:.1e}" if u in self.differences else "–" for u in USES]
        said = " ".join(" / ".join(t for t in (self.refused, self.failed, self.route) if t).split())
        seconds = "–" if math.isnan(self.seconds) else f"{self.seconds:.1f}"
        return [self.name, self.training, *figures, seconds, self.verdict, said]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="an architecture or an adapter of benchmarks.zoo"
    )
    parser.add_argument("--full", action="store_true", help="train the architectures whole, too")
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    parser.add_argument("--zoo", type=Path, help="keep the checkpoints in this folder")
    given = parser.parse_args()
    names = given.names or [*zoo.ARCHITECTURES, *zoo.PEFT_VARIANTS]
    if unknown := [n for n in names if n not in zoo.ARCHITECTURES and n not in zoo.PEFT_VARIANTS]:
        parser.error(
            f"{', '.join(unknown)}: neither an architecture nor an adapter of benchmarks.zoo"
        )
    _quiet()
    began = time.perf_counter()
    rows: list[Row] = []
    place: AbstractContextManager[Any] = (
        nullcontext(given.zoo) if given.zoo else tempfile.TemporaryDirectory()
    )
    with place as checkpoints:
        for name in names:
            trainings = (
                ("peft",)
                if name in zoo.PEFT_VARIANTS
                else ("lora", "full")
                if given.full
                else ("lora",)
            )
            for training in trainings:
                rows.append(measured(name, training, Path(checkpoints)))
                print("  ".join(rows[-1].cells())[:240], flush=True)
    lines = [*_markdown(rows), "", *_summary(rows, time.perf_counter() - began)]
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(_summary(rows, time.perf_counter() - began)))
    return int(any(r.verdict == "WRONG" for r in rows))


def measured(name: str, training: str, checkpoints: Path) -> Row:
    """The row of an architecture (`training` lora or full) or of an adapter (`peft`)."""
    row = Row(name, training)
    checkpoint = checkpoints / (zoo.BASES.get(name, "llama") if training == "peft" else name)
    if not checkpoint.is_dir():
        zoo.make(checkpoint.name, checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        try:
            (_adapter if training == "peft" else _architecture)(row, checkpoint, Path(folder))
        except BadInput as e:
            if row.route:  # after the self-check it is too late to refuse
                row.failed = f"BadInput: {e}"
            else:
                row.refused = str(e)
        except ImportError as e:
            row.refused = f"skipped: {e}"
        except Exception as e:  # noqa: BLE001 - a row that fails is a finding, and the others go on
            row.failed = f"{type(e).__name__}: {str(e).strip()[:300]}"
    return row


def _architecture(row: Row, checkpoint: Path, folder: Path) -> None:
    config = PolicyConfig(model=row.name, dtype="float32", chat=True, training=row.training)
    policy = load_policy(config, checkpoint, device="cpu", seed=1)
    _note(row, policy)

    def trained() -> Any:
        if row.training == "lora":
            from peft import PeftModel

            if not (folder / "current" / "adapter_config.json").exists():
                # Kept by the names of parameters, since PEFT would not load it again: put back into
                # a fresh policy, whose model is then asked by its own forward pass alone.
                again = load_policy(config, checkpoint, device="cpu", seed=1)
                again.become(folder / "current")
                return again.model
            return PeftModel.from_pretrained(_fresh(checkpoint), folder / "current").eval()
        model = _fresh(checkpoint)
        odd = model.load_state_dict(policy.masters, strict=False).unexpected_keys
        assert not odd, f"the policy trains what the model has not: {odd}"
        return model

    def change() -> None:
        generator = torch.Generator().manual_seed(5)
        for master in policy.masters.values():
            master.add_(CHANGE[row.training] * torch.randn(master.shape, generator=generator))
        policy.write_back()

    _compare(row, policy, folder, lambda: _fresh(checkpoint), change, trained)


def _adapter(row: Row, checkpoint: Path, folder: Path) -> None:
    model, twin = zoo.adapted(row.name, checkpoint), zoo.adapted(row.name, checkpoint)
    policy = live_policy(model, zoo.tokenizer(), PolicyConfig(model=row.name), keep="adapter")
    _note(row, policy)
    # Saved from a twin: save_pretrained of bitsandbytes 0.50 on a CPU spoils a model that has been
    # used.
    twin.save_pretrained(folder / "theirs")

    def change() -> None:
        zoo.perturb(model, 5)
        zoo.perturb(twin, 5)
        twin.save_pretrained(folder / "theirs_changed")
        policy.take()

    _compare(
        row,
        policy,
        folder,
        lambda: zoo.readapted(row.name, checkpoint, folder / "theirs"),
        change,
        lambda: zoo.readapted(row.name, checkpoint, folder / "theirs_changed"),
    )


def _compare(
    row: Row, policy: Policy, folder: Path, initial: Own, change: Callable[[], None], trained: Own
) -> None:
    """Fill in the row: each use with the weights at the start and, after `change`, with other
    trained weights.

    `initial` and `trained` load what is compared with.
    """
    prompts = [tuple(policy.prompt_tokens([{"role": "user", "content": p}])) for p in PROMPTS]
    examples = _examples(prompts)
    policy.save(folder / "base")
    before = _in_one_state(row, policy, initial(), prompts, examples)
    _raise(
        row,
        "kl",
        [k for k, _ in _kl(policy, examples, folder / "base", folder / "base")],
        [0.0] * len(examples),
    )
    change()
    policy.save(folder / "current")
    reloaded = trained()
    after = _in_one_state(row, policy, reloaded, prompts, examples)
    ours = [k for k, _ in _kl(policy, examples, folder / "base", folder / "current")]
    _raise(
        row,
        "kl",
        ours,
        [float((p.exp() * (p - q)).sum()) for p, q in zip(after, before, strict=True)],
    )
    theirs = dict(reloaded.named_parameters())
    lost = [
        n
        for n, p in policy.model.named_parameters()
        if n not in theirs or not torch.equal(p, theirs[n])
    ]
    if lost and row.worst > BAR:
        row.failed = (
            f"what was saved is not what is loaded again: {len(lost)} tensors, first {lost[0]}"
        )


def _in_one_state(
    row: Row,
    policy: Policy,
    own: Any,
    prompts: Sequence[tuple[int, ...]],
    examples: Sequence[TrainingExample],
) -> list[torch.Tensor]:
    """Raise the row's differences by what is found with the weights as they are; the own
    log-probabilities of each example, (response tokens, vocabulary)."""
    weights = {k: v.detach().clone() for k, v in _tensors(policy.model)}
    asked = [
        SampleRequest(f"p{k}", p, tuple(f"p{k}/{j}" for j in range(3)))
        for k, p in enumerate(prompts)
    ]
    drawn = sample(policy, asked, SAMPLING, seed=3)
    texts = [TrainingExample(prompts[int(s.prompt_id[1:])], s.tokens) for s in drawn]
    _raise(row, "sampling", [s.logprob for s in drawn], [_total(_own(own, e), e) for e in texts])
    logprobs = [_own(own, e) for e in examples]
    totals = [_total(lp, e) for lp, e in zip(logprobs, examples, strict=True)]
    _raise(row, "training", training_logprobs(policy, examples), totals)
    pairs = [(e.prompt, e.response) for e in examples]
    _raise(row, "likelihood", [nats for nats, _ in loglikelihoods(policy, pairs)], totals)
    if any(not torch.equal(v, weights[k]) for k, v in _tensors(policy.model)):
        row.failed = "the model's weights are not what they were before"
    return logprobs


def _tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers; not by state_dict(), which bitsandbytes does not leave unchanged on a
    CPU.
    """
    return itertools.chain(model.named_parameters(), model.named_buffers())


def _raise(row: Row, use: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    worst = max(d if math.isfinite(d) else math.inf for d in differences)
    row.differences[use] = max(row.differences.get(use, 0.0), worst)


def _kl(
    policy: Policy, examples: Sequence[TrainingExample], base: Path, current: Path
) -> list[tuple[float, int]]:
    return token_kl(policy, examples, base, current, forward_tokens=512)


def _own(model: Any, example: TrainingExample) -> torch.Tensor:
    """Log-probabilities (response tokens, vocabulary) by the model's own forward pass over one
    sequence.
    """
    ids = torch.tensor([[*example.prompt, *example.response]])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0]
    logits = logits[-ids.shape[1] :]  # the virtual tokens of prompt tuning come first
    return torch.log_softmax(logits[len(example.prompt) - 1 : -1].double(), dim=-1)


def _total(logprobs: torch.Tensor, example: TrainingExample) -> float:
    return float(logprobs.gather(1, torch.tensor(example.response)[:, None]).sum())


def _examples(prompts: Sequence[tuple[int, ...]]) -> list[TrainingExample]:
    """Three responses of random tokens to each prompt, two of which begin alike; one has the
    padding token inside.
    """
    draw = np.random.Generator(np.random.PCG64(0))
    found = []
    for prompt in prompts:
        first, second, third = draw.integers(len(zoo.SPECIALS), 490, size=(3, TOKENS)).tolist()
        second[:4] = first[:4]
        third[5], first[-1] = zoo.SPECIALS.index("<|pad|>"), zoo.SPECIALS.index("<|im_end|>")
        found += [TrainingExample(prompt, tuple(r)) for r in (first, second, third)]
    return found


def _fresh(checkpoint: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        checkpoint,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    ).eval()


def _note(row: Row, policy: Policy) -> None:
    said = policy.exactness.to_json()
    row.seconds = said["seconds"]
    uses: dict[str, list[str]] = {}
    for use, found in said["uses"].items():
        uses.setdefault(found["route"], []).append(use)
    row.route = "; ".join(f"{', '.join(those)}: {route}" for route, those in uses.items())
    routes = policy.routes
    merged = "merged, " if routes.sampling.merged else ""
    rows = "packed" if routes.training.packed else "plain"
    row.short = f"{merged}{routes.sampling.cache} cache; {rows} rows"


def _markdown(rows: Sequence[Row]) -> list[str]:
    """The table as docs/models.md has it: a line a model or adapter; of whole models trained, the
    largest figure.
    """
    whole = {r.name: r for r in rows if r.training == "full"}
    heads = ["model or adapter", *USES, *(["whole model trained"] if whole else []), "computed by"]
    table = [heads, ["---"] * len(heads)]
    for r in rows:
        if r.training == "full":
            continue
        name, _, *figures = r.cells()[:6]
        full = whole.get(r.name)
        more = [] if not whole else ["" if full is None else _largest(full)]
        table.append(
            [name, *figures, *more, r.short if r.verdict == "exact" else f"{r.verdict}: {_why(r)}"]
        )
    return ["| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |" for cells in table]


def _largest(row: Row) -> str:
    return f"{row.worst:.1e}" if row.verdict == "exact" else row.verdict


def _why(row: Row) -> str:
    """A refusal up to what was tried, without the name that stands in front."""
    said = " ".join((row.refused or row.failed).split()).removeprefix("skipped: ")
    return said.split(". Tried:")[0].split(": refused, ")[-1].removeprefix("since ")[:200]


def _summary(rows: Sequence[Row], seconds: float) -> list[str]:
    import peft
    import transformers

    count = {v: sum(r.verdict == v for r in rows) for v in ("exact", "refused", "WRONG", "skipped")}
    worst = max((r for r in rows if r.verdict == "exact"), key=lambda r: r.worst, default=None)
    checks = [r.seconds for r in rows if not math.isnan(r.seconds)]
    said = [
        f"{len(rows)} rows: {count['exact']} exact, {count['refused']} refused, {count['WRONG']} "
        f"wrong, {count['skipped']} skipped (bar: {BAR} nats over {TOKENS} tokens, float32)"
    ]
    if worst is not None:
        said.append(
            f"largest difference of an exact row: {worst.worst:.1e} nats ({worst.name}, "
            f"{worst.training})"
        )
    if checks:
        said.append(f"self-check: median {np.median(checks):.1f} s, longest {max(checks):.1f} s")
    versions = (
        f"torch {torch.__version__}, transformers {transformers.__version__}, peft "
        f"{peft.__version__}"
    )
    return [*said, f"{versions}; {seconds:.0f} s in all"]


def _quiet() -> None:
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
