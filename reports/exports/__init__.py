"""Machine-readable exports of a run, one standard a file under `formats/`; `registry.py` finds
them.
"""
