"""Names of a run's parts as other standards write them: package URLs, licences, identifiers."""

from __future__ import annotations

import re
from urllib.parse import quote

PYPI = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([^!\s]+)(?:!(.+))?")
HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# Identifiers of the SPDX licence list that models and data sets commonly carry; other licences are
# given as text.
SPDX_IDS = frozenset(
    {
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "GPL-2.0-only",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MPL-2.0",
        "ODbL-1.0",
        "OFL-1.1",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)


def package_url(spec: str) -> str | None:
    """The purl of `pypi:` and `hf:` sources; None for a path, a `url:` or what is built in."""
    if (m := PYPI.fullmatch(spec)) is not None:
        name = re.sub(r"[-_.]+", "-", m[1]).lower()
        inside = f"#{quote(m[3])}" if m[3] else ""
        return f"pkg:pypi/{name}@{quote(m[2], safe='')}{inside}"
    if (m := HUB.fullmatch(spec)) is not None:
        owner, _, name = m[1].partition("/")
        return f"pkg:huggingface/{quote(owner)}/{quote(name)}" + (f"@{quote(m[2])}" if m[2] else "")
    return None


def pypi_url(name: str, version: str) -> str:
    """The purl of an installed Python package."""
    return f"pkg:pypi/{quote(re.sub(r'[-_.]+', '-', name).lower())}@{quote(version, safe='')}"


def token(text: str) -> str:
    """A name that file systems and identifiers take: letters, digits, dot, underscore; the rest
    become hyphens.

    Names of steps and iterations hold no hyphen, so that two of them stay two.
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "x"
