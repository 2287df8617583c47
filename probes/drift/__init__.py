"""Drift: how far the policy has moved from the base policy, and the signs of collapse from its own
output.
"""
