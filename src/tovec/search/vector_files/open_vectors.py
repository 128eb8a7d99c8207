"""The door of this room: a file of vectors, or a directory of them."""

from __future__ import annotations

from pathlib import Path

from tovec.search.vector_files.stored import Stored
from tovec.search.vector_files.stored_file import open_file


def open_stored(path: str, glob: str | None = None) -> Stored | None:
    """Open a file of vectors, or a directory of them (parts); None for texts.

    Raises InputError for what is damaged or holds no vectors that can be compared.
    """
    if Path(path).is_dir():
        from tovec.search.vector_files.stored_parts import open_parts

        return open_parts(path, glob)
    return open_file(path)
