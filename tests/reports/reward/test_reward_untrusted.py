"""Texts of a model, names in data and what people declare cannot do anything in any format of the
document.
"""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from reports.frameworks.declared import keep
from reports.frameworks.forms import REWARD_FORM
from reports.frameworks.reward_records import reward_subject
from reports.reward.answers import reward_answers
from reports.reward.commands import DossierFormat, rendered
from restaudit.evidence.shown import CUT, MARKUP, markdown_text, plain
from tests.reports.reward.reward_folder import DIGEST, folder, stress_report, trained_facts

SCRIPT = "<script>alert(1)</script>"
NASTY = [
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "</style><svg onload=alert(1)>",
    "[click](javascript:alert(1)) ![i](http://evil.example/i.png)",
    "http://evil.example/a www.evil.example me@evil.example",
    "| a | b |\n|---|---|\n# heading\n- item\n---\n",
    "\u202eevil\u202c \u2066x\u2069 \u061c",
    "bell\x07 esc\x1b[31m nul\x00 \x85 \u2028 \ufeff \U000e0041",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "+1-1|x",
    "---\nlicense: mit\n---",
    "{{ 7*7 }} ${x} `code` ~~s~~ $x$ &lt;b&gt;",
]


@pytest.fixture(params=range(len(NASTY)))
def nasty(request: pytest.FixtureRequest) -> str:
    """One of the texts."""
    return NASTY[request.param]


def shown(path: Path, text: str, form: str) -> str:
    """A document in which this text stands wherever a text can."""
    facts = trained_facts(name=text, purpose=text, limits=[text])
    facts["data"] |= {"source": text, "licence": text, "options": {text: text}}
    facts["data"]["rows"] = {"read": 1, "used": 1, "dropped": {text: 1}, "notes": {}}
    facts["raters"]["used"] = [text]
    facts["encoder"]["spec"] = f"hf:{text}"
    facts["validation"][0]["detail"] = {"meaning": text}
    facts["validation"][0]["name"] = f"validation.{text}"
    where = folder(path, facts, stress_report(text, text))
    said = {
        "schema": REWARD_FORM.schema,
        "declared_by": "Ada",
        "date": "2026-01-01",
        "answers": {"raters.pool": text, "hacking.known": [text]},
    }
    (path / "given.yaml").write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    keep(reward_subject(where, DIGEST), path / "given.yaml")
    return rendered(reward_answers(where, where), DossierFormat(form)).decode("utf-8")


def hidden(text: str) -> list[str]:
    """Characters that do more than show."""
    return [
        c
        for c in text
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp", "Cf") and c not in "\n\u200c\u200d"
    ]


@pytest.mark.parametrize("form", ["md", "html", "card", "json"])
def test_no_format_has_markup_or_a_hidden_character_of_the_texts(
    tmp_path: Path, nasty: str, form: str
) -> None:
    page = shown(tmp_path / "rm", nasty, form)
    if form != "json":  # written as escapes there, so that nothing is lost
        assert hidden(page) == []
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]",
        page,
    )
    for tag in ("<script", "<img", "<svg on"):
        assert tag not in page
    if form == "html":
        assert page.count("</style>") == 1
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))


def test_json_gives_the_text_back_unchanged(tmp_path: Path) -> None:
    text = "\u202e<b>=cmd\x07"
    found = json.loads(shown(tmp_path / "rm", text, "json"))
    assert found["name"] == text
    fields = {f["key"]: f for s in found["sections"] for f in s["fields"]}
    assert fields["raters.pool"]["value"] == text


def test_the_front_matter_of_a_card_stays_what_it_is(tmp_path: Path, nasty: str) -> None:
    page = shown(tmp_path / "rm", nasty, "card")
    assert page.startswith("---\n")
    front = yaml.safe_load(page[4:].partition("\n---\n")[0])
    assert front["license"] == "unknown"
    assert set(front) <= {"license", "pipeline_tag", "tags", "base_model", "model-index"}


def test_a_markdown_table_keeps_its_columns(tmp_path: Path, nasty: str) -> None:
    page = shown(tmp_path / "rm", nasty, "md")
    widths = []
    for line in page.splitlines():
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", line))))
        elif widths:
            assert len(set(widths)) == 1
            widths = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("-2+3|x", "'-2+3|x"),
        ("  =1", "'=1"),
        ("-0.5", "-0.5"),
        ("+3.9", "+3.9"),
        ("-0.5 to 0.25", "-0.5 to 0.25"),
        ("-1e-05 to 2 (0.995 level)",) * 2,
        ("a\nb", "a ⏎ b"),
        ("a\u202eb", "a\ufffdb"),
        ("a\u200bb", "a\ufffdb"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("", ""),
    ],
)
def test_plain_text(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_a_long_text_shows_both_of_its_ends() -> None:
    found = plain("start " + "x" * 1000 + " end")
    assert found.startswith("start")
    assert found.endswith("end")
    assert CUT in found
    assert len(found) < 260


@given(st.text())
@example("0.")
@example("-0")
@example("12) x")
def test_any_text_is_one_line_that_starts_no_block_and_no_link_in_markdown(text: str) -> None:
    found = markdown_text(text)
    assert hidden(found) == []
    assert "\n" not in found
    assert not re.match(r"[-+](?:\s|$)|[=>#|*]|\d+[.)](?:\s|$)", found)
    assert "://" not in found
    assert not (MARKUP | {"<", ">"}) & set(re.sub(r"\\.", "", found))
