"""Check a run folder, or a bundle of one, against its own ledger, its signatures and what a witness
saw.
"""

from restaudit.evidence.verify.check import Report, recorded_bytes, verify

__all__ = ["Report", "recorded_bytes", "verify"]
