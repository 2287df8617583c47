"""Clause-by-clause documents of a run: what a framework asks, what the record answers, and what
only people can say.
"""
