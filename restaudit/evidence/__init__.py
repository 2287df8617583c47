"""The run folder: what is written into it, read from it, signed, handed over and checked."""
