"""The reward model's papers: one JSON file that says what it is, what it was made from, and what
nobody knows; and what differs between two of them.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from restaudit.errors import BadInput
from restaudit.evidence.record import is_run, read_json, write_json
from restaudit.files import plain

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
    return folder / "report" if is_run(folder) else folder


def write_dossier(out: Path, facts: Mapping[str, Any]) -> None:
    """Write the dossier; a fact that is None becomes "MISSING", since silence could be read as
    "nothing to say".

    Raises BadInput for a number that JSON cannot hold.
    """
    try:
        write_json({"schema": SCHEMA, **_without_silence(facts)}, out / FILE)
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

    # Empty on many Linux systems.
    name = platform.processor() or "cpu"
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
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
    recorded = facts.get("kind")
    if recorded != kind:
        raise BadInput(
            f"{out / FILE}: the reward here is of kind {recorded!r}, the configuration asks for "
            f"{kind!r}"
        )
    return facts


def read_any(out: Path) -> dict[str, Any]:
    """Read the dossier of a reward of any kind.

    Raises BadInput when it is absent, or of another schema.
    """
    path = out / FILE
    if not plain.is_file(out, FILE):
        raise BadInput(f"{path}: missing; this folder holds no reward model that was built here")
    facts = read_json(out, FILE)
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        schema = facts.get("schema") if isinstance(facts, dict) else type(facts).__name__
        raise BadInput(f"{path}: schema {schema!r}; this version of restaudit reads {SCHEMA!r}")
    # Kept apart so that two builds of one reward have the same dossier, byte for byte.
    if plain.is_file(out, COMPUTE):
        facts["compute"] = read_json(out, COMPUTE)
    return facts


def digest_facts(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (RFC 8785) of some facts, in hex."""
    # Canonical: the order of keys and the writing of numbers are part of no fact.
    return hashlib.sha256(rfc8785.dumps(dict(facts))).hexdigest()


def same_as_recorded(what: str, expected: str, got: str) -> None:
    """Raise BadInput when something a reward is made of is no longer what its dossier says."""
    if expected != got:
        raise BadInput(
            f"{what} is not the one the reward's dossier records: expected sha256 {expected}, got "
            f"{got}; bring the recorded one back, or start a new run"
        )


def _without_silence(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, with MISSING for every None however deep: an empty place could be read as "nothing
    to say".
    """
    spoken: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            # What has a reason says itself why it has no value.
            spoken[key] = dict(value) if "reason" in value else _without_silence(value)
        else:
            spoken[key] = MISSING if value is None else value
    return spoken


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
    a, b = _by_path(left), _by_path(right)
    differing = []
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) != b.get(path):
            differing.append(Difference(path, a.get(path, ABSENT), b.get(path, ABSENT)))
    return differing


def _by_path(facts: Mapping[str, Any]) -> dict[str, str]:
    return dict(_flat({key: value for key, value in facts.items() if key != "compute"}))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    # By name and not by place: a measurement that one dossier lacks would shift all that follow.
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for n, item in enumerate(value):
            yield from _flat(_kept(item), f"{path}.{item.get('name', n)}")
    else:
        yield path, str(value)


def _kept(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a measurement, its value and interval; of anything else, everything."""
    if not {"value", "intervals"} <= item.keys():
        return item
    # Four digits: what two machines compute differs in the last ones.
    between = [f"{i['low']:.4g}..{i['high']:.4g}" for i in item["intervals"]]
    return {"value": item["value"], "interval": ", ".join(between), "n": item["n"]}
