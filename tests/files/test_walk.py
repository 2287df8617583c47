"""Walking a folder that a stranger may have prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from restaudit.files import plain


def test_work_in_hand_is_named_only_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step").mkdir()
    (tmp_path / ".tmp-step" / "half").write_text("x")
    (tmp_path / "g01").mkdir()
    (tmp_path / "g01" / ".tmp-x").write_text("x")
    (tmp_path / "whole").write_text("x")
    assert plain.names(tmp_path) == ["whole"]
    assert plain.names(tmp_path, temporary=True) == [".tmp-step", "g01/.tmp-x", "whole"]


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(plain.DEEPEST + 1):
        place = place / "d"
        place.mkdir()
    with pytest.raises(plain.NotPlain, match="more than 32 folders deep"):
        plain.names(tmp_path)
