"""A way out: the trained weights of a run as a folder that other tools load, compared with what was
audited.
"""
