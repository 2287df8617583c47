"""Bias: do scores, replies, the reward model and the filter treat groups of people differently?"""
