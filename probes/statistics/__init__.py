"""Toolbox: estimates with intervals.

Whole prompts are resampled, and comparisons are paired by prompt.
"""
