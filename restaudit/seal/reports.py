"""Signing what was rendered: the digests of every file under report/, bound to the head of the ledger."""

from __future__ import annotations

from pathlib import Path

from restaudit import ledger
from restaudit.errors import BadInput
from restaudit.record import Run
from restaudit.seal.dsse import sign
from restaudit.seal.signer import Signer, keep_public, write_new
from restaudit.seal.statements import FOLDER, REPORT_FILE, report_statement


def sign_report(folder: Path, signer: Signer) -> tuple[Path, int, str]:
    """Sign RUN/report/*; returns the envelope's path, how many files it covers and the head. An older one is replaced.

    The key need not be the run's: whoever answers for the report signs it. Raises BadInput where there is no report, or
    the run's plan was changed after sealing.
    """
    record = Run(folder)
    record.check_sealed()
    files = {}
    for path in sorted((folder / "report").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BadInput(f"{folder}/{name}: is a symbolic link; a report that is signed holds only plain files")
        if path.is_file():
            files[name] = ledger.digest_file(path)
    if not files:
        raise BadInput(f"{folder}/report: holds no file to sign; render a report first")
    keep_public(folder, signer.key)
    write_new(folder / FOLDER / REPORT_FILE, sign(report_statement(record.events, files), signer.key))
    return folder / FOLDER / REPORT_FILE, len(files), record.events[-1].hash
