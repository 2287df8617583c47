"""Documents of a run that the real program made on a tiny model: what a run can answer, it does
answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.frameworks.answers import run_answer
from reports.frameworks.build import framework_document
from reports.frameworks.schema import frameworks, run_questions
from reports.record.files import Records
from restaudit.config.reading import parse
from restaudit.console import Reporter
from restaudit.loop.running import start
from tests.loop.conftest import make_job_folder, tiny_raw
from tests.reports.frameworks.runs import records, texts

# What this run did not do: a reward that was trained and validated, benchmarks, a calibration, a
# meter; and its configuration has no description.
LACKS = {
    "reward.data",
    "reward.raters",
    "reward.validation",
    "measured.abilities",
    "measured.alarms",
    "measured.toxicity",
    "compute.energy",
    "raters.instructions",
    "system.description",
}


@pytest.fixture(scope="module")
def run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    folder = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        make_job_folder(folder, patch)
        start(parse(tiny_raw(tiny_policy)), folder / "run", Reporter(quiet=True))
        yield records(folder / "run")


def test_every_reading_answers_but_those_that_have_nothing_to_read(run: Records) -> None:
    found = [
        run_answer(q, run, None)
        for q in run_questions().questions.values()
        if q.reading is not None
    ]
    missing = {a.question.key: a.value for a in found if a.status == "MISSING"}
    assert set(missing) <= LACKS, missing
    assert {a.status for a in found} == {"MEASURED", "RECORDED", "COMPUTED", "MISSING", "N-A"}


def test_every_document_says_that_a_program_stands_in_for_people(run: Records) -> None:
    for name in frameworks():
        document = framework_document(run, name, None)
        assert any(
            "SIMULATED" in line and "not people's judgement" in line for line in document.banner
        )
        assert not any("not shaped as this version" in text for text in texts(document))
