"""The README of exported weights: the run's model card, and how the folder is loaded, asked and
licensed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reports.exports.encoding import HUB, SPDX_IDS, clean
from reports.exports.facts import MISSING, RunFacts
from reports.exports.formats.hf import Weights, card
from reports.record.files import Records
from restaudit.evidence.record import Run
from restaudit.evidence.shown import markdown_text
from restaudit.weights.export import FACTS, Exported

LIBRARIES = {"peft": "peft", "checkpoint": "transformers"}
MOST = 2000
LOAD = {
    "peft": """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base}, dtype="{dtype}")
model = PeftModel.from_pretrained(base, "THIS FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")
```""",
    "checkpoint": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("THIS FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")
```""",
}


def weights_card(run: Path, exported: Exported) -> str:
    """The README.md of an exported folder."""
    about = Weights(
        iteration=exported.chosen.iteration,
        library=LIBRARIES[exported.kind],
        licence=hub_licence(exported.base.licence),
        tags=("lora",) if exported.kind == "peft" else (),
        paragraphs=tuple(_paragraphs(exported)),
    )
    return card(RunFacts(Records(Run(run))), about)


def hub_licence(licence: str | None) -> tuple[str, str | None]:
    """The hub's word for a licence, and the licence's name where the hub has no word for it."""
    if licence is None or licence == MISSING:
        return "unknown", None
    known = next((s for s in SPDX_IDS if s.lower() == licence.lower()), None)
    if known is None:
        return "other", licence
    # The hub's words are SPDX identifiers in small letters, but "gpl-3.0" for either form.
    return known.lower().removesuffix("-only").removesuffix("-or-later"), None


def _paragraphs(exported: Exported) -> Iterator[str]:
    dtype = exported.agreement.dtype
    yield "## What is in this folder"
    if exported.kind == "peft":
        yield (
            f"The adapter of {_text(exported.chosen.policy)} in PEFT's format, float32 as it was "
            f"recorded. The base model is not in this folder: {_text(exported.base.spec)}."
        )
    else:
        merged = ""
        if exported.config.policy.training == "lora":
            merged = " with its adapter merged in"
        yield (
            f"The whole model of {_text(exported.chosen.policy)}{merged}, in {dtype}, as the "
            "audit sampled from it."
        )
    yield LOAD[exported.kind].format(base=_base_argument(exported.base.spec), dtype=dtype)
    yield " ".join(_text(s) for s in exported.agreement.sentences())
    yield "\n".join(_asked(exported))
    yield (
        "Licence of the base model, as the plan records it: "
        f"{_text(exported.base.licence or MISSING)}. Nobody stated "
        "a licence for the trained weights."
    )
    yield f"Digests of plan, base model and weights are in `{FACTS}`."


def _base_argument(spec: str) -> str:
    """The first arguments of `from_pretrained` for the base model, as Python."""
    hub = HUB.fullmatch(spec)
    # A path of this machine helps nobody who loads the adapter elsewhere.
    if hub is None:
        return '"THE FOLDER OF THE BASE MODEL"'
    name, revision = hub.groups()
    # Without the revision a later upload could take the place of what was audited.
    return f'"{name}", revision="{revision}"' if revision else f'"{name}"'


def _asked(exported: Exported) -> Iterator[str]:
    """How the audit used the model, none of which the files do by themselves."""
    policy, sampling = exported.config.policy, exported.config.loop.sampling
    yield "The audit asked it in this way; only where a response ends is built into the files:"
    yield ""
    yield f"- chat template: {'yes' if policy.chat else 'no, prompts as plain text'}"
    yield f"- system prompt: {_text(policy.system_prompt) if policy.system_prompt else 'none'}"
    top = f"top-k {sampling.top_k}" if sampling.top_k else "no top-k"
    yield (
        f"- sampling: temperature {sampling.temperature:g}, {top}, at most "
        f"{sampling.max_tokens} tokens"
    )


def _text(value: str) -> str:
    return markdown_text(clean(value), MOST)
