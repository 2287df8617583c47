"""Check a run folder, or a bundle of one, against its own ledger, its signatures and what a witness
saw.
"""

from restaudit.evidence.verify.check import Report, recorded_bytes, verify
from restaudit.evidence.verify.stages import Stage

__all__ = ["Report", "Stage", "recorded_bytes", "verify"]
