"""Packaged recipes: complete commented configurations, and the prompts written for them."""
