"""YAML that people read and that gives every text back as it was."""

from __future__ import annotations

from typing import Any

import yaml


def as_yaml(value: Any) -> str:
    """YAML in the order given, letters as they are; with escapes where plain letters would not read
    back the same.

    PyYAML writes U+0085 as it is and reads it as a line break.
    """
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    if yaml.safe_load(text) == value:
        return text
    return yaml.safe_dump(value, sort_keys=False, width=100)
