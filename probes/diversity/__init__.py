"""Diversity: how different the policy's texts are from one another, at a fixed number of samples
and words.
"""
