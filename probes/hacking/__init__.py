"""Hacking: is the reward had by other means than being better, and what has the policy learned that
earns it?
"""
