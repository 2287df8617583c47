"""What is said of a run in a sentence: when its reward was fitted again, and how good its alarms
are.
"""

from __future__ import annotations

from restaudit.calibrate.render import FILE, sentences
from restaudit.errors import BadInput
from restaudit.evidence.record import Run, read_json
from restaudit.files import plain
from restaudit.files.plain import NotPlain
from restaudit.people.rating.status import of_raters


def refitted(run: Run) -> list[str]:
    """A sentence for every time the reward model was fitted again on people's judgements of the
    newest policy.
    """
    lines = []
    for grow, facts in run.refits():
        name = "pair_accuracy" if "pair_accuracy_after" in facts else "pearson"
        before, after = (_shown(facts[f"{name}_{when}"]) for when in ("before", "after"))
        lines.append(
            f"Before {grow} the reward model was fitted again on {facts['judgements']} judgements "
            f"({of_raters(facts['raters'])}) of texts of {facts['policy']}: held-out "
            f"{name.replace('_', ' ')} {before} -> {after}, digest {facts['before'][:8]} -> "
            f"{facts['after'][:8]}. From there on the base policy is scored by the new one."
        )
    return lines


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def alarms(run: Run) -> tuple[str, ...]:
    """The false-alarm rate and power of the run's policy, where `restaudit calibrate RUN` has
    measured them.
    """
    name = f"report/{FILE}"
    if not plain.is_file(run.path, name):
        return ()
    try:
        return sentences(read_json(run.path, name))
    except NotPlain:
        raise
    except (BadInput, OSError, ValueError, KeyError, TypeError) as e:
        return (
            f"{run.path / name}: not a calibration that can be read ({type(e).__name__}: {e}); make it anew "
            f"with restaudit calibrate {run.path}",
        )
