"""YAML in which no key may be given twice: of two answers to one question, neither may silently
win.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Once(yaml.SafeLoader):
    """The safe loader; refuses a mapping that has a key twice, and references to other parts of the
    file.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="a reference (*name) is not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_once(text: str) -> Any:
    """Plain values of a YAML text.

    Raises yaml.YAMLError where it is not valid, has a key twice or a reference.
    """
    return yaml.load(text, Loader=_Once)
