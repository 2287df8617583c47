"""Probe any generations file or Hugging Face model, with no ReST at all: read or sample, measure,
show.

generations.py reads a file, pairing.py matches two of them, models.py samples a model instead,
session.py measures, show.py prints. Nothing is imported here, since the command line imports this
package when it starts.
"""
