"""What a check showed, in the sentences that the command line and the app have in common."""

from __future__ import annotations

from restaudit.evidence.seal.anchor import Anchor
from restaudit.evidence.verify.bundled import Bundled
from restaudit.evidence.verify.check import Report
from restaudit.evidence.verify.signatures import Signed
from restaudit.files.signs import printable

UNANCHORED = (
    "UNANCHORED: nothing outside this folder has seen the head, so a complete rebuild "
    "would go unnoticed"
)


def anchored_line(anchor: Anchor | None, since: int | None) -> str:
    """What a witness's anchor shows; `since` is how many events came after it."""
    if anchor is None:
        return UNANCHORED
    later = f"{since} event(s) came since" if since else "no event came since"
    return f"ANCHORED: the head the witness saw (event {anchor.seq}) is in this chain; {later}"


def standing_lines(report: Report) -> list[str]:
    """What a reader must know before anything that sounds well: who let the run go on after HALT,
    what nothing vouches for, where the run stands, and its last decision.
    """
    lines = [
        f"OVERRIDE at {o.iteration} ({o.time}): gate {', '.join(o.gates)} said HALT, and {o.by} let "
        f"the run go on: {o.reason}"
        for o in report.overrides
    ]
    lines += [f"NOT CHECKED: {u.name}: {u.why}" for u in report.unchecked]
    lines.append(f"state: {report.state}")
    decided = "none yet"
    if report.decided is not None:
        d = report.decided
        gates = [g.gate for g in d.gates if g.verdict == d.verdict]
        by = f" by {', '.join(gates)}" if d.verdict != "OK" and gates else ""
        decided = f"{d.verdict} at {d.iteration}{by} (look {d.look} of {d.looks})"
    lines.append(f"last decision: {decided}")
    return [printable(line) for line in lines]


def signed_lines(signed: Signed, events: int) -> list[str]:
    """What signatures show, in a few sentences; `events` is how many the ledger has."""
    lines = []
    if signed.signer is None:
        lines.append("UNSIGNED: the sealed plan names no key")
    else:
        # Whoever can rebuild the folder can also put a key of their own into it: only a key that
        # came another way says who signed.
        if signed.trusted:
            whose = "SIGNED with the key you trust"
        else:
            whose = "SELF-SIGNED: the key is only the one that the folder itself names"
        through = signed.through or 0
        unsigned = events - 1 - through
        rest = f"; the {unsigned} event(s) after it are not signed yet" if unsigned else ""
        lines.append(f"{whose}: {signed.signer}")
        lines.append(f"signed: the plan and {signed.heads} head(s), through event {through}{rest}")
    if signed.report_by is not None:
        lines.append(_report_line(signed, events))
    return lines


def _report_line(signed: Signed, events: int) -> str:
    line = (
        f"report: {len(signed.report_files)} file(s) signed with key {signed.report_by}, for event "
        f"{signed.report_at}"
    )
    # Where the plan names no key, the check has found that the trusted one signed the report.
    if signed.trusted and signed.signer not in (None, signed.report_by):
        line += ", and that is NOT the key you trust"
    since = events - 1 - (signed.report_at or 0)
    return f"{line}; {since} event(s) came since" if since else line


def is_partial(bundled: Bundled) -> bool:
    """Whether a bundle lacks something that its ledger records."""
    return bool(bundled.redacted or bundled.left_out)


def partial_line(bundled: Bundled) -> str:
    """How much a bundle lacks."""
    return (
        f"PARTIAL: {len(bundled.redacted)} further file(s) had their texts taken out and do NOT "
        f"have the digest that the ledger holds; {len(bundled.left_out)} recorded file(s) are not "
        "in the bundle"
    )


def note_lines(bundled: Bundled) -> list[str]:
    """What whoever packed a bundle wrote about it."""
    return [f"the manifest says: {printable(note)}" for note in bundled.notes]
