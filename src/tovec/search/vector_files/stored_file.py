"""One file of vectors opened, by its ending."""

from __future__ import annotations

from tovec.formats.directories import SourceFile
from tovec.formats.source import open_regular, suffix
from tovec.search.vector_files.stored import Stored
from tovec.search.vector_files.stored_json import gather_json
from tovec.search.vector_files.stored_npy import StoredNpy


def open_file(path: str) -> Stored | None:
    """Open one file of vectors; None for a file of texts."""
    match suffix(path):
        case ".npy":
            return StoredNpy(path)
        case ".parquet" | ".pq":
            from tovec.search.vector_files.stored_parquet import StoredParquet

            return StoredParquet.open(path)
        case ".jsonl" | ".ndjson" | ".jsonlines" | ".json":
            open_regular(path).close()  # where it holds texts it is read again
            return gather_json([SourceFile(path)], path)
        case ".arrow" | ".arrows" | ".ipc" | ".feather":
            from tovec.search.vector_files.stored_parquet import gather_arrow

            open_regular(path).close()
            return gather_arrow([SourceFile(path)], path)
    return None
