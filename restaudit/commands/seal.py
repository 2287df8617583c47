"""What makes a run fit for a stranger: `restaudit keys new`, `sign`, `anchor`, `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restaudit.commands.program import Program
from restaudit.console import say
from restaudit.errors import BadInput, RestauditError
from restaudit.files import plain

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
SigningKey = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="Private key that signs (default: $RESTAUDIT_KEY, else unsigned).",
    ),
]

keys = Program(name="keys", help="Keys that sign a run.", no_args_is_help=True)


@keys.callback()
def _keys() -> None: ...


@keys.command("new")
def new(
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR|FILE", help="A folder, or the private key's own name, ending in .pem."
        ),
    ] = Path(),
) -> None:
    """Make an Ed25519 key pair: sign with the private file, hand out the public one and its id."""
    from restaudit.evidence.seal.keys import new_key

    private, public, key_id = new_key(out)
    say(f"private key: {private} (keep it to yourself; who has it can sign as you)")
    say(f"public key:  {public} (hand it out, by another way than the runs)")
    say(f"key id:      {key_id}")


def sign(folder: Folder, key: SigningKey = None) -> None:
    """Sign the rendered files under RUN/report together with the ledger's head."""
    from restaudit.console import Reporter
    from restaudit.evidence.seal.signer import given_signer, sign_report
    from restaudit.evidence.verify import recorded_bytes

    signer = given_signer(key)
    if signer is None:
        raise BadInput("which key signs? Name it with --key FILE, or make one: restaudit keys new")
    reporter = Reporter()
    reporter.quiet = not reporter.console.is_terminal
    with reporter.task("hashing", recorded_bytes(folder), "bytes") as advance:
        path, files, head = sign_report(folder, signer, advance)
    say(
        f"{path}: {files} file(s) under report/ and the head {head}, signed with key "
        f"{signer.key_id}"
    )


def anchor(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the anchor goes (default: RUN-event.anchor.json)."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Instead: is the head of this anchor in the run's chain?"
        ),
    ] = None,
    tsr: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --check: an RFC 3161 time-stamp of the anchor file."
        ),
    ] = None,
    tsa_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --tsr: certificates that you trust to give time, in PEM."
        ),
    ] = None,
) -> None:
    """Write down the head for somebody outside, or check a run against what was written down."""
    from restaudit.evidence.record import Run
    from restaudit.evidence.seal.anchor import anchor_of, check_anchor, load_anchor

    if (tsr is None) != (tsa_cert is None) or (tsr is not None and check is None):
        raise BadInput(
            "a time-stamp is checked with all three: --check FILE --tsr FILE --tsa-cert FILE"
        )
    if check is not None and out is not None:
        raise BadInput("--out names a new anchor, --check an old one: give one of them")
    record = Run(folder)
    # An anchor of a plan that was changed would witness the change.
    record.check_sealed()
    if check is None:
        made = anchor_of(record.events, record.plan)
        path = (
            # Beside the run and not in it: an anchor proves something only where the run's owner
            # cannot change both.
            out or folder.absolute().parent / f"{folder.absolute().name}-{made.seq:04d}.anchor.json"
        )
        _written(path, made.to_bytes())
        say(made.line)
        say(
            f"anchor: {path}  (give it, or the line above, to somebody who keeps it where you "
            "cannot change it)"
        )
        return
    witnessed = load_anchor(check)
    since = check_anchor(witnessed, record.events, record.plan)
    say(
        f"{folder}: holds the witnessed head {witnessed.head} (event {witnessed.seq}); "
        f"{_since(since)}"
    )
    if tsr is not None and tsa_cert is not None:
        from restaudit.evidence.seal.anchor import check_timestamp

        say(
            f"time-stamp: {check} existed at {check_timestamp(check, tsr, tsa_cert)}, says the "
            "authority you trust"
        )
    say(f"only the chain was read; for the files too: restaudit verify {folder} --anchor {check}")


def _since(count: int) -> str:
    return "no event came since" if count == 0 else f"{count} event(s) came since"


def _written(path: Path, data: bytes) -> None:
    """Write an anchor; an older one is never replaced by another."""
    try:
        # The same anchor again may be written: a script that is run twice does no harm.
        root, name = plain.rooted(path)
        if plain.is_file(root, name) and plain.read(root, name) != data:
            raise BadInput(
                f"{path}: holds something else; an anchor is never overwritten, so name another "
                "file"
            )
        plain.write(root, name, data)
    except OSError as e:
        raise RestauditError(f"{path}: cannot be written: {e.strerror}") from None


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
        # A bundle of a run that does not verify would carry its fault to somebody who cannot tell
        # where it came from.
        check(folder, advance)
    wish = Wish(texts=without_texts, weights=without_weights, report=with_report)
    with reporter.task("packing", total, "bytes") as advance:
        packed = pack(folder, path, wish, signer=signer, progress=advance)
    manifest = packed.manifest
    say(
        f"{packed.path}: {len(manifest.files)} files, {packed.bytes:,} bytes, sha256 "
        f"{packed.sha256}"
    )
    # Whoever packs it should know what the reader can no longer check.
    if manifest.redacted or manifest.left_out:
        say(
            f"{len(manifest.redacted)} file(s) with their texts taken out, "
            f"{len(manifest.left_out)} left out: these can no longer be checked against the ledger"
        )
    if without_texts and not packed.report:
        say("the rendered report is not in it, since it shows samples (--with-report keeps it)")
    for note in manifest.notes:
        say(f"  {note}")
    by = (
        f"signed with key {signer.key_id}"
        if signer
        else "not signed: what was replaced rests on nobody's word"
    )
    say(f"manifest: {by}")
    say(f"the reader checks it with: restaudit verify {packed.path.name}")
