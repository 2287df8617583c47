"""The report of a run: every section, every state of a run, the same bytes, and what it says
first.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.commands import after_run
from reports.document.model import Chart, Document, Paragraph, Table, cited
from reports.document.render import FORMATS, formats, render
from reports.rendering import code_digest, rerender, write_report
from reports.run_report.build import run_report
from restaudit.errors import BadInput, VerificationFailed
from restaudit.evidence.record import Run
from restaudit.evidence.verify import verify
from tests.reports.make_run import State, make_run, resealed

KEYS = [
    "verdict",
    "scores",
    "bias",
    "diversity",
    "capability",
    "reward-model",
    "data",
    "lineage",
    "compute",
    "methods",
    "integrity",
    "measured",
]
STATES: tuple[State, ...] = ("healthy", "halted", "overridden", "base_only", "half", "nulls", "old")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {state: make_run(root / state, state) for state in STATES}


@pytest.mark.parametrize("state", STATES)
def test_a_run_in_any_state_has_every_section(runs: dict[str, Path], state: str) -> None:
    document = run_report(Run(runs[state]))
    assert [s.key for s in document.sections] == KEYS
    assert all(s.blocks for s in document.sections)


@pytest.mark.parametrize("state", STATES)
def test_every_figure_of_a_table_names_a_record_that_the_ledger_has(
    runs: dict[str, Path], state: str
) -> None:
    run = Run(runs[state])
    known = {
        name: d.sha256 for e in run.events for name, d in (*e.outputs.items(), *e.context.items())
    }
    known["ledger.jsonl"] = run.events[-1].hash
    document = run_report(run)
    for path, sha256 in document.sources():
        assert known[path] == sha256
    for section in document.sections[1:5]:
        for block in section.blocks:
            if isinstance(block, Table):
                assert all(row.sources for row in block.rows), f"{section.key}: {block.caption}"


def test_another_process_with_another_hash_seed_and_zone_writes_the_same_bytes(
    runs: dict[str, Path],
) -> None:
    script = (
        "import sys, json, hashlib; from reports.document.render import FORMATS, render; from "
        "restaudit.evidence.record import Run;"
        "from reports.run_report.build import run_report; d = run_report(Run(sys.argv[1]));"
        "print(json.dumps({f: hashlib.sha256(render(d, f)).hexdigest() for f in FORMATS}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(runs["overridden"])],
        env={
            "PYTHONHASHSEED": "1",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
            "TZ": "Asia/Tokyo",
            "HOME": "/tmp",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    document = run_report(Run(runs["overridden"]))
    here = {f: hashlib.sha256(render(document, f)).hexdigest() for f in FORMATS}
    assert json.loads(done.stdout) == here


def test_a_copy_elsewhere_gives_the_same_report(runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs["healthy"], tmp_path / "another name")
    assert run_report(Run(tmp_path / "another name")) == run_report(Run(runs["healthy"]))


def test_an_override_stands_first_with_name_and_reason(runs: dict[str, Path]) -> None:
    document = run_report(Run(runs["overridden"]))
    assert document.banner[0].startswith("OVERRIDE at G1·I2")
    assert "harm, collapse said HALT" in document.banner[0]
    page = render(document, "html").decode()
    assert page.index("OVERRIDE at") < page.index("<h2")


def test_a_human_score_that_no_person_gave_is_called_so_before_everything_else(
    runs: dict[str, Path],
) -> None:
    page = render(run_report(Run(runs["healthy"])), "html").decode()
    assert 0 < page.index("No person rated a text") < page.index("<nav")


def test_page_one_has_the_verdict_and_what_a_reviewer_should_know(runs: dict[str, Path]) -> None:
    """Before the table of contents, in every state of a run, whatever plan was sealed."""
    words = {"healthy": "WARNED", "halted": "STOPPED", "nulls": "UNDECIDED", "old": "WARNED"}
    for state, word in words.items():
        document = run_report(Run(runs[state]))
        verdict = document.front[0]
        assert isinstance(verdict, Paragraph)
        assert (verdict.kind, verdict.text.partition(":")[0]) == ("verdict", word)
        page = render(document, "html").decode()
        assert page.index(f">{word}:</strong>") < page.index("<nav")
        kinds = [type(block).__name__ for block in document.front]
        assert kinds[-1] == "Paragraph"
        assert kinds.count("Chart") == 1
        assert kinds.count("Passages") == 1


def test_the_gates_of_an_old_run_show_as_they_were_sealed(runs: dict[str, Path]) -> None:
    old = render(run_report(Run(runs["old"])), "md").decode()
    new = render(run_report(Run(runs["healthy"])), "md").decode()
    assert "INCONCLUSIVE" in old
    assert "| MDE |" in old
    assert "| finds |" in new
    assert "INCONCLUSIVE**" not in new


def test_what_was_not_measured_is_listed_with_its_reason(runs: dict[str, Path]) -> None:
    text = render(run_report(Run(runs["nulls"])), "md").decode()
    assert "Not measured, and why" in text
    assert "no human score" in text.lower()


def test_a_half_done_run_says_what_is_not_there(runs: dict[str, Path]) -> None:
    text = render(run_report(Run(runs["half"])), "md").decode()
    assert "not finished: 4 of" in text
    assert "No iteration was audited yet" in text


def test_a_record_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run / "g01/i02/measurements.json"
    path.write_text(path.read_text().replace("0.41", "0.91", 1))
    with pytest.raises(
        VerificationFailed, match=r"g01/i02/measurements\.json: changed after it was recorded"
    ):
        run_report(Run(run))


def test_a_kept_set_that_the_sealed_rule_did_not_choose_is_refused(tmp_path: Path) -> None:
    """The file agrees with the ledger, but not with the sealed thresholds: only a rebuilt record
    can have that.
    """
    from reports.record import lineage
    from reports.record.files import Records

    run = make_run(tmp_path / "run")
    records = Records(Run(run))
    policy = lineage.policies(records)[1]
    import pandas as pd

    table = pd.read_parquet(run / policy.name / "kept.parquet").iloc[1:]
    table.to_parquet(run / policy.name / "kept.parquet", index=False)
    resealed(run)
    with pytest.raises(
        BadInput, match="1 rows differ from those that the sealed thresholds choose"
    ):
        run_report(Run(run))


def test_the_report_on_disk_renders_again_to_the_same_digest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    written = write_report(Run(run), ("html", "json"))
    assert [p.name for p in written] == ["report.html", "report.json"]
    manifest = json.loads((run / "report/manifest.json").read_text())
    found = rerender(run, list(manifest["files"]))
    assert found == {n: f["sha256"] for n, f in manifest["files"].items()}
    assert found["report.html"] == hashlib.sha256(written[0].read_bytes()).hexdigest()
    write_report(Run(run), ("md",))
    assert set(json.loads((run / "report/manifest.json").read_text())["files"]) == {
        "report.html",
        "report.json",
        "report.md",
    }
    assert verify(run).finished


def test_another_version_of_a_library_does_not_accuse_anybody(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_report(Run(run), ("html", "md"))
    path = run / "report/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["renderer"]["matplotlib"] = "0.1"
    path.write_text(json.dumps(manifest))
    assert set(rerender(run, list(manifest["files"]))) == {"report.md"}


def test_other_code_of_the_same_version_does_not_accuse_anybody(tmp_path: Path) -> None:
    """A development checkout keeps its version number while the page changes."""
    run = make_run(tmp_path / "run")
    write_report(Run(run), ("html",))
    path = run / "report/manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["renderer"]["code"] == code_digest()
    page = run / "report/report.html"
    page.write_bytes(page.read_bytes().replace(b"Verdict", b"Outcome"))
    changed = {
        "sha256": hashlib.sha256(page.read_bytes()).hexdigest(),
        "bytes": page.stat().st_size,
    }
    manifest["files"]["report.html"] = changed
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        VerificationFailed, match=r"report/report\.html: does not follow from the record"
    ):
        verify(run)
    manifest["renderer"]["code"] = "0" * 64
    path.write_text(json.dumps(manifest))
    checked = verify(run)
    assert "versions at hand are not those that rendered it" in str(checked.rendering)
    assert "report/report.html" in {u.name for u in checked.unchecked}


def test_the_chart_that_a_run_leaves_is_drawn_again_and_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    after_run(run)
    drawn = {"report/manifest.json", "report/reward_human.png", "report/reward_human.svg"}
    assert {p.relative_to(run).as_posix() for p in (run / "report").iterdir()} == drawn
    assert verify(run).unchecked == ()
    # A report beside it leaves it vouched for.
    write_report(Run(run), ("md",))
    assert verify(run).unchecked == ()
    # And a forged one is found, also where its manifest was made to fit.
    picture, path = run / "report/reward_human.svg", run / "report/manifest.json"
    picture.write_bytes(picture.read_bytes().replace(b"</svg>", b"<!-- --></svg>"))
    manifest = json.loads(path.read_text())
    manifest["files"]["reward_human.svg"] = {
        "sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
        "bytes": picture.stat().st_size,
    }
    path.write_text(json.dumps(manifest))
    with pytest.raises(VerificationFailed, match=r"reward_human\.svg: does not follow"):
        verify(run)


def test_formats_are_words_of_a_list() -> None:
    assert formats("html, pdf,html") == ("html", "pdf")
    with pytest.raises(
        BadInput, match="--format doc: expected one or more of html, md, json, pdf, docx"
    ):
        formats("html,doc")
    with pytest.raises(BadInput, match="expected one or more"):
        formats(" ,")


class Page(HTMLParser):
    """Tags, attributes and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_has_no_script_fetches_nothing_and_its_links_lead_somewhere(
    runs: dict[str, Path],
) -> None:
    page = Page(render(run_report(Run(runs["healthy"])), "html").decode())
    tags = {t for t, _ in page.tags}
    assert not tags & {"script", "iframe", "img", "object", "embed", "link", "form", "base"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not any(name.startswith("on") or name == "style" for _, a in page.tags for name in a)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    links = {a["href"] for t, a in page.tags if t == "a" and a.get("href")}
    assert all(link is not None and link.startswith("#") and link[1:] in ids for link in links)
    assert len(ids) == len(set(ids))


def test_every_picture_has_words_and_a_table(runs: dict[str, Path]) -> None:
    document = run_report(Run(runs["healthy"]))
    page = Page(render(document, "html").decode())
    charts = [b for s in document.sections for b in s.blocks if type(b).__name__ == "Chart"]
    # That of page one is a section's again, whose table stands there.
    front = [b for b in document.front if isinstance(b, Chart)]
    assert [b.lines[0].points for b in front] == [charts[0].lines[0].points]
    charts += front
    labels = [a.get("aria-label") for t, a in page.tags if t == "svg"]
    assert len(labels) == len(charts) >= 2
    assert all(label and len(label) > 40 for label in labels)
    assert all(any(cited(c)) and c.table.rows for c in charts if isinstance(c, type(charts[0])))


def test_documents_are_values(runs: dict[str, Path]) -> None:
    document = run_report(Run(runs["healthy"]))
    assert isinstance(document, Document)
    assert document == run_report(Run(runs["healthy"]))
