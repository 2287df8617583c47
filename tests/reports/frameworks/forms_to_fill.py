"""Forms of both kinds for the tests: what each is about, and one that is filled as a test wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.frameworks.declared import Declarations, keep, stored
from reports.frameworks.forms import FormSubject, run_subject
from reports.frameworks.reward_records import reward_subject
from tests.reports.frameworks.runs import records
from tests.reports.make_run import make_run
from tests.reports.reward.reward_folder import DIGEST, folder


@dataclass(frozen=True)
class Filling:
    """A form about something in `subject`; `free` is a question that takes any text, `list_key`
    one more, and `recorded` one that only the record answers.
    """

    subject: FormSubject
    free: str
    other: str
    recorded: str
    at: Path

    def form(self, answers: Any = None, **top: Any) -> Path:
        """A filled form, with some keys changed; a key that is None is left out."""
        whole = {
            "schema": self.subject.form.schema,
            **self.subject.bound,
            "declared_by": "Ada Moreau",
            "date": "2026-03-02",
            "answers": {} if answers is None else answers,
            **top,
        }
        given = {key: value for key, value in whole.items() if value is not None}
        return self.text(yaml.safe_dump(given, allow_unicode=True))

    def text(self, text: str) -> Path:
        """A form with just this text."""
        path = self.at / "form.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def keep(self, answers: Mapping[str, Any] | None = None, **top: Any) -> Declarations:
        """Check and keep a filled form."""
        return keep(self.subject, self.form(answers, **top))

    def stored(self) -> Declarations | None:
        """What is kept."""
        return stored(self.subject)


def of_run(at: Path) -> Filling:
    """A form about a run."""
    subject = run_subject(records(make_run(at / "run")))
    return Filling(subject, "system.purpose", "data.language", "system.lineage", at)


def of_reward(at: Path) -> Filling:
    """A form about a reward model."""
    subject = reward_subject(folder(at / "rm"), DIGEST)
    return Filling(subject, "raters.pool", "data.dates", "stress.tests", at)


KINDS: Mapping[str, Callable[[Path], Filling]] = {"run": of_run, "reward": of_reward}
