"""Documents of runs in every state: nothing blank, gaps first, nothing promised, hostile text kept
and never run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from reports.document.model import MEANINGS, Document, Facts, Paragraph, Table
from reports.frameworks.build import framework_document
from reports.frameworks.declared import Declarations
from reports.frameworks.forms import RUN_FILE, run_subject
from reports.frameworks.schema import framework, frameworks
from restaudit.errors import BadInput, RestauditError, VerificationFailed
from tests.reports.frameworks.runs import STATES, edited, records, texts
from tests.reports.make_run import HOSTILE, make_run

FORBIDDEN = re.compile(
    r"(?i)\b(compliant|unbiased|safe|guaranteed?|certified)\b|conformity (is )?granted"
)
NAMES = sorted(frameworks())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {state: make_run(folder / state, state) for state in STATES}  # type: ignore[arg-type]


Drawn = Callable[[str, str], Document]


@pytest.fixture(scope="module")
def drawn(runs: dict[str, Path]) -> Drawn:
    """The document of a framework about a run in a state, made once."""
    return cache(lambda state, name: framework_document(records(runs[state]), name, None))


def declared(run: Path, **answers: str) -> Declarations:
    given = {k.replace("__", "."): v for k, v in answers.items()}
    return Declarations(
        "Ada Moreau",
        "2026-03-02",
        run_subject(records(run)).bound,
        given,
        role="compliance officer",
        file=RUN_FILE,
        sha256="ab" * 32,
    )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_status_and_a_value_and_nothing_is_blank(
    drawn: Drawn, state: str, name: str
) -> None:
    document = drawn(state, name)
    facts = [
        f for s in document.sections[2:] for b in s.blocks if isinstance(b, Facts) for f in b.rows
    ]
    assert len(facts) >= len(framework(name).keys)
    for fact in facts:
        assert fact.status in MEANINGS
        assert fact.value.strip()
        assert "not shaped as this version" not in fact.value
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                assert all(c.strip() for r in block.rows for c in r.cells), block.caption
                assert all(len(r.cells) == len(block.columns) for r in block.rows)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_gaps_come_first_and_the_count_is_no_verdict(drawn: Drawn, state: str, name: str) -> None:
    document = drawn(state, name)
    assert document.kind == name
    assert [s.key for s in document.sections[:2]] == ["gaps", "about"]
    assert [s.key for s in document.sections[2:]] == [p.key for p in framework(name).parts]
    assert re.search(
        r"Documentation coverage: \d+ of \d+ answered, not conformity", document.banner[-1]
    )
    assert "no verdict of conformity" in document.banner[-2]
    said = "\n".join(texts(document))
    assert FORBIDDEN.findall(said) == []


@pytest.mark.parametrize("name", NAMES)
def test_missing_fields_are_the_gaps_and_the_count_adds_up(drawn: Drawn, name: str) -> None:
    document = drawn("healthy", name)
    facts = [
        f for s in document.sections[2:] for b in s.blocks if isinstance(b, Facts) for f in b.rows
    ]
    missing = {f.label for f in facts if f.status == "MISSING"}
    gaps = document.sections[0].blocks[0]
    assert isinstance(gaps, Table)
    assert {r.cells[1] for r in gaps.rows} == missing
    labels = {f.label: f.status for f in facts}
    answered = sum(s not in ("MISSING", "N-A") for s in labels.values())
    assert f"{answered} of {len(labels)} answered" in document.banner[-1]


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_of_the_record_cites_a_recorded_file(
    drawn: Drawn, runs: dict[str, Path], name: str
) -> None:
    of = records(runs["healthy"])
    document = drawn("healthy", name)
    for section in document.sections[2:]:
        for block in section.blocks:
            for fact in block.rows if isinstance(block, Facts) else ():
                if fact.status in ("MEASURED", "RECORDED", "COMPUTED"):
                    assert fact.sources, fact.label
    for path, sha256 in document.sources():
        assert sha256 == (of.head if path == "ledger.jsonl" else of.digests[path].sha256)


def test_a_table_stands_once_and_is_referred_to_afterwards(drawn: Drawn) -> None:
    document = drawn("healthy", "eu-annex-iv")
    captions = [b.caption for s in document.sections for b in s.blocks if isinstance(b, Table)]
    assert len(captions) == len(set(captions))
    assert "(table under 2(e))" in "\n".join(texts(document))


def test_an_override_and_simulated_scores_stand_before_everything(drawn: Drawn) -> None:
    document = drawn("overridden", "eu-annex-iv")
    assert document.banner[0].startswith("OVERRIDE at g01/i02: <script>")
    assert any("not finished" in line for line in document.banner)
    assert any("LEXICON" in line and "not people's judgement" in line for line in document.banner)
    halted = drawn("halted", "eu-annex-iv")
    assert (
        halted.banner[0]
        == "HALTED at g01/i02: the sealed policy stopped this run (harm, collapse)."
    )
    nulls = drawn("nulls", "eu-annex-iv")
    assert any(line.startswith("No human score") for line in nulls.banner)


def test_hostile_text_is_kept_raw_and_never_evaluated(tmp_path: Path) -> None:
    name = HOSTILE[1] + " {0} {records.run.path} %s ${HOME} {{7*7}}"
    run = make_run(tmp_path / "run", name=name)
    said = {
        "system__purpose": HOSTILE[0] + " {0} {{7*7}}\nN-A: no",
        "system__provider": "N-A: " + HOSTILE[2],
    }
    document = framework_document(records(run), "eu-annex-iv", declared(run, **said))
    assert name in document.subtitle
    facts = {
        f.label: f
        for s in document.sections[2:]
        for b in s.blocks
        if isinstance(b, Facts)
        for f in b.rows
    }
    purpose = facts["What is the system meant for, and for whom?"]
    assert (purpose.status, purpose.value) == ("DECLARED", said["system__purpose"])
    provider = facts["Who is the provider, and how are they reached?"]
    assert provider.status == "N-A"
    assert provider.value == f"{HOSTILE[2]} (declared by Ada Moreau, 2026-03-02)"
    assert document.heads == ((name, records(run).head),)


def test_a_declaration_stands_beside_the_record_and_never_in_its_place(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    said = declared(run, data__cleaning="We read every row ourselves.")
    document = framework_document(records(run), "ca-ab-2013", said)
    rows = [
        f
        for s in document.sections[2:]
        for b in s.blocks
        if isinstance(b, Facts)
        for f in b.rows
        if f.label == "How was it cleaned, and what was left out?"
    ]
    assert [f.status for f in rows] == ["RECORDED", "DECLARED"]
    assert rows[1].value == "Ada Moreau adds, unverified: We read every row ourselves."
    paragraphs = [b.text for s in document.sections for b in s.blocks if isinstance(b, Paragraph)]
    assert any("ab" * 32 in p and "Nobody verified them" in p for p in paragraphs)
    before = framework_document(records(run), "ca-ab-2013", None).banner[-1]
    assert document.banner[-1] == before


def test_the_same_record_gives_the_same_document_wherever_it_lies(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "a" / "run"), make_run(tmp_path / "b" / "else")
    for name in NAMES:
        assert framework_document(records(one), name, None) == framework_document(
            records(two), name, None
        )


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run / "g02/i02/measurements.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(VerificationFailed, match=r"g02/i02/measurements\.json"):
        framework_document(records(run), "eu-annex-iv", None)


def test_a_record_of_another_shape_is_missing_with_the_reason_and_no_crash(tmp_path: Path) -> None:
    run = edited(
        make_run(tmp_path / "run"),
        "data/report.json",
        lambda raw: raw.update(rows=3, splits={"exact": 7}),
    )
    document = framework_document(records(run), "eu-annex-iv", None)
    facts = {
        f.label: f
        for s in document.sections[2:]
        for b in s.blocks
        if isinstance(b, Facts)
        for f in b.rows
    }
    split = facts["How is the data split, and do the parts overlap?"]
    assert split.status == "MISSING"
    assert "data/report.json: rows: " in split.value


@pytest.mark.parametrize("value", [7, [], {"a": None}])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("plan.json", "artifacts"),
        ("plan.json", "looks"),
        ("plan.json", "probes"),
        ("data/report.json", "rows"),
        ("reward_model/dossier.json", "raters"),
        ("environment.json", "packages"),
        ("g01/i02/measurements.json", "human"),
    ],
)
def test_a_strangers_record_gives_a_document_or_a_message(
    tmp_path: Path, name: str, key: str, value: object
) -> None:
    run = edited(make_run(tmp_path / "run", "halted"), name, lambda raw: raw.update({key: value}))
    with contextlib.suppress(RestauditError):
        document = framework_document(records(run), "nist-ai-600-1", None)
        assert "no verdict of conformity" in document.banner[-2]


def test_a_plan_without_a_configuration_is_refused(tmp_path: Path) -> None:
    run = edited(make_run(tmp_path / "run"), "plan.json", lambda raw: raw.update(config=None))
    with pytest.raises(BadInput, match=r"plan\.json: .*config"):
        framework_document(records(run), "eu-annex-iv", None)


def test_a_run_without_a_sealed_plan_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "ledger.jsonl").write_text("")
    with pytest.raises(BadInput, match="not sealed yet"):
        framework_document(records(run), "eu-annex-iv", None)


def test_nothing_missing_says_that_it_says_little(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    everything = dict.fromkeys(framework("ca-ab-2013").keys, "Said.")
    of = Declarations("Ada", "2026-03-02", {}, everything, file=RUN_FILE)
    gaps = framework_document(records(run), "ca-ab-2013", of).sections[0].blocks
    assert isinstance(gaps[0], Paragraph)
    assert "says nothing about what stands in them" in gaps[0].text
