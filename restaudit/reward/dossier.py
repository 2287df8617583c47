"""The reward model's papers: one JSON file that says what it is, what it was made from, and what
nobody knows.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from restaudit.errors import BadInput
from restaudit.evidence.record import write_json

if TYPE_CHECKING:
    from restaudit.config import EnsembleConfig
    from restaudit.reward.contract import Reward

FILE = "dossier.json"
COMPUTE = "compute.json"
SCHEMA = "restaudit.reward-dossier/1"
MISSING = "MISSING"
# What measuring a reward leaves behind, named relative to `beside`.
STRESS, VALIDATION = "stress.json", "validation"


def beside(folder: Path) -> Path:
    """Where reports about a reward go: never into a run's own reward_model/, whose files the ledger
    has.
    """
    return folder / "report" if (folder / "plan.json").is_file() else folder


def write_dossier(out: Path, facts: Mapping[str, Any]) -> None:
    """Write the dossier; a fact that is None becomes "MISSING", since silence could be read as
    "nothing to say".

    Raises BadInput for a number that JSON cannot hold.
    """
    try:
        write_json({"schema": SCHEMA, **{k: _said(v) for k, v in facts.items()}}, out / FILE)
    except ValueError as e:
        raise BadInput(f"{out / FILE}: a fact cannot be written: {e}") from None


def describe(
    reward: Reward,
    out: Path,
    *,
    kind: str,
    purpose: str | None,
    ensemble: EnsembleConfig,
    limits: Sequence[str],
    **facts: Any,
) -> None:
    """Write the dossier of a reward that was not trained here into `out`, made where it is not
    there.

    Who judged, on what data, and how well it predicts people are MISSING: nobody here knows.
    `limits` are sentences; `facts` is whatever else the digest rests on or a reader should know.
    """
    out.mkdir(parents=True, exist_ok=True)
    papers = {
        "kind": kind,
        "name": reward.name,
        "purpose": purpose,
        "unit": reward.unit,
        "members": reward.members,
        "digest": reward.digest,
        "ensemble": ensemble.model_dump(mode="json"),
        "data": MISSING,
        "raters": MISSING,
        "validation": MISSING,
        "limits": list(limits),
    }
    write_dossier(out, {**papers, **facts})


def write_compute(out: Path, *, device: str, seconds: float) -> None:
    """Write what building it took: it differs from one time to the next, and so stays out of the
    dossier itself.
    """
    import torch

    name = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else platform.processor() or "cpu"
    )
    facts = {
        "seconds": round(seconds, 1),
        "device": device,
        "device_name": name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    write_json(facts, out / COMPUTE)


def read_dossier(out: Path, kind: str) -> dict[str, Any]:
    """Read the dossier of a reward of this kind.

    Raises BadInput when it is absent, or of another schema or kind.
    """
    facts = read_any(out)
    if facts.get("kind") != kind:
        found = facts.get("kind")
        raise BadInput(
            f"{out / FILE}: the reward here is of kind {found!r}, the configuration asks for "
            f"{kind!r}"
        )
    return facts


def read_any(out: Path) -> dict[str, Any]:
    """Read the dossier of a reward of any kind.

    Raises BadInput when it is absent, or of another schema.
    """
    path = out / FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: missing; this folder holds no reward model that was built here"
        ) from None
    except ValueError as e:
        raise BadInput(f"{path}: not valid JSON ({e})") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        found = facts.get("schema") if isinstance(facts, dict) else type(facts).__name__
        raise BadInput(f"{path}: schema {found!r}; this version of restaudit reads {SCHEMA!r}")
    if (compute := out / COMPUTE).is_file():
        facts["compute"] = json.loads(compute.read_text(encoding="utf-8"))
    return facts


def digest_facts(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (RFC 8785) of some facts, in hex."""
    return hashlib.sha256(rfc8785.dumps(dict(facts))).hexdigest()


def same_as_recorded(what: str, expected: str, got: str) -> None:
    """Raise BadInput when something a reward is made of is no longer what its dossier says."""
    if expected != got:
        raise BadInput(
            f"{what} is not the one the reward's dossier records: expected sha256 {expected}, got "
            f"{got}; bring the recorded one back, or start a new run"
        )


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "reason" in value:  # a measurement that says itself why it has no value
            return dict(value)
        return {k: _said(v) for k, v in value.items()}
    return MISSING if value is None else value


# --- what differs between two dossiers

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """A fact (by its path in the dossier) that the two do not share; `(absent)` where one has
    none.
    """

    path: str
    left: str
    right: str


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Every fact that differs, sorted by path; measurements of the validation are named by their
    own names.

    What building them took (seconds, device) is left out: it says nothing about the models.
    """
    a, b = (
        dict(_flat({k: v for k, v in facts.items() if k != "compute"})) for facts in (left, right)
    )
    return [
        Difference(path, a.get(path, ABSENT), b.get(path, ABSENT))
        for path in sorted(a.keys() | b.keys())
        if a.get(path) != b.get(path)
    ]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair for k, v in value.items() for pair in _flat(v, f"{path}.{k}" if path else str(k))
        ]
    if isinstance(value, list) and all(isinstance(v, Mapping) for v in value) and value:
        return [
            pair
            for n, v in enumerate(value)
            for pair in _flat(_kept(v), f"{path}.{v.get('name', n)}")
        ]
    return [(path, str(value))]


def _kept(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a measurement, its value and interval; of anything else, everything."""
    if not {"value", "intervals"} <= item.keys():
        return item
    between = [f"{i['low']:.4g}..{i['high']:.4g}" for i in item["intervals"]]
    return {"value": item["value"], "interval": ", ".join(between), "n": item["n"]}
