"""Writing from the store: in order, a bounded number of blocks behind, nothing after an error."""

import threading
from typing import NamedTuple

import numpy as np
import pytest

from tovec.batch import write_behind
from tovec.batch.inputs import Inputs
from tovec.batch.job_run import JobRun
from tovec.batch.report import Report
from tovec.batch.write import stored_blocks
from tovec.batch.write_behind import WriteBehind
from tovec.errors import FileError, InputError
from tovec.events import ignore
from tovec.formats.protocols import ReadOptions
from tovec.pipeline.prepare import Preparation
from tovec.store.content_keys import keys_of
from tovec.store.job import Entry, Job

TEXTS = [f"text {i}" for i in range(20_000)]


class Taken:
    """An output that keeps what it is given, or fails at a block, or waits before the first."""

    def __init__(self, fails=None):
        self.blocks, self.fails, self.calls = [], fails, 0
        self.go = threading.Event()

    def write(self, finished):
        self.go.wait(30)
        self.calls += 1
        if self.calls == self.fails:
            raise FileError("the disk is full")
        self.blocks.append(finished.vectors)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(TEXTS))
    return path


@pytest.fixture
def job(tmp_path):
    job = Job(str(tmp_path / "job"), {"model": "m"})
    numbers = np.arange(2 * len(TEXTS), dtype=np.float32).reshape(-1, 2)
    job.keep([Entry(keys_of(TEXTS, job.digest), numbers)])
    yield job
    job.close()


class Known(NamedTuple):
    """What a run knows of the vectors."""

    dimensions: int = 2


def delivered(job, source, output):
    """Write the rows of a source; return how many had been written after each block."""
    inputs = Inputs((str(source),), ReadOptions(), job)
    inputs.settle(print)
    run = JobRun(None, Known(), job, inputs, Report(ignore))
    with WriteBehind(output) as behind:
        blocks = stored_blocks(run, Preparation(None, None), asked=True)
        written = [behind.write(finished) for finished in blocks]
        return [*written, behind.finish()]


def test_rows_are_written_in_order_and_counted(job, source):
    output = Taken()
    output.go.set()
    counted = delivered(job, source, output)
    assert len(output.blocks) > 3
    expected = np.arange(2 * len(TEXTS), dtype=np.float32).reshape(-1, 2)
    assert np.array_equal(np.concatenate(output.blocks), expected)
    assert sum(counted) == len(TEXTS)


@pytest.mark.parametrize(("name", "most"), [("MAX_BLOCKS_BEHIND", 2), ("MAX_BYTES_BEHIND", 1)])
def test_no_more_than_so_much_waits_to_be_written(job, source, monkeypatch, name, most):
    monkeypatch.setattr(write_behind, name, most)
    output, found = Taken(), []
    find = job.index.find

    def counted(keys):
        if len(found) == most + 1:  # so many wait: the next may be found, and no more
            output.go.set()
        found.append(len(keys))
        assert output.go.is_set() or len(found) <= most + 1
        return find(keys)

    monkeypatch.setattr(job.index, "find", counted)
    delivered(job, source, output)
    assert len(np.concatenate(output.blocks)) == len(TEXTS)


@pytest.mark.parametrize("fails", [1, 3])
def test_nothing_is_written_after_an_error(job, source, fails):
    output = Taken(fails)
    output.go.set()
    with pytest.raises(FileError, match="the disk is full"):
        delivered(job, source, output)
    assert len(output.blocks) == fails - 1


def test_a_text_that_is_not_stored_ends_it(job, source):
    source.write_text("\n".join([*TEXTS, "another"]))
    output = Taken()
    output.go.set()
    with pytest.raises(InputError, match="the input changed"):
        delivered(job, source, output)
