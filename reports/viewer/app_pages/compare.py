"""Compare runs: not built yet."""
