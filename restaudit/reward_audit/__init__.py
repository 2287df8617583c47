"""A reward model under test: stress tests, judgements it never saw, its verdict and its
document.
"""
