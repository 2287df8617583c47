"""The flow of `restaudit watch`: find the base policy, seal the plan, take the looks one after
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import ColumnHuman, Config
from restaudit.errors import BadInput, Interrupted
from restaudit.evidence.record import BASE, Run, after_steps, is_run
from restaudit.evidence.steps import Content, Writer
from restaudit.loop.audit import audit, missed
from restaudit.loop.job import NOWHERE, Job
from restaudit.loop.look import before, looked_at
from restaudit.loop.probe_evidence import remember_known
from restaudit.loop.running import may_go_on, prepare_machine, under_plan
from restaudit.loop.sealing import TRAINER, artifacts_of
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
from restaudit.trainers.watch.folder import (
    Kind,
    NotYet,
    WatchedSteps,
    Watcher,
    is_checkpoint,
    is_generations,
)
from restaudit.trainers.watch.generations import paired_rows, prompts_of, scored
from restaudit.trainers.watch.settings import WatchSettings, of_checkpoints, of_generations

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


def watch(
    settings: WatchSettings, run: Path, watcher: Watcher, given: Signer | None = None
) -> None:
    """Audit what a training left, or leaves, in a folder; go on with a run that is begun where it
    stands.

    Raises BadInput before anything is sealed for what cannot be used, Halted where a gate stops the
    run, Waiting where people's ratings are missing, and Interrupted at the end of the step in hand.
    """
    reporter, record, signer = watcher.reporter, None, given
    if is_run(run):
        record, signer = may_go_on(run, reporter, given)
        if record.state == "done":
            reporter.line(f"{run}: this run is done; nothing is left to look at")
            return
    planned = _planned(settings, watcher, record)
    if record is not None:
        check_same(record, planned.config)
    prepare_machine(planned.config)
    with Writer(run, announce=reporter.line, signer=signer) as writer:
        watcher.interrupted = lambda: writer.interrupted
        base = planned.base
        # Sealed with the plan: every look is compared with the base policy.
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
            # The writer says `restaudit resume`, which does not know the watched folder.
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
    # The folder once more: what came during the run is named as not looked at, and not passed over.
    watched = watcher.until(lambda f: f or NotYet("nothing is there"))
    job.end()
    if extra := _not_planned(watched, job.config.loop.looks, base):
        job.reporter.line(f"not looked at, since no look is planned there: {', '.join(extra)}")


def _look(job: Job, base: Base, watcher: Watcher, step: int) -> None:
    name = after_steps(step)
    if looked_at(job, step):
        _stop_where_it_halted(job, base, name)
        return
    path = watcher.until(partial(_of_step, job.config, watcher, step))
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
        job.policy.recorded[path] = str(content["sha256"])
        audit(job, name, policy=name)
        return
    # Read once, for the step's facts and for the audit, and not at all where both are recorded.
    rows = cache(lambda: _rows(job, watcher, path, name))
    content = job.step(f"{name}/train", name, lambda _: _of_file(job, path, step, rows()[1]))
    _same(path, content, digest_of_checkpoint(path), name)
    audit(job, name, policy=name, given=lambda: scored(job, rows()[0]))


def _stop_where_it_halted(job: Job, base: Base, name: str) -> None:
    """A look that was decided and then interrupted before its halt was recorded: the halt is
    recorded now.
    """
    given = None if base.kind == "checkpoints" else _never
    audit(job, name, policy=name, given=given)


def _never() -> pd.DataFrame:
    raise AssertionError("a look that is recorded is not taken again")


def _of_step(
    config: Config, watcher: Watcher, step: int, watched: WatchedSteps | None
) -> Path | NotYet | None:
    """Where the step's file is, None where it is missed, or why it is not there yet."""
    folder, looks = watcher.settings.folder, config.loop.looks
    if watched is None:
        return NotYet(f"{folder}: nothing of step {step} yet, after which a look is planned")
    if (path := watched.steps.get(step)) is not None:
        lack = watcher.lacks(watched, path)
        if lack is None and watched.kind == "checkpoints":
            check_folder(path, str(path))
        return lack or path
    # A later step that is there tells a missing one from one that is still to come.
    later = next((s for s in looks if s > step and s in watched.steps), None)
    if later is None:
        return NotYet(f"{folder}: nothing of step {step} yet, after which a look is planned")
    if not watcher.settings.skip_missing:
        return NotYet(
            f"{folder}: nothing of step {step}, after which a look is planned, but "
            f"{watched.steps[later].name} of step {later} is there; bring it, or say "
            "--skip-missing: the look is then recorded as missed, and decides nothing"
        )
    return watcher.lacks(watched, watched.steps[later])


# --- before anything is sealed


def _planned(settings: WatchSettings, watcher: Watcher, record: Run | None) -> Planned:
    """The plan of a new run, or the same one again for a run that is begun."""
    raw, where = settings.raw()
    # The looks were sealed; files that came since must not add any.
    if record is not None and not settings.looks:
        settings = replace(settings, looks=tuple(record.plan["config"]["loop"]["looks"]))
    sealed = None if record is None else Path(record.plan["artifacts"]["policy.model"]["spec"])
    base = watcher.until(lambda watched: _base(settings, watcher, watched, sealed))
    looks = (
        settings.looks
        or _looks(raw)
        or watcher.until(lambda watched: _found_looks(settings, watched, base))
    )
    if base.step is not None and looks[0] <= base.step:
        raise BadInput(
            f"{settings.folder}: a look is planned after step {looks[0]}, but the base policy is "
            f"{base.path.name} (step {base.step}: {base.why}); give the policy that training "
            "began from with --base, or plan later looks"
        )
    raw = {**raw, "description": _described(raw, base, record)}
    notes: list[str] = []
    prompts: Prompts | None = None
    if base.kind == "checkpoints":
        config = of_checkpoints(settings, raw, where, looks)
    else:
        generations = watcher.generations(base.path)
        config, notes = of_generations(
            settings, raw, where, looks, base=generations, path=base.path
        )
        config = _partly_judged(config, generations.table)
        if record is None:
            prompts = prompts_of(generations, config)
    if config.human.kind == "people" and settings.skip_missing:
        raise BadInput(
            "--skip-missing: where people rate each look, one that never came cannot be passed over"
        )
    # With --follow what is still to come cannot be looked at before the plan is sealed.
    if not settings.follow:
        _check_all(config, watcher, record)
    _mapped(settings, watcher, base)
    for note in notes:
        watcher.reporter.line(note)
    watcher.reporter.line(f"base policy: {base.path} ({base.why})")
    return Planned(base, config, prompts, tuple(notes))


def _base(
    settings: WatchSettings, watcher: Watcher, watched: WatchedSteps | None, sealed: Path | None
) -> Base | NotYet:
    """The base policy: --base, that of a run that is begun, step 0, an adapter's own model, or the
    smallest step.
    """
    if watched is None:
        return NotYet(
            f"{settings.folder}: no file of generations and no checkpoint with a number in its name; "
            "expected, for example, step_50.jsonl or checkpoint-50/"
        )
    given = settings.base or sealed
    if given is not None:
        fits = is_generations(given)
        if watched.kind == "checkpoints":
            fits = is_checkpoint(given) or given.is_file()
        if not fits:
            raise BadInput(
                f"--base {given}: expected {_expected(watched.kind)}, as what is in {settings.folder}"
            )
        # It may be one of the folder's own steps, which is then no look.
        step = next((s for s, p in watched.steps.items() if p.resolve() == given.resolve()), None)
        base = Base(
            watched.kind, given, step, "given with --base" if settings.base else "as sealed"
        )
    # In order of how sure it is that training began from there.
    elif 0 in watched.steps:
        base = Base(watched.kind, watched.steps[0], 0, "step 0")
    elif watched.kind == "checkpoints" and (adapter := _adapter(watched)) is not None:
        path = base_of_adapter(adapter)
        base = Base(watched.kind, path, None, "the model that the adapters were trained on")
    else:
        first = min(watched.steps)
        if settings.looks and first >= settings.looks[0]:
            return NotYet(
                f"{settings.folder}: nothing before step {settings.looks[0]} to compare with; give the "
                "policy that training began from with --base"
            )
        base = Base(
            watched.kind,
            watched.steps[first],
            first,
            "the smallest step there is; what was learned before it is not seen",
        )
    if not base.path.exists():
        raise BadInput(f"{base.path}: no such file or folder; the base policy was expected there")
    return watcher.lacks(watched, base.path) or base


def _described(raw: Mapping[str, Any], base: Base, record: Run | None) -> str:
    """What the run is called on every page: whatever the configuration says, and what the base
    policy is, and why.
    """
    if record is not None:
        return str(record.plan["config"]["description"])
    own = str(raw.get("description") or "").strip()
    return f"{own} Watched from outside; the base policy is {base.path.name} ({base.why}).".strip()


def _adapter(watched: WatchedSteps) -> Path | None:
    return next((p for p in watched.steps.values() if (p / ADAPTER_CONFIG).is_file()), None)


def _expected(kind: Kind) -> str:
    return "a file of generations" if kind == "generations" else "a checkpoint's folder"


def _looks(raw: Mapping[str, Any]) -> tuple[int, ...]:
    """The looks that the configuration itself plans."""
    loop = raw.get("loop")
    return tuple(loop.get("looks") or ()) if isinstance(loop, dict) else ()


def _found_looks(
    settings: WatchSettings, watched: WatchedSteps | None, base: Base
) -> tuple[int, ...] | NotYet:
    """The steps that are there, after the base policy."""
    if settings.follow:
        raise BadInput(
            "--follow needs the planned looks, which are sealed before the first one is taken: "
            "--steps 50,100,150, or --every 50 --until 1000"
        )
    steps = watched.steps if watched else ()
    later_steps = tuple(step for step in steps if step > (base.step or 0))
    return later_steps or NotYet(
        f"{settings.folder}: nothing but the base policy, {base.path.name}, is there to look at"
    )


def _check_all(config: Config, watcher: Watcher, record: Run | None) -> None:
    """Raise BadInput for what is not whole or not there, before anything is sealed."""
    done = frozenset() if record is None else record.done
    for step in config.loop.looks:
        if f"{after_steps(step)}/audit" not in done:
            watcher.until(partial(_of_step, config, watcher, step))


def _mapped(settings: WatchSettings, watcher: Watcher, base: Base) -> None:
    """Raise BadInput for a --column that no file which was read has; where later ones are still to
    come, say so.
    """
    for name, own in settings.columns.items():
        if own in watcher.columns:
            continue
        if not settings.follow:
            raise BadInput(
                f"{settings.folder}: no file has a column '{own}', which --column {name}={own} names"
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
    # Had only some been rated because they stood out, a mean over them would mislead.
    return config.model_copy(update={"human": human.model_copy(update={"sampling": "unknown"})})


# --- what the ledger notes


def _about(job: Job, planned: Planned, watcher: Watcher) -> Content:
    """What is watched."""
    base = planned.base
    watched = watcher.until(
        lambda f: f or NotYet(f"{watcher.settings.folder}: nothing is there any more")
    )
    facts: dict[str, Any] = {
        "watched": watcher.settings.folder.resolve().name,
        "kind": base.kind,
        "base": {"name": base.path.name, "step": base.step, "why": base.why, **_digests(base.path)},
        "notes": list(planned.notes),
        "not_looked_at": [
            *_not_planned(watched, job.config.loop.looks, base),
            *(f"{name}: {why}" for name, why in sorted(watched.others.items())),
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
    keyed = str(job.writer.content(TRAINER)["keyed"])
    paired = paired_rows(job, watcher.generations(path), iteration, keyed)
    return paired.rows, paired.facts


def _of_file(job: Job, path: Path, step: int, facts: Content) -> Content:
    return {"start": before(job, step), "step": step, "file": path.name, **_digests(path), **facts}


def _of_checkpoint(job: Job, watcher: Watcher, path: Path, step: int) -> Content:
    folder = watcher.settings.folder
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
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


def _not_planned(watched: WatchedSteps, looks: tuple[int, ...], base: Base) -> list[str]:
    """Names of what has a step and no look."""
    names = []
    for step, path in watched.steps.items():
        if step not in looks and path != base.path:
            names.append(path.name)
    return names
