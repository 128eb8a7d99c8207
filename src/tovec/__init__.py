"""tovec turns text into embedding vectors from the command line."""

__version__ = "0.1.0"
