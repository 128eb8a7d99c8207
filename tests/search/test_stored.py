"""Stored vectors come back as they were written, by tovec or by others, in blocks."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tovec.errors import InputError, TovecError
from tovec.search.corpus import all_fields
from tovec.search.vector_files import stored_matrix
from tovec.search.vector_files.open_vectors import open_stored
from tovec.search.vector_files.stored import all_blocks


def matrix_of(count=100, dimensions=6, dtype=np.float32):
    return np.random.default_rng(count).standard_normal((count, dimensions)).astype(dtype)


def read(path):
    found = open_stored(str(path))
    blocks = [(first, np.array(block)) for first, block in all_blocks(found)]
    assert [first for first, _ in blocks] == list(np.cumsum([0, *(len(b) for _, b in blocks)])[:-1])
    return found, np.concatenate([block for _, block in blocks])


def parquet(path, column, **more):
    pq.write_table(
        pa.table({"id": [f"k{i}" for i in range(len(column))], "embedding": column}), path, **more
    )
    return path


def fixed(matrix):
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


@pytest.fixture(params=[1 << 30, 100])
def _small_blocks(request, monkeypatch):
    """Whole files in one block, and files of many spans and blocks."""
    monkeypatch.setattr(stored_matrix, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(stored_matrix, "SPAN_BYTES", request.param * 3)
    monkeypatch.setattr("tovec.search.vector_files.stored_parquet.BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_npy_in_any_float_type(tmp_path, dtype):
    matrix = matrix_of(dtype=dtype)
    np.save(tmp_path / "m.npy", matrix)
    found, back = read(tmp_path / "m.npy")
    assert (found.rows, found.dimensions, found.model) == (100, 6, None)
    assert back.dtype == np.float32
    assert np.array_equal(back, matrix.astype(np.float32))
    assert found.fields([0, 99]) == [{}, {}]


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("groups", [7, 1000])
@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
def test_parquet_in_any_list_of_floats(tmp_path, dtype, groups, kind):
    matrix = matrix_of(dtype=dtype)
    column = fixed(matrix)
    if kind != "fixed":
        make = pa.list_ if kind == "list" else pa.large_list
        column = column.cast(make(column.type.value_type))
    path = parquet(tmp_path / "m.parquet", column, row_group_size=groups)
    found, back = read(path)
    assert (found.rows, found.dimensions, found.model) == (100, 6, None)
    assert np.array_equal(back, matrix.astype(np.float32))
    assert found.fields([99, 3, 50]) == [{"id": "k99"}, {"id": "k3"}, {"id": "k50"}]


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("name", ["o.npy", "o.parquet", "o.jsonl"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_embed_writes_comes_back_with_its_rows_and_its_model(
    tovec, jsonl, tmp_path, name, dtype
):
    source = jsonl([{"id": f"k{i}", "text": f"row {i}", "n": [i]} for i in range(40)])
    reference = tmp_path / "reference.npy"
    for target in (reference, tmp_path / name):
        options = ["-f", source, "-o", target, "--id-field", "id", "--dtype", dtype, "-d", 64]
        tovec("embed", "-p", "local", *options)
    found, back = read(tmp_path / name)
    assert np.array_equal(back, np.load(reference).astype(np.float32))
    whole = [{"id": f"k{i}", "text": f"row {i}", "n": [i]} for i in (39, 0)]
    if name.endswith("npy"):
        whole = [{"index": i, "id": f"k{i}"} for i in (39, 0)]
    assert found.fields([39, 0]) == whole
    if not name.endswith("jsonl"):
        assert (found.model, found.provider) == ("static-minilm-256", "local")


def test_files_of_texts_are_no_stored_vectors(tmp_path, jsonl):
    assert open_stored(str(jsonl([{"text": "x"}]))) is None
    assert open_stored(str(tmp_path / "any.txt")) is None
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "t.parquet")
    assert open_stored(str(tmp_path / "t.parquet")) is None


def test_empty_files_have_no_rows(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((0, 4), np.float32))
    parquet(tmp_path / "m.parquet", fixed(matrix_of(3))[:0])
    for name in ("m.npy", "m.parquet"):
        found = open_stored(str(tmp_path / name))
        assert (found.rows, list(all_blocks(found))) == (0, [])


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def side(path, **about):
    np.save(path, matrix_of())
    path.with_name(path.name + ".json").write_text(json.dumps(about))


NPY = {
    "it is shorter": (lambda p: (np.save(p, matrix_of()), cut(p)), "shorter than its header"),
    "no magic": (lambda p: p.write_bytes(b"text"), "not a .npy file"),
    "a vector": (lambda p: np.save(p, np.zeros(5, np.float32)), "rows of floats"),
    "integers": (lambda p: np.save(p, np.ones((5, 5), np.int8)), "int8"),
    "objects": (lambda p: np.save(p, np.array([[None]])), "object"),
    "columns": (lambda p: np.save(p, np.asfortranarray(matrix_of())), "columns are stored"),
    "another's side file": (lambda p: side(p, rows=3, dimensions=6), "does not match m.npy"),
    "a directory": (lambda p: p.mkdir(), "directory"),
    "nothing": (lambda p: None, "no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPY)
def test_a_matrix_that_cannot_be_used_is_said_to_be_so(tmp_path, case):
    make, words = NPY[case]
    make(tmp_path / "m.npy")
    with pytest.raises(InputError, match=words) as raised:
        open_stored(str(tmp_path / "m.npy"))
    assert "m.npy" in raised.value.where


@pytest.mark.parametrize(
    "told", [None, [], [1.0], [1.0, "2"], [2.0, 1.0], [0.0, 1.0], [1, 1], "1.0", [1.0, None]]
)
def test_lengths_that_say_nothing_are_not_known(tmp_path, told):
    side(tmp_path / "m.npy", rows=100, dimensions=6, lengths=told)
    assert open_stored(str(tmp_path / "m.npy")).lengths is None


def test_lengths_are_known_until_the_matrix_is_written_again(tmp_path):
    path = tmp_path / "m.npy"
    side(path, rows=100, dimensions=6, lengths=[0.5, 2.0])
    assert open_stored(str(path)).lengths == (0.5, 2.0)
    written = path.with_name("m.npy.json").stat().st_mtime_ns
    os.utime(path, ns=(written + 1, written + 1))
    assert open_stored(str(path)).lengths is None


def test_an_ids_file_of_other_rows_is_refused(tmp_path):
    side(tmp_path / "m.npy", rows=100, dimensions=6, model="m", ids="m.npy.ids.jsonl")
    found = open_stored(str(tmp_path / "m.npy"))
    with pytest.raises(InputError, match="is not there"):
        found.fields([0])
    (tmp_path / "m.npy.ids.jsonl").write_text('{"index":0}\n')
    with pytest.raises(InputError, match="the ids file has 1 line, but the matrix has 100 rows"):
        found.fields([0])


LISTS = {
    "null": ([[1.0, 2], None, [3, 4]], "null", "row 1"),
    "a null inside": ([[1.0, 2], [3, None], [3, 4]], "null", "row 1"),
    "another length": ([[1.0, 2], [3, 4], [3, 4, 5]], "has 3 dimensions", "row 2"),
    "empty": ([[], [3.0, 4]], "no embedding", "row 0"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_parquet_row_without_a_usable_vector_is_named(tmp_path, case):
    lists, words, where = LISTS[case]
    path = parquet(tmp_path / "m.parquet", pa.array(lists, pa.list_(pa.float32())))
    with pytest.raises(InputError, match=words) as raised:
        read(path)
    assert where in raised.value.where


def test_a_parquet_file_that_is_none_or_holds_texts_as_embedding(tmp_path):
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        open_stored(str(tmp_path / "m.parquet"))
    parquet(tmp_path / "s.parquet", pa.array(["x"]))
    with pytest.raises(InputError, match="not a list of floats"):
        open_stored(str(tmp_path / "s.parquet"))
    with pytest.raises(InputError, match="no such file"):
        open_stored(str(tmp_path / "none.parquet"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"embedding": [1.0]}', "has 1 dimension, those before it 2"),
        ('{"embedding": [1.0, null]}', "holds null at 1"),
        ('{"embedding": [1.0, "x"]}', 'holds "x" at 1'),
        ('{"embedding": 5}', "no embedding"),
        ('{"text": "x"}', "no embedding"),
        ("[1]", "no object"),
        ("{", "not JSON"),
    ],
)
def test_a_json_row_without_a_usable_vector_is_named(tmp_path, line, words):
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"embedding": [1, 2.5]}}\n\n{line}\n')
    with pytest.raises(InputError, match=words) as raised:
        open_stored(str(path))
    assert raised.value.where == f"{path}, line 3"


# Tampered files ---------------------------------------------------------------------------------

value = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = ["rows", "dimensions", "model", "provider", "ids", "lengths", "dtype", "tool"]
HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"


def whole(header: bytes) -> bytes:
    length = len(header).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + length + header + np.ones((3, 2), np.float32).tobytes()


def used(path) -> None:
    """Read everything of a matrix, as a search does; raises only what a user can act on."""
    try:
        found = open_stored(str(path))
        assert sum(len(block) for _, block in all_blocks(found)) == found.rows
        list(all_fields(found))
    except TovecError as error:
        assert error.what
        assert "m.npy" in error.where


@given(
    st.dictionaries(st.sampled_from(NAMES), value, max_size=4),
    st.one_of(st.none(), st.binary(max_size=30), st.lists(value, max_size=4)),
)
@example({"model": 5}, None)
@example({}, b'{"id":1}\n\xff\n{}\n')
@example({}, b"{}\n\n{}\n")
@example({}, b"{}\n[]\n5\n")
@example({"ids": "/etc/passwd"}, None)
@example({"ids": "../m.npy"}, None)
@example({"ids": "/dev/zero"}, None)
@example({"ids": ""}, None)
@example({"lengths": [1e300, 1e308]}, None)
def test_a_side_file_or_ids_of_any_content_give_rows_or_an_error(tmp_path_factory, changes, ids):
    """#237"""
    path = tmp_path_factory.mktemp("tampered") / "m.npy"
    np.save(path, np.ones((3, 2), np.float32))
    about = {"model": "m", "rows": 3, "dimensions": 2, "ids": "m.npy.ids.jsonl", **changes}
    path.with_name("m.npy.json").write_text(json.dumps(about))
    if isinstance(ids, list):
        ids = "\n".join(map(json.dumps, ids)).encode()
    if ids is not None:
        path.with_name("m.npy.ids.jsonl").write_bytes(ids)
    used(path)


@given(
    st.one_of(
        st.binary(max_size=80).map(whole),
        st.binary(max_size=20),
        st.tuples(st.integers(), st.integers(), st.sampled_from(["f4", "f8", "i4", "O", "V0"])).map(
            lambda one: whole(
                b"{'descr': '<%s', 'fortran_order': False, 'shape': (%d, %d), }"
                % (one[2].encode(), one[0], one[1])
            )
        ),
        st.tuples(st.integers(0, len(whole(HEADER)) - 1), st.integers(0, 255)).map(
            lambda one: whole(HEADER)[: one[0]] + bytes([one[1]]) + whole(HEADER)[one[0] + 1 :]
        ),
    )
)
@example(whole(HEADER.replace(b"(3, 2)", b"(-3, 256)")))
@example(whole(HEADER.replace(b"(3, 2)", b"(0, 10**30)")))
@example(whole(HEADER.replace(b"(3, 2)", b"(0, 1000000000000000000000000)")))
@example(whole(HEADER.replace(b"(3, 2)", b"(9223372036854775807, 9223372036854775807)")))
@example(whole(HEADER.replace(b"<f4", b"<f16")))
@example(whole(HEADER.replace(b"'<f4'", b"[('a', '<f4')]")))
@example(whole(b"(" * 60))
@example(whole(b"'" * 5))
def test_a_matrix_of_any_header_gives_rows_or_an_error(tmp_path_factory, data):
    """#237"""
    path = tmp_path_factory.mktemp("tampered") / "m.npy"
    path.write_bytes(data)
    used(path)


def test_ids_are_read_from_a_plain_file_beside_the_matrix_alone(tmp_path):
    """#237: whoever makes the side file must not have another file of the user's read."""
    (tmp_path / "secret.jsonl").write_text('{"id":"secret"}\n' * 100)
    place = tmp_path / "in"
    place.mkdir()
    os.mkfifo(place / "fifo")
    (place / "out").symlink_to(tmp_path / "secret.jsonl")
    (place / "zero").symlink_to("/dev/zero")
    (place / "within").symlink_to("plain")
    (place / "plain").write_text('{"id":"mine"}\n' * 100)
    for ids in (str(tmp_path / "secret.jsonl"), "../secret.jsonl", "./out", "out", "fifo", "zero"):
        side(place / "m.npy", rows=100, dimensions=6, ids=ids)
        with pytest.raises(InputError):
            open_stored(str(place / "m.npy")).fields([0])
    for ids in ("plain", "within"):
        side(place / "m.npy", rows=100, dimensions=6, ids=ids)
        assert open_stored(str(place / "m.npy")).fields([0]) == [{"id": "mine"}]


def test_a_side_file_that_never_ends_is_refused(tmp_path):
    """#237"""
    np.save(tmp_path / "m.npy", matrix_of())
    (tmp_path / "m.npy.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="this is a device"):
        open_stored(str(tmp_path / "m.npy"))
    (tmp_path / "m.npy.json").unlink()
    os.mkfifo(tmp_path / "m.npy.json")
    with pytest.raises(InputError, match="this is a pipe"):
        open_stored(str(tmp_path / "m.npy"))


@pytest.mark.parametrize("name", ["0", "gone.jsonl", "x" * 300])
def test_a_file_of_ids_that_is_not_there_is_named_with_its_side_file(tmp_path, name):
    """The side file is what is wrong, or what was copied without it."""
    path = tmp_path / "m.npy"
    path.write_bytes(whole(HEADER))
    (tmp_path / "m.npy.json").write_text(json.dumps({"rows": 3, "dimensions": 2, "ids": name}))
    with pytest.raises(InputError, match="is not there") as raised:
        list(all_fields(open_stored(str(path))))
    assert raised.value.where == f"{path}.json"
