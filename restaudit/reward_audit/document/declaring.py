"""`restaudit reward declare`: a template for this reward, and a filled one checked and kept beside
its reports.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from restaudit.reward_audit.document.build import document_of
from restaudit.reward_audit.document.declared import (
    Declarations,
    about_this,
    read_declarations,
    store,
    template,
)
from restaudit.reward_audit.document.material import declarations_of


def to_fill(folder: Path, where: Path) -> str:
    """YAML with every declarable field, and what was declared before (see declared.template).

    Raises BadInput as `document_of` does.
    """
    document = document_of(folder, where)
    recorded = [a.key for a in document.answers if a.status in ("MEASURED", "RECORDED", "COMPUTED")]
    path = declarations_of(folder)
    known = read_declarations(path) if path.is_file() else None
    return template(document.digest, recorded, known)


def keep(folder: Path, where: Path, given: Path) -> tuple[Declarations, Path]:
    """Check a filled template and keep it, bound to this reward's digest; returns it and where it
    is kept.

    It takes the place of what was declared before. Raises BadInput where it is not valid or about
    another reward.
    """
    from restaudit.reward.dossier import read_any

    digest = str(read_any(where).get("digest", ""))
    found = read_declarations(given)
    about_this(found, digest, given)
    found = replace(found, reward_digest=digest)
    path = declarations_of(folder)
    store(found, path)
    return found, path
