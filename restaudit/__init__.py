"""restaudit: run ReST on a language model and leave evidence that a stranger can check."""

__version__ = "0.1.0"
