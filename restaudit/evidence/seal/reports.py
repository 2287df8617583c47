"""Signing what was rendered: the digests of every file under report/, bound to the head of the
ledger.
"""

from __future__ import annotations

import json
from pathlib import Path

from restaudit.errors import BadInput
from restaudit.evidence import ledger
from restaudit.evidence.record import Run
from restaudit.evidence.seal.dsse import sign
from restaudit.evidence.seal.signer import Signer, keep_public, write_new
from restaudit.evidence.seal.statements import FOLDER, REPORT_FILE, report_statement
from restaudit.evidence.verify.files import Progress, check_file, recorded_files


def sign_report(
    folder: Path, signer: Signer, progress: Progress | None = None
) -> tuple[Path, int, str]:
    """Sign RUN/report/*; returns the envelope's path, how many files it covers and the head.

    An older one is replaced.

    The key need not be the run's: whoever answers for the report signs it. `progress` is called
    with the bytes of the record just hashed. Raises BadInput where there is no report, it was
    rendered from an earlier head, or the plan was changed after sealing; VerificationFailed where a
    file is not as recorded.
    """
    record = Run(folder)
    record.check_sealed()
    for entry in recorded_files(record.events):
        check_file(folder, entry, progress)
    _check_rendered(folder, record.events[-1].hash)
    files = {}
    for path in sorted((folder / "report").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BadInput(
                f"{folder}/{name}: is a symbolic link; a report that is signed holds only plain "
                "files"
            )
        if path.is_file():
            files[name] = ledger.digest_file(path)
    if not files:
        raise BadInput(f"{folder}/report: holds no file to sign; render a report first")
    keep_public(folder, signer.key)
    write_new(
        folder / FOLDER / REPORT_FILE, sign(report_statement(record.events, files), signer.key)
    )
    return folder / FOLDER / REPORT_FILE, len(files), record.events[-1].hash


def _check_rendered(folder: Path, head: str) -> None:
    """Refuse to bind a report to a head that it was not rendered from, as far as its manifest
    says.
    """
    path = folder / "report" / "manifest.json"
    if not path.is_file():
        return
    try:
        rendered = json.loads(path.read_text(encoding="utf-8"))["head"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise BadInput(
            f"{path}: not a report's manifest ({type(e).__name__}); render the report again"
        ) from None
    if rendered != head:
        raise BadInput(
            f"{folder}/report: was rendered before the run's last event; render it again, then "
            "sign it"
        )
