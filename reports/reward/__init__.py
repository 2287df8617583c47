"""The document of a reward model, in every format that a report has, and the command that writes
it.
"""
