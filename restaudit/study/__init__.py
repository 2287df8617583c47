"""Several methods on one recipe, at equal cost: planned and sealed first, then run by run,
resumable at any point.
"""
