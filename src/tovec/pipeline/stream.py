"""Rows to embedded rows: a generator, in input order, that `embed` and `similarity` loop over.

A request goes out when it is full, or when the input has paused, so that it works under
`tail -f`. Over a network, requests overlap (`network_stream.py`); in this process there is nothing
to wait for, and no event loop is even imported.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tovec.pipeline.connect import complete
from tovec.pipeline.packing import Packer
from tovec.pipeline.reorder import Assembly, Finished, Prepared
from tovec.records import Answer, Block, Request

if TYPE_CHECKING:
    from tovec.pipeline.connect import Connection
    from tovec.pipeline.prepare import Preparation


class Embedder(Protocol):
    """What turns a request into vectors: `pipeline.dispatch.Dispatcher`."""

    async def embed(self, request: Request) -> Answer:
        """Return the answer to one request, after whatever retries and parts it takes."""
        ...


class Work(NamedTuple):
    """Blocks of rows on their way through an endpoint."""

    blocks: Iterator[Block]
    prepare: Callable[[Block], Prepared]
    packer: Packer
    embedder: Embedder
    assembly: Assembly
    keep_partial: bool = False  # whether the answered rows of a block not complete are kept


def embed_blocks(
    connection: Connection,
    blocks: Iterator[Block],
    preparation: Preparation,
    *,
    keep_partial: bool = False,
) -> Generator[Finished, None, None]:
    """Yield rows with their vectors, block by block, in input order.

    When something stops the run, every block that is answered whole is yielded before the error
    is raised, and with `keep_partial` the first rows of the next block, as far as they are
    answered. An input of which no row is embedded yields one block of no rows, which says what
    its fields are. Close the generator (contextlib.closing): where the loop over it fails, that
    ends the requests under way.
    """
    client = connection.client
    work = Work(
        blocks,
        preparation,
        Packer(lambda: client.limits),
        connection.dispatcher,
        Assembly(),
        keep_partial,
    )
    if connection.provider.in_process:
        yield from embed_here(work)
    else:
        from tovec.pipeline.network_stream import embed_over_network

        yield from embed_over_network(
            work,
            connection.background,
            connection.concurrency,
            takes_signals=connection.takes_signals,
        )
    connection.dispatcher.check_accepted()
    empty = work.assembly.empty(preparation.no_extra, connection.dimensions)
    if empty is not None:
        yield empty


def embed_here(work: Work) -> Iterator[Finished]:
    """Yield blocks as they come, from an embedder that never waits for anything."""
    for block in work.blocks:
        prepared = work.prepare(block)
        work.assembly.expect(prepared)
        # A request costs nothing here, so what a pipe has delivered is answered at once.
        for request in (*work.packer.add(prepared.inputs), *work.packer.flush()):
            answer = complete(work.embedder.embed(request))
            yield from work.assembly.fill(answer, len(request))
