"""Everything a document is made from: the dossier, the stress and validation reports, declarations,
and the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from probes.base import Measurement
from restaudit.errors import BadInput
from restaudit.evidence import ledger
from restaudit.evidence.ledger import digest_file
from restaudit.evidence.record import Run
from restaudit.reward.dossier import COMPUTE, FILE, read_any
from restaudit.reward_audit.document.declared import Declarations, about_this, read_declarations
from restaudit.reward_audit.document.model import Evidence

STRESS = "stress.json"
VALIDATION = "validation"
DECLARED, DECLARED_IN_RUN = "declarations.yaml", "reward_declarations.yaml"


@dataclass(frozen=True)
class Material:
    """What was found, read once. Files are named relative to `folder`, `files` gives their SHA-256.

    facts         the dossier
    stress        the stress report, or None
    validations   name of the file -> a report of restaudit reward validate
    declared      what people declared, or None
    run           the run, or None for a folder of restaudit reward train
    """

    folder: Path
    facts: Mapping[str, Any]
    stress: Mapping[str, Any] | None
    validations: Mapping[str, Mapping[str, Any]]
    declared: Declarations | None
    run: Run | None
    files: Mapping[str, str]

    @property
    def dossier(self) -> str:
        """The dossier's name, relative to the folder."""
        return next(f for f in self.files if f.endswith(FILE))

    def evidence(self, file: str, at: str = "") -> Evidence:
        """A place in a file that was read."""
        return Evidence(file, at, self.files[file])

    def fact(self, path: str) -> Evidence:
        """The place of a fact of the dossier; what building took has a file of its own."""
        compute = self.dossier.removesuffix(FILE) + COMPUTE
        if path.partition(".")[0] == "compute" and compute in self.files:
            return self.evidence(compute, path.partition(".")[2])
        return self.evidence(self.dossier, path)

    @cached_property
    def measured(self) -> Mapping[str, Mapping[str, Measurement]]:
        """Iteration -> name -> measurement; empty without a run."""
        if self.run is None:
            return {}
        return {i: {m.name: m for m in self.run.measurements(i)} for i in self.run.iterations()}


def beside(folder: Path) -> Path:
    """Where reports about a reward go: never into a run's own reward_model/, whose files the ledger
    has.
    """
    return folder / "report" if (folder / "plan.json").is_file() else folder


def declarations_of(folder: Path) -> Path:
    """Where the declarations about a reward are kept."""
    name = DECLARED_IN_RUN if (folder / "plan.json").is_file() else DECLARED
    return beside(folder) / name


def gather(folder: Path, where: Path) -> Material:
    """Read what there is about the reward of `folder` whose dossier lies in `where` (the folder, or
    its part).

    What stands beside the run is about one of its rewards: for the others (a run may fit its reward
    again) it is left out. Raises BadInput for a file that cannot be read or is about none of them.
    """
    files: dict[str, str] = {}
    others = _other_digests(folder, where)
    facts = read_any(where)
    for name in (FILE, COMPUTE):
        if (where / name).is_file():
            files[_relative(where / name, folder)] = digest_file(where / name).sha256
    digest = str(facts.get("digest", ""))
    stress = _report(
        beside(folder) / STRESS, "findings", f"restaudit reward stress {folder}", folder, files
    )
    if stress is not None and stress.get("reward_digest", digest) in others:
        files.pop(_relative(beside(folder) / STRESS, folder))
        stress = None
    if stress is not None and stress.get("reward_digest", digest) != digest:
        raise BadInput(
            f"{beside(folder) / STRESS}: about another reward than this one; stress this one"
        )
    validations = {}
    for path in sorted((beside(folder) / VALIDATION).glob("*.json")):
        found = _report(path, "measurements", f"restaudit reward validate {folder}", folder, files)
        assert found is not None
        if found.get("reward", {}).get("digest") in others:
            files.pop(_relative(path, folder))
            continue
        if found.get("reward", {}).get("digest") != digest:
            raise BadInput(
                f"{path}: about another reward than this one; remove it, or validate this one"
            )
        validations[_relative(path, folder)] = found
    declared = None
    if (path := declarations_of(folder)).is_file():
        declared = read_declarations(path)
        if declared.reward_digest in others:
            declared = None
    if declared is not None:
        about_this(declared, digest, path)
        files[_relative(path, folder)] = digest_file(path).sha256
    run = Run(folder) if (folder / "plan.json").is_file() else None
    if run is not None:
        names = ["plan.json", ledger.FILE, "data/report.json"]
        names += [
            f"{i}/{name}"
            for i in run.iterations()
            for name in ("measurements.json", "decision.json")
        ]
        files |= {
            name: digest_file(folder / name).sha256 for name in names if (folder / name).is_file()
        }
    return Material(folder, facts, stress, validations, declared, run, files)


def _other_digests(folder: Path, where: Path) -> frozenset[str]:
    """Digests of a run's other rewards: the first one and those fitted again later."""
    root = folder / "reward_model"
    places = [root, *sorted(root.glob("g[0-9][0-9]"))] if (folder / "plan.json").is_file() else []
    return frozenset(
        str(read_any(p).get("digest", "")) for p in places if p != where and (p / FILE).is_file()
    )


def _report(
    path: Path, needed: str, anew: str, folder: Path, files: dict[str, str]
) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        data = path.read_bytes()
        found = json.loads(data)
    except (OSError, ValueError) as e:
        raise BadInput(f"{path}: cannot be read ({e}); make it anew with {anew}") from None
    if not isinstance(found, dict) or needed not in found:
        raise BadInput(f"{path}: no '{needed}' in it; make it anew with {anew}")
    files[_relative(path, folder)] = hashlib.sha256(data).hexdigest()
    return found


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
