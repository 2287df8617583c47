"""What `restaudit watch` is asked to do, and the configuration that is sealed for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import Config
from restaudit.config.loop import with_method
from restaudit.config.reading import changed, parse, read
from restaudit.errors import BadInput
from restaudit.evidence.ledger import digest_file
from restaudit.trainers.watch.generations import FORMAT, check_readable

if TYPE_CHECKING:
    from restaudit.data.generations import Generations

MODEL = "watch:"
# What needs a model to ask, and is left out where only generations are watched.
NEED_A_MODEL = ("benchmarks", "human_text")


@dataclass(frozen=True)
class WatchSettings:
    """The command's own arguments. `looks` () means those that are found at the start."""

    folder: Path
    config: str | None = None
    changes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    base: Path | None = None
    looks: tuple[int, ...] = ()
    follow: bool = False
    idle_timeout: float | None = None
    pattern: str | None = None
    human_label: str | None = None
    skip_missing: bool = False

    def raw(self) -> tuple[dict[str, Any], str]:
        """The configuration as given, not validated, and what messages call it; without --config
        the defaults'.
        """
        if self.config is not None:
            return read(self.config, self.changes)
        plain = {"name": slug(f"watch-{self.folder.resolve().name}")}
        return changed(plain, self.changes), "the defaults of watch"


def looks_of(steps: str | None, every: int | None, until: int | None) -> tuple[int, ...]:
    """The planned looks that the options say, () where they say none.

    Raises BadInput for options that do not fit.
    """
    if steps is not None and (every is not None or until is not None):
        raise BadInput(
            "--steps says the looks one by one, --every and --until by a rule; give one of the two"
        )
    if (every is None) != (until is None):
        raise BadInput(
            "--every N needs --until M, the last step of the training, and the other way round"
        )
    # The last step is sealed too: how many looks there are decides how wide each interval is.
    if every is not None and until is not None:
        looks = tuple(range(every, until + 1, every))
        if not looks:
            raise BadInput(f"--every {every} --until {until}: no step is planned")
        return looks
    if steps is None:
        return ()
    try:
        numbers = [int(s) for s in steps.split(",") if s.strip()]
    except ValueError:
        numbers = []
    if not numbers or numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise BadInput(
            f"--steps {steps}: expected rising numbers from 1 on, for example --steps 50,100,150"
        )
    return tuple(numbers)


def of_generations(
    settings: WatchSettings,
    raw: Mapping[str, Any],
    where: str,
    looks: Iterable[int],
    *,
    base: Generations,
    path: Path,
) -> tuple[Config, list[str]]:
    """The configuration for files of generations, and what to say about it.

    The prompts are those of the base policy's file; scores are the files' columns where no other
    are asked for.
    """
    notes = []
    source = {
        "source": str(path),
        "format": FORMAT,
        "sha256": digest_file(path).sha256,
        "use": ["audit"],
        "columns": dict(settings.columns),
    }
    data: dict[str, Any] = {"prompts": [source]}
    configured = raw.get("data")
    if isinstance(configured, dict):
        if configured.get("prompts"):
            notes.append(
                f"the prompts are those of {path}; the configuration's data.prompts are not used"
            )
        if "rows" in configured:
            data["rows"] = configured["rows"]
    audit = dict(raw.get("audit") or {})
    for name in NEED_A_MODEL:
        # Left out and said, since a recipe that serves for checkpoints should serve here.
        if audit.pop(name, None):
            notes.append(
                f"audit.{name} is left out: it needs the model, and only its generations are "
                "watched"
            )
    reward = raw.get("reward") or {"kind": "column"}
    if isinstance(reward, dict) and reward.get("kind") == "column":
        # A column holds no reward that could be asked about changed texts.
        audit.pop("reward_stress", None)
    full = {
        **raw,
        "data": data,
        "audit": audit,
        "reward": reward,
        "human": raw.get("human") or _human(base),
    }
    config = parse(_watched(settings, full, looks), where)
    config = _labelled(settings, config)
    check_readable(config, base)
    return config, notes


def of_checkpoints(
    settings: WatchSettings, raw: Mapping[str, Any], where: str, looks: Iterable[int]
) -> Config:
    """The configuration for checkpoints: prompts, reward, human score, sampling, audit and gates
    are as given.
    """
    if settings.config is None:
        raise BadInput(
            f"{settings.folder} holds checkpoints: say with --config NAME|FILE which prompts they "
            "are asked, and what scores the answers (restaudit init --list)"
        )
    if settings.columns or settings.human_label:
        raise BadInput(
            "--column and --human-label say what files of generations hold; these are checkpoints"
        )
    config = parse(_watched(settings, raw, looks), where)
    for key in ("reward", "human"):
        if getattr(config, key).kind == "column":
            raise BadInput(
                f"{where}: {key}.kind column: checkpoints have no columns; give a {key} that "
                "scores texts"
            )
    return config


def slug(text: str) -> str:
    """The text as a name that a run may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "watched"


def _watched(
    settings: WatchSettings, raw: Mapping[str, Any], looks: Iterable[int]
) -> dict[str, Any]:
    policy = dict(raw.get("policy") or {})
    policy |= {
        "model": f"{MODEL}{settings.folder.resolve().name}",
        "sha256": None,
        "training": "full",
    }
    # What the recipe says of its own training does not hold for somebody else's.
    out = with_method({**raw, "policy": policy}, "outside")
    reward = out.get("reward")
    if isinstance(reward, dict) and reward.get("refit"):
        raise BadInput(
            "reward.refit fits the reward again between Grow steps, and a watched training has none"
        )
    out["loop"] = {**out["loop"], "looks": list(looks)}
    return out


def _human(base: Generations) -> dict[str, Any]:
    return {"kind": "column"} if "human" in base.table.columns else {"kind": "none"}


def _labelled(settings: WatchSettings, config: Config) -> Config:
    """The same with what the user says the human column is; how its rows were chosen is not taken
    for granted.
    """
    from restaudit.config import ColumnHuman

    if not isinstance(config.human, ColumnHuman):
        if settings.human_label is not None:
            raise BadInput(
                "--human-label says what the files' column human is, and the human score is of "
                f"kind '{config.human.kind}' (no file column is read)"
            )
        return config
    changes = {"label": settings.human_label} if settings.human_label else {}
    return config.model_copy(
        update={"human": ColumnHuman(**{**config.human.model_dump(), **changes})}
    )
