"""Divergence: does the reward still follow the held-out human score, or has it left it behind?"""
