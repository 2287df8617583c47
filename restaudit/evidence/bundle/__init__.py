"""A run folder as one file for a stranger: packing it, leaving texts or weights out of it, opening
it with care.
"""
