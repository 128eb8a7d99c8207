"""tovec turns text into embedding vectors: a command line, and `tovec.Embedder` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tovec.embedder import Embedder

__version__ = "0.1.0"
__all__ = ["Embedder", "__version__"]


def __getattr__(name: str) -> object:
    """Return the Embedder, which is loaded with its libraries when it is first asked for."""
    if name == "Embedder":
        from tovec.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'tovec' has no attribute {name!r}")
