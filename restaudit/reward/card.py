"""The dossier as a page that a sceptical reader goes through in ten minutes: Markdown, failures first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from restaudit.record import printable
from restaudit.reward.dossier import MISSING
from restaudit.reward.verdict import verdict

MOST_SHOWN = 240
HOW = ("kind", "objective", "input", "unit", "members", "models", "encoder", "hyper_parameters", "ensemble", "training",
       "seed", "weights_sha256", "digest")  # fmt: skip


def markdown(facts: Mapping[str, Any], stress: Mapping[str, Any] | None) -> str:
    """Markdown of a dossier (see dossier.py) and, where there is one, of its stress report; no clock, no host."""
    word, reasons = verdict(facts, stress)
    parts = [
        f"# Reward model {_line(facts['name'])}",
        f"**{word}.** " + " ".join(_line(r) for r in reasons),
        _failures(stress),
        "## What it is for, and what it cannot see",
        _line(facts.get("purpose", MISSING)),
        "\n".join(f"- {_line(x)}" for x in facts.get("limits", [])),
        _validation(facts.get("validation", MISSING)),
        "## What it was made from",
        _table([(k, facts.get(k, MISSING)) for k in ("data", "raters", "items", "split", "care")]),
        "## How it was made",
        _table([(k, facts[k]) for k in HOW if k in facts]),
        _stress(stress),
        "## What nobody said",
        "\n".join(f"- {p}: MISSING" for p in missing(facts)) or "Nothing is missing.",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def missing(facts: Any, path: str = "") -> list[str]:
    """Paths of every fact that is "MISSING"."""
    if isinstance(facts, Mapping):
        return [p for k, v in facts.items() for p in missing(v, f"{path}.{k}" if path else str(k))]
    return [path] if facts == MISSING else []


def _failures(stress: Mapping[str, Any] | None) -> str:
    """Every failure with what was done, how far the reward moved, and the worst text before and after."""
    if stress is None:
        return ""
    parts = [f"## Failures of the stress tests: {len(stress['failures'])}"]
    for f in stress["findings"]:
        if f["verdict"] != "FAIL":
            continue
        parts.append(f"**{_line(f['name'])}.** {_line(f['does'])} {_line(f['asks'])} {_line(f['why'])}.")
        if (worst := f["worst"]) is not None:
            parts.append(_example(worst["before"], worst["after"], worst["reward_before"], worst["reward_after"]))
    words = [w for w in (stress["paid_words"] or {}).get("words", []) if w["verdict"] == "FAIL"]
    if words:
        named = ", ".join(f"“{_line(w['word'])}” ({_line(w['why'])})" for w in words)
        parts.append(f"**Single words it pays for.** Taking them out lowers the reward: {named}.")
    return (
        "\n\n".join([*parts, _exploits(stress["exploits"])])
        if len(parts) > 1 or stress["failures"]
        else (f"{parts[0]}\n\nNone failed.")
    )


def _exploits(found: Mapping[str, Any] | None) -> str:
    if found is None or not found["exploits"]:
        return ""
    rows = [(f"{e['gain_sd']:+.1f}", f"{e['reward_start']:.3g}", f"{e['reward_final']:.3g}", e["start"], e["final"])
            for e in found["exploits"]]  # fmt: skip
    head = f"**Its own worst exploits** ({_line(found['verdict'])}): {found['scored']} edited texts were scored. "
    return head + _line(found["rule"]) + "\n\n" + _rows(("gain, sd", "before", "after", "text", "edited text"), rows)


def _example(before: str, after: str, reward_before: float, reward_after: float) -> str:
    rows = [
        ("before", f"{reward_before:.3g}", before or "(empty)"),
        ("after", f"{reward_after:.3g}", after or "(empty)"),
    ]
    return _rows(("worst", "reward", "text"), rows)


def _validation(found: Any) -> str:
    head = "## How well it predicts people it was not trained on"
    if not isinstance(found, list):
        return f"{head}\n\nMISSING"
    rows = []
    for m in found:
        i = m["intervals"][0] if m["intervals"] else None
        value = f"{m['value']:.3f}" if m["value"] is not None else "not measured"
        between = f"{i['low']:.3f} to {i['high']:.3f}" if i else _line(m["reason"] or "")
        rows.append((m["name"].removeprefix("validation."), value, between, str(m["n"]), m["detail"]["meaning"]))
    return "\n\n".join([head, _rows(("measurement", "value", "95% interval", "n", "what it is"), rows)])


def _stress(stress: Mapping[str, Any] | None) -> str:
    head = "## Stress tests"
    if stress is None:
        return f"{head}\n\nNot run: `restaudit reward stress`."
    rows = []
    for f in stress["findings"]:
        change = f["change"]
        i = change["intervals"][0] if change["intervals"] else None
        value = f"{change['value']:+.2f}" if change["value"] is not None else _line(change["reason"])
        rows.append((f["name"], f["verdict"], value, f"{i['low']:+.2f} to {i['high']:+.2f}" if i else "", f["does"]))
    about = f"On {stress['texts']} texts ({_line(stress.get('texts_are', 'given'))}); changes in sd of the reward."
    return "\n\n".join([head, about, _rows(("test", "verdict", "change", "95% interval", "what was done"), rows),
                        "\n".join(f"- {_line(x)}" for x in stress["limits"])])  # fmt: skip


def _table(pairs: Sequence[tuple[str, Any]]) -> str:
    return _rows(("what", "value"), [(f"{k}", v) for key, value in pairs for k, v in _flat(key, value)])


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for k, v in value.items() for pair in _flat(f"{key}.{k}", v)] or [(key, "none")]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [pair for n, v in enumerate(value) for pair in _flat(f"{key}[{n}]", v)]
    return [(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_line(str(c)) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def _line(text: str) -> str:
    """One line that Markdown shows as it is: no markup of the text's own, at most 240 characters."""
    plain = " ".join(printable(str(text)).split())
    plain = plain if len(plain) <= MOST_SHOWN else f"{plain[:MOST_SHOWN]} …"
    for mark in "\\`*_{}[]<>|#":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
