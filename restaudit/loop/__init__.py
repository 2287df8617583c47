"""Algorithm 1 and what surrounds it: sealing, sampling and training, audits, waiting for people,
and the end of a run.
"""
