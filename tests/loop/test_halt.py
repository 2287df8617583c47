"""A halted run goes on after an override, may halt again, and says first who let it go on."""

import io
import json

import pytest
from rich.console import Console

from restaudit.commands.summary import print_summary
from restaudit.config.reading import parse
from restaudit.errors import BadInput, Halted
from restaudit.evidence import ledger
from restaudit.evidence.override import override
from restaudit.evidence.record import Run
from restaudit.evidence.verify import verify
from restaudit.loop.running import resume, start
from tests.loop.conftest import tiny_raw

BY, REASON = "Ada Moreau", "the margin was set for another model; the board agreed on 3 May"


@pytest.fixture
def halted(tiny_policy, job_folder, silent):
    """A run of two looks that halts at each of them."""
    raw = tiny_raw(tiny_policy, grow_steps=1, improve_steps=2)
    raw["gates"]["rules"][0] |= {"margin": 50.0}
    with pytest.raises(Halted, match=r"restaudit override .* --by NAME --reason TEXT"):
        start(parse(raw), job_folder / "run", silent)
    return job_folder / "run"


def test_an_overridden_run_goes_on_halts_again_and_ends_with_both_overrides_on_top(halted, silent):
    override(halted, by=BY, reason=REASON)
    with pytest.raises(Halted, match=r"halted after g01/i02 by the sealed policy \(gate: harm\)"):
        resume(halted, silent)
    assert Run(halted).state == "halted"
    override(halted, by=BY, reason=f"{REASON}, and again on 4 May")
    resume(halted, silent)
    run = Run(halted)
    stops = ["g01/i01/halt", "g01/i01/override", "g01/i02/halt", "g01/i02/override"]
    assert [e.step for e in run.events if e.step.endswith(("/halt", "/override"))] == stops
    assert run.state == "done"
    assert verify(halted).finished
    console = Console(file=io.StringIO(), width=80)
    print_summary(halted, console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("OVERRIDE at g01/i01")
    assert sum(line.startswith("OVERRIDE") for line in lines) == 2
    assert max(len(line) for line in lines if "restaudit " not in line) <= 80


def test_resume_says_that_it_goes_on_against_the_policy(halted, capsys):
    from restaudit.console import Reporter

    override(halted, by="[red]Ada", reason=REASON)
    with pytest.raises(Halted):
        resume(halted, Reporter(quiet=True))
    assert (
        f"goes on against HALT of harm at g01/i01, by [red]Ada: {REASON}" in capsys.readouterr().out
    )


def test_a_margin_edited_while_the_run_is_halted_is_refused_by_override_and_resume(halted, silent):
    """The ledger's first line still holds the digest of the plan that was sealed, and the chain is
    whole.
    """
    path = halted / "plan.json"
    sealed = path.read_bytes()
    plan = json.loads(sealed)
    plan["config"]["gates"]["rules"][0]["margin"] = -99.0
    path.write_text(json.dumps(plan))
    assert ledger.read(halted)[0].step == "plan"
    for go_on in (lambda: resume(halted, silent), lambda: override(halted, by=BY, reason=REASON)):
        with pytest.raises(BadInput, match=r"plan\.json was changed after it was sealed"):
            go_on()
    path.write_bytes(sealed)
    override(halted, by=BY, reason=REASON)
    path.write_text(json.dumps(plan))
    with pytest.raises(BadInput, match=r"plan\.json was changed after it was sealed"):
        resume(halted, silent)
