"""Writing from the store: in order, a bounded number of blocks behind, nothing after an error."""

import threading

import numpy as np
import pytest

from tovec import formats
from tovec.batch import write as delivering
from tovec.batch.write import Rejects, deliver
from tovec.errors import FileError, InputError
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


def delivered(job, source, output, on_rows=lambda _count: None):
    def never():
        raise AssertionError("nothing is rejected")

    blocks = formats.read((str(source),), ReadOptions())
    deliver(blocks, Preparation(None, None), job, output, Rejects(never), on_rows, 2, {})


def test_rows_are_written_in_order_and_counted(job, source):
    output, counted = Taken(), []
    output.go.set()
    delivered(job, source, output, counted.append)
    assert len(output.blocks) > 3
    expected = np.arange(2 * len(TEXTS), dtype=np.float32).reshape(-1, 2)
    assert np.array_equal(np.concatenate(output.blocks), expected)
    assert counted == [len(block) for block in output.blocks]


@pytest.mark.parametrize(("name", "most"), [("BEHIND", 2), ("BEHIND_BYTES", 1)])
def test_no_more_than_so_much_waits_to_be_written(job, source, monkeypatch, name, most):
    monkeypatch.setattr(delivering, name, most)
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
