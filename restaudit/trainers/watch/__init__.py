"""`restaudit watch`: the audit of training that is only seen from outside, by the files that it
leaves.
"""
