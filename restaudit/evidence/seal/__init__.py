"""Signatures and anchors: who sealed a run's plan and its heads, and what somebody outside has seen
of it.
"""
