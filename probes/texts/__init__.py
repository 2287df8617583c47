"""Toolbox: what can be counted and compared in sets of texts."""
