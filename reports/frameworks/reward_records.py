"""What there is about a reward model, read once: its dossier, stress and validation reports,
declarations, and the run it belongs to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from probes.base import Measurement
from reports.frameworks.declared import Declarations, stored
from reports.frameworks.forms import REWARD_FORM, FormSubject
from reports.record.files import Source
from restaudit.errors import BadInput
from restaudit.evidence import ledger
from restaudit.evidence.ledger import digest_in
from restaudit.evidence.record import PLAN, REWARD, Run, is_run
from restaudit.files import plain
from restaudit.files.strict import NotStrict, parse_json
from restaudit.reward.dossier import COMPUTE, FILE, STRESS, VALIDATION, beside, read_any

OF_A_REWARD = re.compile(rf"{REWARD}/(g\d\d/)?{re.escape(FILE)}")
DECLARED, DECLARED_IN_RUN = "declarations.yaml", "reward_declarations.yaml"


@dataclass(frozen=True)
class RewardRecords:
    """Files about one reward, named relative to `folder`; `files` gives their SHA-256.

    facts         the dossier
    stress        the stress report, or None; `stress_file` is its name
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
    stress_file: str = ""

    @property
    def dossier(self) -> str:
        """The dossier's name, relative to the folder."""
        return next(f for f in self.files if f.endswith(FILE))

    @property
    def subject(self) -> FormSubject:
        """The reward as what declarations are about."""
        return reward_subject(self.folder, str(self.facts.get("digest", "")))

    @property
    def validation(self) -> list[Mapping[str, Any]]:
        """The dossier's own measurements, as plain JSON; empty where it has none."""
        listed = self.facts.get("validation")
        return listed if isinstance(listed, list) else []

    def value(self, path: str) -> Any:
        """The fact at a dotted path; None where a part of the path is not there."""
        node: Any = self.facts
        for key in path.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    def source(self, file: str, at: str = "") -> Source:
        """A place in a file that was read."""
        return Source(file, at, self.files[file])

    def fact(self, path: str) -> Source:
        """The place of a fact of the dossier; what building took has a file of its own."""
        compute = self.dossier.removesuffix(FILE) + COMPUTE
        section, _, rest = path.partition(".")
        if section == "compute" and compute in self.files:
            return self.source(compute, rest)
        return self.source(self.dossier, path)

    def stressed(self, at: str) -> Source:
        """A place in the stress report."""
        return self.source(self.stress_file, at)

    @cached_property
    def measured(self) -> Mapping[str, Mapping[str, Measurement]]:
        """Iteration -> name -> measurement; empty without a run."""
        if self.run is None:
            return {}
        by_iteration = {}
        for iteration in self.run.iterations():
            by_iteration[iteration] = {m.name: m for m in self.run.measurements(iteration)}
        return by_iteration


def reward_subject(folder: Path, digest: str) -> FormSubject:
    """The reward with this digest as what declarations are about, and where they are kept."""
    name = DECLARED_IN_RUN if is_run(folder) else DECLARED
    file = _relative(beside(folder) / name, folder)
    return FormSubject(REWARD_FORM, {"reward_digest": digest}, folder, file)


def gather(folder: Path, where: Path) -> RewardRecords:
    """Read what there is about the reward of `folder` whose dossier lies in `where` (the folder, or
    its part).

    What stands beside the run is about one of its rewards: for the others (a run may fit its reward
    again) it is left out. Raises BadInput for a file that cannot be read or is about none of them.
    """
    # Only what is read is cited, so every reader notes its file here.
    files: dict[str, str] = {}
    others = _other_digests(folder, where)
    facts = read_any(where)
    for name in (_relative(where / FILE, folder), _relative(where / COMPUTE, folder)):
        if plain.is_file(folder, name):
            files[name] = digest_in(folder, name, plain.LARGEST).sha256
    digest = str(facts.get("digest", ""))
    stress, stress_file = _stress(folder, where, digest, others, files)
    validations = _validations(folder, digest, others, files)
    declared = stored(reward_subject(folder, digest), others=others)
    if declared is not None:
        files[declared.file] = declared.sha256
    run = Run(folder) if is_run(folder) else None
    if run is not None:
        for name in _run_files(run):
            if plain.is_file(folder, name):
                files[name] = digest_in(folder, name, plain.LARGEST).sha256
    return RewardRecords(folder, facts, stress, validations, declared, run, files, stress_file)


def _stress(
    folder: Path, where: Path, digest: str, others: frozenset[str], files: dict[str, str]
) -> tuple[dict[str, Any] | None, str]:
    """The stress report and its file; None where there is none about this reward."""
    # What somebody asked of it afterwards reads more texts than the test that the run recorded.
    recorded = _relative(where / STRESS, folder)
    for name in dict.fromkeys((_relative(beside(folder) / STRESS, folder), recorded)):
        found = _report(folder, name, "findings", f"restaudit reward stress {folder}")
        if found is None:
            continue
        report, sha256 = found
        # A report of the first versions does not name its reward: it is taken to be about this one.
        about = report.get("reward_digest", digest)
        if about in others:
            continue
        if about != digest:
            raise BadInput(f"{folder / name}: about another reward than this one; stress this one")
        files[name] = sha256
        return report, name
    return None, ""


def _validations(
    folder: Path, digest: str, others: frozenset[str], files: dict[str, str]
) -> dict[str, Mapping[str, Any]]:
    """The validation reports about this reward, by the name of their file."""
    validations: dict[str, Mapping[str, Any]] = {}
    place = _relative(beside(folder) / VALIDATION, folder)
    for name in plain.names(folder, place):
        if PurePosixPath(name).parent.as_posix() != place or not name.endswith(".json"):
            continue
        found = _report(folder, name, "measurements", f"restaudit reward validate {folder}")
        if found is None:
            continue
        report, sha256 = found
        about = report.get("reward", {}).get("digest")
        if about in others:
            continue
        if about != digest:
            raise BadInput(
                f"{folder / name}: about another reward than this one; remove it, or validate "
                "this one"
            )
        files[name] = sha256
        validations[name] = report
    return validations


def _run_files(run: Run) -> list[str]:
    """Files of a run that the document may cite."""
    names = [PLAN, ledger.FILE, "data/report.json"]
    for iteration in run.iterations():
        names += [f"{iteration}/measurements.json", f"{iteration}/decision.json"]
    return names


def _other_digests(folder: Path, where: Path) -> frozenset[str]:
    """Digests of a run's other rewards: the first one and those fitted again later."""
    if not is_run(folder):
        return frozenset()
    dossiers = [
        folder / name for name in plain.names(folder, REWARD) if OF_A_REWARD.fullmatch(name)
    ]
    others = [dossier.parent for dossier in dossiers if dossier.parent != where]
    return frozenset(str(read_any(place).get("digest", "")) for place in others)


def _report(folder: Path, name: str, needed: str, anew: str) -> tuple[dict[str, Any], str] | None:
    """A report and the SHA-256 of its file; None where there is none."""
    if not plain.is_file(folder, name):
        return None
    # Read once: what is cited by its digest are the very bytes that were read.
    try:
        data = plain.read(folder, name)
        found = parse_json(data)
    except (OSError, NotStrict) as e:
        raise BadInput(f"{folder / name}: cannot be read ({e}); make it anew with {anew}") from None
    if not isinstance(found, dict) or needed not in found:
        raise BadInput(f"{folder / name}: no '{needed}' in it; make it anew with {anew}")
    return found, hashlib.sha256(data).hexdigest()


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
