"""Rows of which each must have a vector: one that has none is an error, and not left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from tovec.errors import InputError
from tovec.pipeline.connect import Connection
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished
from tovec.pipeline.stream import embed_blocks
from tovec.records import Block


def preparation(connection: Connection, long: LongTexts) -> Preparation:
    """Return what judges and counts such rows."""
    limit = connection.client.limits.item_tokens
    return Preparation(limit, connection.count_text, long=long)


def embed_all(
    connection: Connection, blocks: Iterator[Block], prepare: Preparation
) -> Iterator[Finished]:
    """Yield rows with their vectors. Raises InputError for a row that has none."""
    with closing(embed_blocks(connection, without_empty(blocks), prepare)) as embedded:
        for finished in embedded:
            check_complete(finished)
            yield finished


def without_empty(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield the blocks; raises InputError for a row without a text."""
    for block in blocks:
        for problem in block.problems:
            if problem.kind == "empty":
                raise InputError(problem.reason, where=problem.where)
        yield block


def check_complete(finished: Finished) -> None:
    """Raise InputError where the endpoint refused a row."""
    for source, line, reason in finished.refused:
        raise InputError(f"the endpoint refuses the text: {reason}", where=f"{source}, line {line}")
