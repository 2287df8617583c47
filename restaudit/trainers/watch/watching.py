"""The flow of `restaudit watch`: find the base policy, seal the plan, take the looks one after
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import ColumnHuman, Config
from restaudit.errors import BadInput, Interrupted
from restaudit.evidence.record import BASE, Run, after_steps
from restaudit.evidence.steps import Content, Writer
from restaudit.loop.audit import audit, missed
from restaudit.loop.job import NOWHERE, Job
from restaudit.loop.look import before, looked_at
from restaudit.loop.running import may_go_on, prepare_machine, under_plan
from restaudit.loop.sealing import TRAINER, artifacts_of
from restaudit.loop.probe_evidence import remember_known
from restaudit.models.artifacts import ADAPTER_CONFIG, Artifact
from restaudit.models.model_folder import check_folder
from restaudit.trainers.session import check_same
from restaudit.trainers.watch.checkpoints import (
    UNDER,
    Checkpoints,
    base_of_adapter,
    digest_of_checkpoint,
    digests,
    open_checkpoints,
)
from restaudit.trainers.watch.folder import Found, Kind, Not, Watcher, is_checkpoint, is_generations
from restaudit.trainers.watch.generations import prompts_of, scored, taken
from restaudit.trainers.watch.settings import Asked, of_checkpoints, of_generations

if TYPE_CHECKING:
    import pandas as pd

    from restaudit.evidence.seal.signer import Signer
    from restaudit.loop.sealing import Prompts

MISSING = "no file of this step ever came, and a later one did"


@dataclass(frozen=True)
class Base:
    """The base policy: where it is, which step it is (None for one given beside the folder's), and
    why it is that.
    """

    kind: Kind
    path: Path
    step: int | None
    why: str


@dataclass(frozen=True)
class Planned:
    """What is about to be sealed, or was: the base policy, the configuration, its prompts, and what
    to say.
    """

    base: Base
    config: Config
    prompts: Prompts | None
    notes: tuple[str, ...] = ()


def watch(asked: Asked, run: Path, watcher: Watcher, given: Signer | None = None) -> None:
    """Audit what a training left, or leaves, in a folder; go on with a run that is begun where it
    stands.

    Raises BadInput before anything is sealed for what cannot be used, Halted where a gate stops the
    run, Waiting where people's ratings are missing, and Interrupted at the end of the step in hand.
    """
    reporter, record, signer = watcher.reporter, None, given
    if (run / "plan.json").exists():
        record, signer = may_go_on(run, reporter, given)
        if record.state == "done":
            reporter.line(f"{run}: this run is done; nothing is left to look at")
            return
    planned = _planned(asked, watcher, record)
    if record is not None:
        check_same(record, planned.config)
    prepare_machine(planned.config)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        watcher.interrupted = lambda: writer.interrupted
        base = planned.base
        digest = digest_of_checkpoint(base.path)
        where = base.path if base.kind == "checkpoints" else NOWHERE
        artifacts = {
            "policy.model": Artifact(where, str(base.path), digest, planned.config.policy.licence),
            **artifacts_of(planned.config),
        }
        policy = None
        if base.kind == "checkpoints":
            policy = open_checkpoints(
                planned.config.policy, base.path, device=planned.config.device
            )
        try:
            job = under_plan(
                record,
                planned.config,
                writer,
                reporter,
                artifacts,
                policy=policy,
                prompts=planned.prompts,
            )
            _take_all(job, planned, watcher)
        except Interrupted as e:
            what = str(e).partition("; go on with")[0]
            raise Interrupted(
                f"{run}: {what}; go on with the same restaudit watch command"
            ) from None


def _take_all(job: Job, planned: Planned, watcher: Watcher) -> None:
    """Every step of the plan that is not done yet."""
    base = planned.base
    job.step(TRAINER, "", lambda _: _about(job, planned, watcher))
    remember_known(job)
    if base.kind == "generations":
        audit(
            job,
            BASE,
            policy=BASE,
            given=lambda: scored(job, _rows(job, watcher, base.path, BASE)[0]),
        )
    else:
        audit(job, BASE, policy=BASE)
    for step in job.config.loop.looks:
        _look(job, base, watcher, step)
    found = watcher.until(lambda f: f or Not("nothing is there"))
    job.end()
    if extra := _not_planned(found, job.config.loop.looks, base):
        job.reporter.line(f"not looked at, since no look is planned there: {', '.join(extra)}")


def _look(job: Job, base: Base, watcher: Watcher, step: int) -> None:
    name = after_steps(step)
    if looked_at(job, step):
        _stop_where_it_halted(job, base, name)
        return
    path = watcher.until(lambda found: _of_step(job.config, watcher, found, step))
    if path is None:
        reason = f"step {step}: {MISSING}"
        job.step(
            f"{name}/train",
            name,
            lambda _: {"start": before(job, step), "step": step, "missing": reason},
        )
        missed(job, name, reason)
        return
    if base.kind == "checkpoints":
        assert isinstance(job.policy, Checkpoints)
        job.policy.steps[name] = path
        content = job.step(
            f"{name}/train", name, lambda _: _of_checkpoint(job, watcher, path, step)
        )
        _same(path, content, digest_of_checkpoint(path, _under(job)), name)
        audit(job, name, policy=name)
        return
    rows = cache(lambda: _rows(job, watcher, path, name))
    content = job.step(f"{name}/train", name, lambda _: _of_file(job, path, step, rows()[1]))
    _same(path, content, digest_of_checkpoint(path), name)
    audit(job, name, policy=name, given=lambda: scored(job, rows()[0]))


def _stop_where_it_halted(job: Job, base: Base, name: str) -> None:
    """A look that was decided and then interrupted before its halt was recorded: the halt is
    recorded now.
    """
    audit(job, name, policy=name, given=None if base.kind == "checkpoints" else _never)


def _never() -> pd.DataFrame:
    raise AssertionError("a look that is recorded is not taken again")


def _of_step(config: Config, watcher: Watcher, found: Found | None, step: int) -> Path | Not | None:
    """Where the step's file is, None where it is missed, or why it is not there yet."""
    folder, looks = watcher.asked.folder, config.loop.looks
    if found is None:
        return Not(f"{folder}: nothing of step {step} yet, after which a look is planned")
    if (path := found.steps.get(step)) is not None:
        lack = watcher.lacks(found, path)
        if lack is None and found.kind == "checkpoints":
            check_folder(path, str(path))
        return lack or path
    later = next((s for s in looks if s > step and s in found.steps), None)
    if later is None:
        return Not(f"{folder}: nothing of step {step} yet, after which a look is planned")
    if not watcher.asked.skip_missing:
        return Not(
            f"{folder}: nothing of step {step}, after which a look is planned, but "
            f"{found.steps[later].name} of step {later} is there; bring it, or say "
            "--skip-missing: the look is then recorded as missed, and decides nothing"
        )
    return watcher.lacks(found, found.steps[later])


# --- before anything is sealed


def _planned(asked: Asked, watcher: Watcher, record: Run | None) -> Planned:
    """The plan of a new run, or the same one again for a run that is begun."""
    raw, where = asked.raw()
    if record is not None and not asked.looks:
        asked = replace(asked, looks=tuple(record.plan["config"]["loop"]["looks"]))
    sealed = None if record is None else Path(record.plan["artifacts"]["policy.model"]["spec"])
    base = watcher.until(lambda found: _base(asked, watcher, found, sealed))
    looks = (
        asked.looks or _looks(raw) or watcher.until(lambda found: _found_looks(asked, found, base))
    )
    if base.step is not None and looks[0] <= base.step:
        raise BadInput(
            f"{asked.folder}: a look is planned after step {looks[0]}, but the base policy is "
            f"{base.path.name} (step {base.step}: {base.why}); give the policy that training "
            "began from with --base, or plan later looks"
        )
    raw = {**raw, "description": _described(raw, base, record)}
    notes: list[str] = []
    prompts: Prompts | None = None
    if base.kind == "checkpoints":
        config = of_checkpoints(asked, raw, where, looks)
    else:
        generations = watcher.generations(base.path)
        config, notes = of_generations(asked, raw, where, looks, base=generations, path=base.path)
        config = _partly_judged(config, generations.table)
        prompts = None if record is not None else prompts_of(generations, config)
    if config.human.kind == "people" and asked.skip_missing:
        raise BadInput(
            "--skip-missing: where people rate each look, one that never came cannot be passed over"
        )
    if not asked.follow:
        _check_all(config, watcher, record)
    _mapped(asked, watcher, base)
    for note in notes:
        watcher.reporter.line(note)
    watcher.reporter.line(f"base policy: {base.path} ({base.why})")
    return Planned(base, config, prompts, tuple(notes))


def _base(asked: Asked, watcher: Watcher, found: Found | None, sealed: Path | None) -> Base | Not:
    """The base policy: --base, that of a run that is begun, step 0, an adapter's own model, or the
    smallest step.
    """
    if found is None:
        return Not(
            f"{asked.folder}: no file of generations and no checkpoint with a number in its name; "
            "expected, for example, step_50.jsonl or checkpoint-50/"
        )
    given = asked.base or sealed
    if given is not None:
        if not (
            is_generations(given)
            if found.kind == "generations"
            else is_checkpoint(given) or given.is_file()
        ):
            raise BadInput(
                f"--base {given}: expected {_expected(found.kind)}, as what is in {asked.folder}"
            )
        step = next((s for s, p in found.steps.items() if p.resolve() == given.resolve()), None)
        base = Base(found.kind, given, step, "given with --base" if asked.base else "as sealed")
    elif 0 in found.steps:
        base = Base(found.kind, found.steps[0], 0, "step 0")
    elif found.kind == "checkpoints" and (adapter := _adapter(found)) is not None:
        base = Base(
            found.kind,
            base_of_adapter(adapter),
            None,
            "the model that the adapters were trained on",
        )
    else:
        first = min(found.steps)
        if asked.looks and first >= asked.looks[0]:
            return Not(
                f"{asked.folder}: nothing before step {asked.looks[0]} to compare with; give the "
                "policy that training began from with --base"
            )
        base = Base(
            found.kind,
            found.steps[first],
            first,
            "the smallest step there is; what was learned before it is not seen",
        )
    if not base.path.exists():
        raise BadInput(f"{base.path}: no such file or folder; the base policy was expected there")
    return watcher.lacks(found, base.path) or base


def _described(raw: Mapping[str, Any], base: Base, record: Run | None) -> str:
    """What the run is called on every page: whatever the configuration says, and what the base
    policy is, and why.
    """
    if record is not None:
        return str(record.plan["config"]["description"])
    own = str(raw.get("description") or "").strip()
    return f"{own} Watched from outside; the base policy is {base.path.name} ({base.why}).".strip()


def _adapter(found: Found) -> Path | None:
    return next((p for p in found.steps.values() if (p / ADAPTER_CONFIG).is_file()), None)


def _expected(kind: Kind) -> str:
    return "a file of generations" if kind == "generations" else "a checkpoint's folder"


def _looks(raw: Mapping[str, Any]) -> tuple[int, ...]:
    """The looks that the configuration itself plans."""
    loop = raw.get("loop")
    return tuple(loop.get("looks") or ()) if isinstance(loop, dict) else ()


def _found_looks(asked: Asked, found: Found | None, base: Base) -> tuple[int, ...] | Not:
    """The steps that are there, after the base policy."""
    if asked.follow:
        raise BadInput(
            "--follow needs the planned looks, which are sealed before the first one is taken: "
            "--steps 50,100,150, or --every 50 --until 1000"
        )
    there = tuple(s for s in (found.steps if found else ()) if s > (base.step or 0))
    return there or Not(
        f"{asked.folder}: nothing but the base policy, {base.path.name}, is there to look at"
    )


def _check_all(config: Config, watcher: Watcher, record: Run | None) -> None:
    """Raise BadInput for what is not whole or not there, before anything is sealed."""
    done = frozenset() if record is None else record.done
    for step in config.loop.looks:
        if f"{after_steps(step)}/audit" not in done:
            watcher.until(lambda found, step=step: _of_step(config, watcher, found, step))  # type: ignore[misc]


def _mapped(asked: Asked, watcher: Watcher, base: Base) -> None:
    """Raise BadInput for a --column that no file which was read has; where later ones are still to
    come, say so.
    """
    for name, own in asked.columns.items():
        if own in watcher.columns:
            continue
        if not asked.follow:
            raise BadInput(
                f"{asked.folder}: no file has a column '{own}', which --column {name}={own} names"
            )
        watcher.reporter.line(
            f"{base.path} has no column '{own}', which --column {name}={own} names"
        )


def _partly_judged(config: Config, table: pd.DataFrame) -> Config:
    """How rows with a human score were chosen is unknown where only some have one, unless the user
    says it.
    """
    human = config.human
    if not isinstance(human, ColumnHuman) or "sampling" in human.model_fields_set:
        return config
    if "human" not in table.columns or table["human"].notna().all():
        return config
    return config.model_copy(update={"human": human.model_copy(update={"sampling": "unknown"})})


# --- what the ledger notes


def _about(job: Job, planned: Planned, watcher: Watcher) -> Content:
    """What is watched."""
    base = planned.base
    found = watcher.until(lambda f: f or Not(f"{watcher.asked.folder}: nothing is there any more"))
    facts: dict[str, Any] = {
        "watched": watcher.asked.folder.resolve().name,
        "kind": base.kind,
        "base": {"name": base.path.name, "step": base.step, "why": base.why, **_digests(base.path)},
        "notes": list(planned.notes),
        "not_looked_at": [
            *_not_planned(found, job.config.loop.looks, base),
            *(f"{name}: {why}" for name, why in sorted(found.others.items())),
        ],
    }
    if base.kind == "generations":
        generations = watcher.generations(base.path)
        return {
            **facts,
            "keyed": generations.keyed,
            "rows": len(generations.table),
            "file_notes": list(generations.notes),
        }
    return {**facts, "parameters": job.policy.parameters()["parameters"]}


def _rows(
    job: Job, watcher: Watcher, path: Path, iteration: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    found = taken(
        job, watcher.generations(path), iteration, str(job.writer.content(TRAINER)["keyed"])
    )
    return found.rows, found.facts


def _of_file(job: Job, path: Path, step: int, facts: Content) -> Content:
    return {"start": before(job, step), "step": step, "file": path.name, **_digests(path), **facts}


def _of_checkpoint(job: Job, watcher: Watcher, path: Path, step: int) -> Content:
    found = watcher.asked.folder
    name = path.relative_to(found).as_posix() if path.is_relative_to(found) else path.name
    return {"start": before(job, step), "step": step, "file": name, **_digests(path, _under(job))}


def _under(job: Job) -> Path:
    """The model that the adapters of a training are put on."""
    assert isinstance(job.policy, Checkpoints)
    return job.policy.under


def _digests(path: Path, under: Path | None = None) -> dict[str, Any]:
    if path.is_file():
        return {"bytes": path.stat().st_size, "sha256": digest_of_checkpoint(path)}
    files = digests(path, under)
    return {
        "bytes": sum((path / name).stat().st_size for name in files if name != UNDER),
        "sha256": digest_of_checkpoint(path, under),
        "files": files,
    }


def _same(path: Path, content: Content, digest: str, name: str) -> None:
    """Raise BadInput where a look that is half taken would go on with other files."""
    if content["sha256"] != digest:
        raise BadInput(
            f"{path}: is not what {name} was begun with (sha256 {content['sha256']}, now "
            f"{digest}); bring that back, or give another run folder"
        )


def _not_planned(found: Found, looks: tuple[int, ...], base: Base) -> list[str]:
    """Names of what has a step and no look."""
    return [p.name for s, p in found.steps.items() if s not in looks and p != base.path]
