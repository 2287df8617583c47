"""The same audit around training that restaudit does not do itself: trainers of others, and what
they left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restaudit.trainers.callback import AuditCallback

__all__ = ["AuditCallback"]


def __getattr__(name: str) -> Any:
    """AuditCallback is loaded when it is asked for, since transformers comes with it."""
    if name == "AuditCallback":
        from restaudit.trainers.callback import AuditCallback

        return AuditCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
