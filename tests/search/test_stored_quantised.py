"""Vectors stored as small integers and bits: each file says how to invert it, and is searched."""

import json

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.inside import run
from tests.servers.loopback import Loopback

from tovec import formats
from tovec.errors import InputError
from tovec.formats.protocols import VectorMeta, WriteOptions
from tovec.formats.quantised import as_bits, as_integers, shorten, unit_scale
from tovec.formats.rows import PlainRows
from tovec.search.hamming import hamming, search_bits
from tovec.search.metrics import Bound
from tovec.search.ranking import search
from tovec.search.vector_files.open_vectors import open_stored
from tovec.search.vector_files.stored import all_blocks

ROWS = 3000
KINDS = ("fixed", "plain")
ENDPOINT = "http://127.0.0.1:9"  # where nothing listens
FORMATS = ("parquet", "npy", "jsonl")
TEXTS = [f"{animal} {number}" for animal in ("cat", "dog", "whale") for number in range(20)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("quantised") / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


@pytest.fixture(scope="module")
def wide(texts):
    path = texts.parent / "wide.npy"
    assert run("embed", "-q", "-p", "local", "-f", texts, "-o", path).code == 0
    return path


def vectors_in(path):
    return np.concatenate([np.array(block) for _, block in all_blocks(open_stored(str(path)))])


def embed(texts, path, *more):
    done = run("embed", "-q", "-p", "local", "-f", texts, "-o", path, *more)
    assert done.code == 0, done.err
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_come_back_within_half_a_step(tmp_path, texts, wide, form, dtype):
    """#310: without a scale in the file they stand for nothing."""
    back = vectors_in(embed(texts, tmp_path / f"v.{form}", "--dtype", dtype))
    assert np.abs(back - np.load(wide)).max() <= 0.5 / 127 * 1.001


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
def test_bits_come_back_as_signs(tmp_path, texts, wide, form, dtype):
    """#311: read as numbers, a byte of eight dimensions would be one."""
    back = vectors_in(embed(texts, tmp_path / f"v.{form}", "--dtype", dtype))
    assert np.array_equal(back, np.where(np.load(wide) > 0, 1, -1))


@pytest.mark.parametrize("form", ["parquet", "npy"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_job_calibrates_each_dimension(tmp_path, texts, wide, form, dtype):
    """The two passes over the log see the same rows, truncated as they are written."""
    path = tmp_path / f"v.{form}"
    words = ("-p", "local", "--dtype", dtype, "--int8-scale", "dimension", "--truncate-dim", "64")
    assert run("batch", "-q", texts, "-o", path, *words).code == 0
    short = shorten(np.load(wide), 64)
    step = (short.max(0) - short.min(0)) / 255
    assert (np.abs(vectors_in(path) - short) <= step * 0.501 + 1e-6).all()
    assert open_stored(str(path)).truncated_from == 256


@pytest.mark.parametrize("dtype", ["int8", "uint8", "binary", "ubinary"])
def test_files_hold_the_types_that_other_tools_expect(tmp_path, texts, wide, dtype):
    """Names and bits as in sentence-transformers; Parquet lists are fixed in size."""
    vectors = np.load(wide)
    expected = (as_bits if "binary" in dtype else as_integers)(vectors, dtype)
    assert np.array_equal(np.load(embed(texts, tmp_path / "v.npy", "--dtype", dtype)), expected)
    table = pq.read_table(embed(texts, tmp_path / "v.parquet", "--dtype", dtype))
    kind = pa.from_numpy_dtype(expected.dtype)
    assert table.schema.field("embedding").type == pa.list_(kind, expected.shape[1])
    assert np.array_equal(np.array(table["embedding"].to_pylist()), expected)
    facts = table.schema.metadata
    assert (facts[b"tovec.dtype"], facts[b"tovec.dimensions"]) == (dtype.encode(), b"256")
    rows = embed(texts, tmp_path / "v.jsonl", "--dtype", dtype).read_text().splitlines()
    assert [json.loads(row)["embedding"] for row in rows] == expected.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "ubinary"])
def test_plain_lists_hold_the_same_vectors(tmp_path, texts, dtype):
    """For readers that know no lists of a fixed size; bits beside them are found as well."""
    words = ("--dtype", dtype, "--also", "ubinary", "--parquet-list")
    fixed, plain = (embed(texts, tmp_path / f"{one}.parquet", *words, one) for one in KINDS)
    one, other = (pq.read_table(path) for path in (fixed, plain))
    assert pa.types.is_list(other.schema.field("embedding").type)
    assert one["embedding"].to_pylist() == other["embedding"].to_pylist()
    assert one.schema.metadata == other.schema.metadata
    assert np.array_equal(vectors_in(fixed), vectors_in(plain))
    assert open_stored(str(plain)).has_bits


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_also_adds_a_column_of_bits(tmp_path, texts, wide, form):
    """It is no column of the row: results of a search do not show it."""
    path = embed(texts, tmp_path / f"v.{form}", "--also", "ubinary")
    assert np.array_equal(vectors_in(path), np.load(wide))
    expected = as_bits(np.load(wide), "ubinary").tolist()
    if form == "parquet":
        assert pq.read_table(path)["embedding_ubinary"].to_pylist() == expected
    else:
        lines = path.read_text().splitlines()
        assert [json.loads(line)["embedding_ubinary"] for line in lines] == expected
    done = run("similarity", "-p", "local", "cat 3", "--in", path, "--format", "jsonl", "-k", 1)
    assert json.loads(done.out).keys() == {"query", "rank", "score", "row", "index", "text"}


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_search_finds_the_text_itself_in_every_type(tmp_path, texts, dtype, form):
    """The query is embedded once, and turned to signs where the file holds bits."""
    path = embed(texts, tmp_path / f"v.{form}", "--dtype", dtype)
    done = run("similarity", "-p", "local", "whale 7", "--in", path, "--format", "jsonl", "-k", 1)
    found = json.loads(done.out)
    assert (found["row"], round(found["score"], 2)) == (47, 1.0), done.err


def test_a_search_truncates_its_query_as_the_file_was(tmp_path, texts):
    """The endpoint is asked for whole vectors, as it was for the rows."""
    path = embed(texts, tmp_path / "v.npy", "--truncate-dim", 64, "--dtype", "int8")
    done = run("similarity", "-p", "local", "dog 7", "--in", path, "--format", "jsonl", "-k", 1)
    assert json.loads(done.out)["row"] == 27


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_integers_of_which_nothing_is_known_are_refused(tmp_path, dtype, form):
    """#314: an int8 may be a scaled number or eight signs."""
    matrix = np.ones((3, 8), dtype)
    path = tmp_path / f"v.{form}"
    if form == "npy":
        np.save(path, matrix)
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 8)
        pq.write_table(pa.table({"embedding": column}), path)
    with pytest.raises(InputError, match="does not say what these stand for"):
        open_stored(str(path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "v.npy", "--also", "ubinary", "-d", "4"), "4 is not divisible by 8"),
        (("--dtype", "ubinary", "-d", "4"), "4 is not divisible by 8"),
        (("--parquet-list", "plain"), "--parquet-list is about Parquet"),
        (("--extra", "output_dtype=int8", "--base-url", ENDPOINT, "-m", "m"), "answer int8"),
        (
            ("--extra", 'embedding_types=["float","ubinary"]', "--base-url", ENDPOINT, "-m", "m"),
            "answer ubinary",
        ),
        (("--truncate-dim", "300"), "does not shorten vectors of 256"),
        (("--force-truncate",), "needs --truncate-dim"),
        (("--force-truncate", "--truncate-dim", "8"), "does nothing"),
        (("--truncate-dim", "2", "--base-url", ENDPOINT, "-m", "m"), "Matryoshka"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_asked(
    tmp_path, monkeypatch, texts, words, said
):
    """#313, #315, #318: a whole job would be paid for before its output is refused."""
    monkeypatch.chdir(tmp_path)
    endpoint = () if "--base-url" in words else ("-p", "local")
    done = run("embed", *endpoint, "-f", texts, *words)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "v.jsonl", "--dtype", "int8"), "cannot store the scale"),
        (("-o", "v.npy"), "not for float32"),
    ],
)
def test_a_scale_that_could_not_act_is_refused(tmp_path, monkeypatch, texts, words, said):
    """#315: an option that does nothing is not ignored."""
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--dry-run",)):
        done = run("batch", "-p", "local", texts, *words, "--int8-scale", "dimension", *more)
        assert (done.code, done.out) == (2, b"")
        assert said in done.err.decode()


def test_numbers_that_are_not_of_their_type_are_refused(tmp_path):
    """#314: a row of JSON says int8, and holds a fraction."""
    path = tmp_path / "v.jsonl"
    path.write_text('{"embedding_dtype":"int8","embedding":[1,0.5]}\n')
    with pytest.raises(InputError, match="not int8"):
        open_stored(str(path))


def test_a_side_file_without_a_scale_is_refused(tmp_path):
    """#310: 1/127 is a guess."""
    path = tmp_path / "v.npy"
    np.save(path, np.ones((2, 8), np.int8))
    about = {"dtype": "int8", "rows": 2, "dimensions": 8}
    (tmp_path / "v.npy.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="without a scale"):
        open_stored(str(path))
    about["quantisation"] = unit_scale("int8").as_json()
    (tmp_path / "v.npy.json").write_text(json.dumps(about))
    assert np.allclose(vectors_in(path), 1 / 127)


def test_a_kept_job_is_written_in_other_types_without_a_request(tmp_path, texts):
    """#190: the log keeps float32, and the type is the output's alone."""
    with Loopback(dimensions=32) as server:
        job = ("-m", "m", "--base-url", server.base_url, "--job-dir", tmp_path / "job")
        words = ("batch", "-q", texts, *job, "--keep-job", "-o")
        assert run(*words, tmp_path / "wide.npy").code == 0
        asked = len(server.ledger.entries)
        wide = np.load(tmp_path / "wide.npy")
        for name, more in {
            "ubinary.npy": ("--dtype", "ubinary"),
            "int8.parquet": ("--dtype", "int8", "--int8-scale", "dimension"),
            "short.npy": ("--truncate-dim", "16", "--force-truncate"),
        }.items():
            done = run(*words, tmp_path / name, *more)
            assert done.code == 0, done.err
        assert len(server.ledger.entries) == asked
    assert np.array_equal(np.load(tmp_path / "ubinary.npy"), as_bits(wide, "ubinary"))
    assert np.array_equal(np.load(tmp_path / "short.npy"), shorten(wide, 16))
    step = (wide.max(0) - wide.min(0)) / 255
    assert (np.abs(vectors_in(tmp_path / "int8.parquet") - wide) <= step * 0.501 + 1e-6).all()


def bits_of(rows, dimensions, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, dimensions // 8), np.uint8)


@pytest.mark.parametrize("dimensions", [8, 16, 24, 32, 64, 192, 256])
def test_hamming_distances_are_those_of_the_unpacked_bits(dimensions, monkeypatch):
    """Words of every width, and a numpy that cannot count bits."""
    rows, query = bits_of(300, dimensions), bits_of(1, dimensions, 1)[0]
    expected = (np.unpackbits(rows, axis=1) != np.unpackbits(query)).sum(axis=1)
    assert np.array_equal(hamming(rows, query), expected)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert np.array_equal(hamming(rows, query), expected)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_bits_are_ranked_as_their_signs_are(tmp_path, monkeypatch, metric, form):
    """#316: ties go to the row that comes first, whatever block and thread it is read in."""
    monkeypatch.setattr("tovec.search.vector_files.stored_matrix.SPAN_BYTES", 3000)
    monkeypatch.setattr("tovec.search.hamming.CHUNK_BYTES", 800)
    vectors = np.random.default_rng(3).standard_normal((ROWS, 32)).astype(np.float32)
    path = write(tmp_path / f"v.{form}", vectors, "ubinary")
    stored = open_stored(str(path))
    queries = np.where(vectors[:5] > 0, 1, -1).astype(np.float32)
    skip = np.array([0, 1, -1, -1, 4])
    fast = search_bits(stored, queries, metric, 20, skip=skip)
    exact = search(stored, queries, metric, k=20, skip=skip)
    for ours, theirs in zip(fast, exact, strict=True):
        assert np.array_equal(ours.rows, theirs.rows)
        assert np.allclose(ours.scores, theirs.scores)


def write(path, vectors, dtype, also=None):
    with path.open("w+b") as file:
        sink = Beside(path, file)
        meta = VectorMeta("m", "p", vectors.shape[1], dtype, "t")
        writer = formats.writer(path.suffix[1:], sink, meta, WriteOptions(also=also))
        rows = PlainRows(list(range(len(vectors))), ["t"] * len(vectors))
        writer.write(rows, {}, vectors)
        writer.finish()
        sink.close()
    return path


class Beside:
    seekable = True

    def __init__(self, path, file):
        self.name, self.file, self._path, self._others = path.name, file, path, []

    def beside(self, suffix):
        self._others.append(self._path.with_name(self.name + suffix).open("w+b"))
        return self._others[-1]

    def close(self):
        for file in self._others:
            file.close()


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_rescoring_all_rows_is_the_exact_search(tmp_path, metric, dtype, form):
    """With as many candidates as rows, nothing is missed, and scores are those of the vectors."""
    vectors = np.random.default_rng(4).standard_normal((200, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = open_stored(str(write(tmp_path / f"v.{form}", vectors, dtype, "ubinary")))
    assert stored.has_bits
    queries = vectors[:3]
    bound = Bound(least=0.1) if metric != "euclidean" else Bound(most=1.2)
    exact = search(stored, queries, metric, k=10, bound=bound)
    for multiple in (20, 1000):
        found = search_bits(stored, queries, metric, 10, multiple=multiple, bound=bound)
        for ours, theirs in zip(found, exact, strict=True):
            assert np.array_equal(ours.rows, theirs.rows)
            assert np.allclose(ours.scores, theirs.scores)


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_a_search_rescores_from_the_command_line(tmp_path, texts, form):
    """A .npy has its bits in a file beside it, also in a directory of parts."""
    one = embed(texts, tmp_path / f"v.{form}", "--also", "ubinary")
    parts = tmp_path / "parts"
    words = ("--rows-per-file", 25, "--format", form, "--also", "ubinary")
    assert run("batch", "-q", "-p", "local", texts, "-o", parts, *words).code == 0
    for path in (one, parts):
        words = ("similarity", "-p", "local", "whale 7", "--in", path, "--format", "jsonl")
        exact, fast = (run(*words, "-k", 3, *more) for more in ((), ("--rescore", 20)))
        assert (exact.code, fast.out) == (0, exact.out), fast.err


@pytest.mark.parametrize(
    ("dtype", "words", "said"),
    [
        ("float32", (), "the file stores none"),
        ("ubinary", (), "nothing but bits"),
        ("float32", ("--min", 0.5), "add -k N"),
        ("float32", ("--label-each",), "cannot be combined with"),
    ],
)
def test_rescoring_what_cannot_be_is_refused(tmp_path, texts, dtype, words, said):
    """#315: an option that does nothing is not ignored."""
    path = embed(texts, tmp_path / "v.npy", "--dtype", dtype)
    done = run("similarity", "-p", "local", "cat", "--in", path, "--rescore", 4, *words)
    assert done.code == 2
    assert said in done.err.decode()


def test_bits_of_another_matrix_beside_it_are_refused(tmp_path):
    """#317: candidates would be rows of other vectors."""
    vectors = np.random.default_rng(4).standard_normal((20, 32)).astype(np.float32)
    path = write(tmp_path / "v.npy", vectors, "float32", "ubinary")
    np.save(tmp_path / "v.npy.ubinary.npy", as_bits(vectors[:19], "ubinary"))
    with pytest.raises(InputError, match="same vectors as bits"):
        open_stored(str(path))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_other_engines_read_every_type(tmp_path, texts, dtype):
    """DuckDB, polars and pandas: delta packing and small integers are theirs to read."""
    path = embed(texts, tmp_path / "v.parquet", "--dtype", dtype)
    expected = pq.read_table(path)["embedding"].to_pylist()
    query = f"select embedding from '{path}'"
    assert [list(row[0]) for row in duckdb.sql(query).fetchall()] == expected
    assert [list(row) for row in polars.read_parquet(path)["embedding"]] == expected
    assert [list(row) for row in pandas.read_parquet(path)["embedding"]] == expected
