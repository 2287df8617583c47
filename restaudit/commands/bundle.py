"""`restaudit bundle`: one file for a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.commands.seal import Folder


def bundle(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="The bundle (default: RUN.zip).")
    ] = None,
    without_weights: Annotated[
        bool, typer.Option("--without-weights", help="Leave out weights.")
    ] = False,
    without_texts: Annotated[
        bool,
        typer.Option(
            "--without-texts",
            help="Take texts out: tables get hashes, files that quote are left out.",
        ),
    ] = False,
    with_report: Annotated[
        bool,
        typer.Option(
            "--with-report",
            help="With --without-texts: keep the rendered report, which shows samples.",
        ),
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key that signs the manifest (default: $RESTAUDIT_KEY)."
        ),
    ] = None,
) -> None:
    """Pack a run that verifies into one zip file, with a manifest of what is in it and what is
    not.
    """
    from restaudit.console import Reporter
    from restaudit.evidence.bundle.pack import Wish, pack
    from restaudit.evidence.seal.signer import given_signer
    from restaudit.evidence.verify import recorded_bytes
    from restaudit.evidence.verify import verify as check

    signer = given_signer(key)
    here = folder.absolute()
    path = out or here.parent / f"{here.name}.zip"
    reporter = Reporter()
    reporter.quiet = not reporter.console.is_terminal
    total = recorded_bytes(folder)
    with reporter.task("checking", total, "bytes") as advance:
        check(folder, advance)
    wish = Wish(texts=without_texts, weights=without_weights, report=with_report)
    with reporter.task("packing", total, "bytes") as advance:
        packed = pack(folder, path, wish, signer=signer, progress=advance)
    manifest = packed.manifest
    typer.echo(
        f"{packed.path}: {len(manifest.files)} files, {packed.bytes:,} bytes, sha256 "
        f"{packed.sha256}"
    )
    if manifest.redacted or manifest.left_out:
        typer.echo(
            f"{len(manifest.redacted)} file(s) with their texts taken out, "
            f"{len(manifest.left_out)} left out: these can no longer be checked against the ledger"
        )
    if without_texts and not packed.report:
        typer.echo(
            "the rendered report is not in it, since it shows samples (--with-report keeps it)"
        )
    for note in manifest.notes:
        typer.echo(f"  {note}")
    by = (
        f"signed with key {signer.key_id}"
        if signer
        else "not signed: what was replaced rests on nobody's word"
    )
    typer.echo(f"manifest: {by}")
    typer.echo(f"the reader checks it with: restaudit verify {packed.path.name}")
