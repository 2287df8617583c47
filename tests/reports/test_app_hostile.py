"""Nothing of a hostile record reaches Markdown but in pieces, on any page; and there is one way to
show a text.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hostile import LINE, make_hostile
from streamlit.testing.v1 import AppTest

from reports.viewer import serve
from reports.viewer.pages import PAGES
from reports.viewer.text import file_name
from restaudit.people.rating import draw_tasks

KINDS = (
    *("markdown", "caption", "header", "subheader", "title", "badge", "error", "info", "warning"),
    *("success", "button", "expander", "selectbox", "multiselect", "text_input", "text_area"),
    *("checkbox", "radio", "toggle", "number_input", "progress", "segmented_control", "pills"),
    *("page_link", "download_button", "metric", "popover", "button_group"),
)
# What Streamlit would make a link, an image, an icon, code or emphasis of.
ALIVE = re.compile(
    r"(?i)https?://|www\.\w|\w@\w|!\[x\]|\[y\]\(|<img|<script|<style|:streamlit:|:material/home|:red\["
)
ADDRESSES = (
    *((page.file, {}) for page in PAGES),
    ("samples.py", {"where": "g01"}),
    ("samples.py", {"why": "g01-001-0"}),
    ("samples.py", {"view": LINE, "where": LINE, "group": LINE, "sort": LINE}),
    ("rate.py", {"rater": "ana", "set": "s"}),
    ("rate.py", {"rater": LINE, "set": LINE}),
    *(
        ("documents.py", {"documents_view": v})
        for v in ("clauses", "declare", "override", "bundle")
    ),
    ("compare.py", {"compare": ["run", "www.evil.example"]}),
    ("run.py", {"run": LINE}),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("run", "www.evil.example"):
        run = make_hostile(folder / name)
        ask = {"raters": 1, "seed": 3, "scale": (1, 7), "dimension": LINE[:60]}
        draw_tasks(run, ["g00/i00"], per_iteration=4, name="s", instructions=LINE, **ask)
    return folder


@pytest.mark.parametrize(("file", "address"), ADDRESSES, ids=lambda v: str(v)[:40])
def test_markdown_carries_nothing_of_the_record(
    root: Path, monkeypatch: pytest.MonkeyPatch, file: str, address: dict[str, str]
) -> None:
    monkeypatch.setenv("RESTAUDIT_RUNS", str(root))
    at = AppTest.from_file(str(serve.SCRIPT), default_timeout=60)
    at.switch_page(f"app_pages/{file}")
    for key, value in {"run": "run", **address}.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception
    for text in _markup(at):
        assert not ALIVE.search(text), text


def _markup(at: AppTest) -> list[str]:
    """Everything on the page that Streamlit reads as Markdown."""
    texts: list[str] = []
    for kind in KINDS:
        for element in at.get(kind):
            proto = element.proto
            for field in ("body", "label", "help", "text", "options"):
                value = getattr(proto, field, None)
                # Streamlit shows the choices of a list as text.
                if value is None or (field == "options" and kind in ("selectbox", "multiselect")):
                    continue
                texts += [value] if isinstance(value, str) else [str(v) for v in value]
    return texts


def test_the_name_of_a_download_is_a_plain_one() -> None:
    assert file_name("run-1_é.report.pdf") == "run-1_é.report.pdf"
    assert file_name("a\u202efdp.exe-report.html") == "a_fdp.exe-report.html"
    assert file_name('../x"\n;y\x00.zip') == ".._x_y_.zip"
    assert file_name("x" * 500 + ".pdf").endswith("x.pdf")


def test_text_is_shown_in_one_way() -> None:
    checked = ("plain", "multiline", "one_line")
    for path in sorted(serve.SCRIPT.parent.rglob("*.py")):
        if path.name == "text.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "st.text"):
                continue
            given = node.args[0]
            safe = isinstance(given, ast.Call) and ast.unparse(given.func) in checked
            assert safe, f"{path}:{node.lineno}: use text.said"
