"""An RFC 3161 time-stamp of an anchor file, checked by the `openssl` of this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from restaudit.errors import BadInput, VerificationFailed

SECONDS = 60


def check_timestamp(data: Path, response: Path, trusted: Path) -> str:
    """The time at which a trusted authority saw the file `data`, as openssl prints it.

    Raises BadInput where openssl is missing, VerificationFailed where the time-stamp is not of this
    file, or not signed by an authority that `trusted` (certificates in PEM) vouches for.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BadInput(
            "checking a time-stamp needs the program openssl, which is not on this machine"
        )
    for path in (data, response, trusted):
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
    # Absolute, so that no file name is taken for an option.
    d, r, t = (str(p.resolve()) for p in (data, response, trusted))
    checked = _run([openssl, "ts", "-verify", "-data", d, "-in", r, "-CAfile", t])
    if checked.returncode != 0:
        said = [
            x.strip()
            for x in (checked.stdout + checked.stderr).splitlines()
            if "error" in x.lower()
        ]
        raise VerificationFailed(
            f"{response}: not a time-stamp of {data} by an authority in {trusted}: "
            f"{said[-1][-200:] if said else 'openssl refused it'}"
        )
    shown = _run([openssl, "ts", "-reply", "-in", r, "-text"]).stdout
    found = re.search(r"^Time stamp: (.+)$", shown, re.MULTILINE)
    if found is None:
        raise VerificationFailed(f"{response}: states no time")
    return found.group(1).strip()


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise VerificationFailed(f"openssl did not answer within {SECONDS} seconds") from None
