"""A directory of parts is one file of vectors; files that cannot be one are refused by name."""

import json
import os
import resource
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.inside import run
from tests.servers.loopback import Loopback

from tovec.errors import InputError
from tovec.search.vector_files.open_vectors import open_stored
from tovec.search.vector_files.stored import all_blocks


def write(path, matrix, model="m", first=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"k{first + i}" for i in range(len(matrix))]
    match path.suffix:
        case ".npy":
            np.save(path, matrix)
            name = f"{path.name}.ids.jsonl"
            about = {"model": model, "rows": len(matrix), "dimensions": matrix.shape[1]}
            path.with_name(f"{path.name}.json").write_text(json.dumps({**about, "ids": name}))
            lines = "".join(json.dumps({"id": one}) + "\n" for one in ids)
            path.with_name(name).write_text(lines)
        case ".jsonl":
            rows = zip(ids, matrix.tolist(), strict=True)
            path.write_text(
                "".join(json.dumps({"id": one, "embedding": v}) + "\n" for one, v in rows)
            )
        case ".json":
            rows = zip(ids, matrix.tolist(), strict=True)
            path.write_text(json.dumps([{"id": one, "embedding": v} for one, v in rows], indent=1))
        case ending:
            column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
            table = pa.table({"id": ids, "embedding": column})
            table = table.replace_schema_metadata({"tovec.model": model})
            if ending == ".parquet":
                pq.write_table(table, path, row_group_size=7)
            else:
                with pa.ipc.new_file(path, table.schema) as writer:
                    writer.write(table)


ENDINGS = ["npy", "parquet", "jsonl", "json", "arrow"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_parts_are_read_as_one_file_in_their_order(tmp_path, ending):
    """#235"""
    matrix = np.random.default_rng(1).standard_normal((100, 4)).astype(np.float32)
    cuts = [0, 40, 40, 41, 100]
    for number, (start, end) in enumerate(pairwise(cuts)):
        write(tmp_path / f"part-{number}.{ending}", matrix[start:end], first=start)
    (tmp_path / "_SUCCESS").touch()
    stored = open_stored(str(tmp_path))
    assert (stored.rows, stored.dimensions) == (100, 4)
    assert stored.model == (None if ending.startswith("json") else "m")
    firsts, blocks = zip(*((at, block.copy()) for at, block in all_blocks(stored)), strict=True)
    assert list(firsts) == list(np.cumsum([0, *map(len, blocks)])[:-1])
    assert np.array_equal(np.concatenate(blocks), matrix)
    asked = [99, 0, 40, 41, 39, 40]
    assert stored.fields(asked) == [{"id": f"k{row}"} for row in asked]
    assert [stored.number(row) for row in asked] == asked


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_columns_of_directories_are_fields_of_their_rows(tmp_path, ending):
    """#236"""
    for k in (1, 2):
        write(tmp_path / f"k={k}" / f"p.{ending}", np.ones((2, 3), np.float32), first=k)
    stored = open_stored(str(tmp_path))
    assert [one["k"] for one in stored.fields(range(4))] == [1, 1, 2, 2]


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_there_may_be_more_parts_than_files_that_may_be_open(tmp_path, ending):
    """#235"""
    for number in range(60):
        write(tmp_path / f"{number:02}.{ending}", np.full((1, 2), number, np.float32))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        stored = open_stored(str(tmp_path))
        found = [float(block[0, 0]) for _, block in all_blocks(stored)]
        assert len(stored.fields(range(60))) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == list(map(float, range(60)))


A, B = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
MIXED = {
    "models": (lambda d: (write(d / "a.npy", A), write(d / "b.npy", A, "n")), "by n, those of"),
    "models of parquet": (
        lambda d: (write(d / "a.parquet", A), write(d / "b.parquet", A, "n")),
        "by n, those of",
    ),
    "dimensions": (lambda d: (write(d / "a.npy", A), write(d / "b.npy", B)), "has 4 dimensions"),
    "dimensions of json": (
        lambda d: (write(d / "a.jsonl", A), write(d / "b.jsonl", B)),
        "has 4 dimensions",
    ),
    "dimensions of arrow": (
        lambda d: (write(d / "a.arrow", A), write(d / "b.arrow", B)),
        "has 4 dimensions",
    ),
    "formats": (lambda d: (write(d / "a.npy", A), write(d / "b.parquet", A)), "several formats"),
    "texts": (
        lambda d: (write(d / "a.npy", A), (d / "b.jsonl").write_text('{"text":"x"}\n')),
        "but .*b.jsonl does not",
    ),
    "plain texts": (
        lambda d: (write(d / "a.jsonl", A), (d / "b.txt").write_text("x\n")),
        "but .*b.txt does not",
    ),
}


@pytest.mark.parametrize("case", MIXED)
def test_files_that_are_not_one_are_refused_by_name(tmp_path, case):
    """#235"""
    make, words = MIXED[case]
    make(tmp_path)
    with pytest.raises(InputError, match=words) as raised:
        open_stored(str(tmp_path))
    assert "b." in f"{raised.value.where} {raised.value.what}"
    assert open_stored(str(tmp_path), glob="a.*").rows == 2


def test_a_directory_of_texts_holds_no_vectors(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text":"x"}\n')
    (tmp_path / "b.parquet").touch()
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.json").write_text('["x"]')
    (tmp_path / "d.md").write_text("x")
    assert open_stored(str(tmp_path)) is None


@pytest.mark.parametrize("form", ["parquet", "npy", "jsonl"])
def test_a_search_of_parts_asks_for_the_query_alone(tmp_path, form):
    """#235: they were embedded again."""
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"row {i}\n" for i in range(30)))
    parts = tmp_path / "parts"
    with Loopback(dimensions=8) as server:
        model = ("--base-url", server.base_url, "-m", "m")
        options = ("--rows-per-file", 10, "--format", form)
        assert run("batch", rows, "-o", parts, *options, *model).code == 0
        assert len([path for path in parts.iterdir() if path.name.endswith(form)]) == 3
        before = len(server.ledger.entries)
        found = run("similarity", "row 21", "--in", parts, "-k", 1, "--format", "jsonl", *model)
        assert len(server.ledger.entries) == before + 1
        again = run(
            "similarity", "row 21", "--in", parts, "-k", 1, "--glob", "part-00002.*", *model
        )
    assert (found.code, again.code) == (0, 0), (found, again)
    hit = json.loads(found.out)
    assert hit["row"] == 21
    assert hit["score"] == pytest.approx(1.0, abs=1e-6)


def test_a_search_of_arrow_and_json_arrays_of_vectors_asks_for_the_query_alone(tmp_path):
    """#235"""
    matrix = np.eye(5, 8, dtype=np.float32)
    with Loopback(dimensions=8) as server:
        model = ("--base-url", server.base_url, "-m", "m")
        for ending in ("json", "arrow"):
            path = tmp_path / f"rows.{ending}"
            write(path, matrix)
            before = len(server.ledger.entries)
            assert run("similarity", "x", "--in", path, *model).code == 0
            assert len(server.ledger.entries) == before + 1
