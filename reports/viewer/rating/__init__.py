"""The page on which people rate: who they are, what comes next, what is written, and what the
ratings say.
"""
