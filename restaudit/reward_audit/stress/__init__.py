"""Stress tests of a reward: what it pays for that makes no text better.

Works on any function, without a run.

`stress` runs all of it on real texts; `search`, `paid_words` and `attribute` are its parts that
stand alone.
"""

from restaudit.reward_audit.stress.attribution import Attribution, attribute
from restaudit.reward_audit.stress.finding import ChangedText, Finding
from restaudit.reward_audit.stress.paid_words import PaidWord, PaidWords, paid_words
from restaudit.reward_audit.stress.search import Exploit, Exploits, search
from restaudit.reward_audit.stress.suite import StressReport, stress

__all__ = [
    "Attribution",
    "ChangedText",
    "Exploit",
    "Exploits",
    "Finding",
    "PaidWord",
    "PaidWords",
    "StressReport",
    "attribute",
    "paid_words",
    "search",
    "stress",
]
