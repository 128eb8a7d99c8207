"""`tovec similarity --in FILE` as a user runs it: ranking, recommending, labelling."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.inside import run
from tests.cli.test_embed import imported_by, local_vectors, on_a_terminal
from tests.servers.loopback import Loopback, vectors_for

from tovec.search import metrics

TEXTS = [
    "a cat sleeps on the sofa",
    "the dog chases a ball",
    "shares fell on the stock market",
    "the bank raised interest rates",
    "a kitten plays with wool",
    "rain is expected tomorrow",
]
QUERY = "a small cat"


@pytest.fixture
def rows(jsonl) -> Path:
    return jsonl([{"id": f"n{i}", "text": text} for i, text in enumerate(TEXTS)], "texts.jsonl")


@pytest.fixture
def corpus(tovec, rows, tmp_path):
    """Store the rows' vectors under a name; give its path."""

    def store(name: str, *options: object) -> Path:
        path = tmp_path / name
        done = tovec("embed", "-p", "local", "-f", rows, "-o", path, "--id-field", "id", *options)
        assert done.returncode == 0, done.stderr
        return path

    return store


def expected(query: str, metric: str = "cosine") -> list[tuple[int, float]]:
    vectors = local_vectors(query, *TEXTS)
    scores = metrics.pairwise(metric, np.repeat(vectors[:1], len(TEXTS), 0), vectors[1:])
    order = np.argsort(scores if metric == "euclidean" else -scores, kind="stable")
    return [(int(i), round(float(scores[i]), 6)) for i in order]


def found(done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# Ranking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts.jsonl", "v.npy", "v.parquet", "v.jsonl"])
@pytest.mark.parametrize("metric", metrics.METRICS)
def test_rows_are_ranked_whatever_they_are_stored_in(tovec, rows, corpus, name, metric):
    path = rows if name == "texts.jsonl" else corpus(name)
    # npy and Parquet say themselves which model made them.
    options = ["-p", "local"] if name.endswith("jsonl") else []
    done = tovec(
        *("similarity", QUERY, "--in", path, "--metric", metric, "--format", "jsonl", "-k", 4),
        *options,
    )
    ranked = found(done)
    assert [(row["row"], row["score"]) for row in ranked] == expected(QUERY, metric)[:4]
    assert [row["rank"] for row in ranked] == [1, 2, 3, 4]
    assert [row["id"] for row in ranked] == [f"n{row['row']}" for row in ranked]
    if name != "v.npy":
        assert [row["text"] for row in ranked] == [TEXTS[row["row"]] for row in ranked]
    assert all("embedding" not in row for row in ranked)


def test_lines_are_numbered_as_they_stand_and_come_from_stdin(tovec):
    done = tovec("similarity", QUERY, "--in", "-", "-p", "local", input="\n".join(["", *TEXTS]))
    header, *lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert header == ["query", "rank", "score", "row", "text"]
    assert lines == [
        [QUERY, str(rank), f"{score:.6f}", str(row + 1), TEXTS[row]]
        for rank, (row, score) in enumerate(expected(QUERY), 1)
    ]
    assert b"1 blank line was skipped" in done.stderr


def test_queries_come_from_stdin_and_files_and_many_at_once(tovec, corpus, tmp_path):
    path = corpus("v.npy")
    (tmp_path / "q.txt").write_text("stocks\nweather\n")
    options = ["--in", path, "-k", 1, "--format", "jsonl"]
    piped = found(tovec("similarity", *options, input="stocks\nweather\n"))
    named = found(tovec("similarity", "-f", tmp_path / "q.txt", *options))
    assert piped == named
    assert [(row["query"], row["row"]) for row in piped] == [
        (query, expected(query)[0][0]) for query in ("stocks", "weather")
    ]


def test_a_bound_gives_all_that_pass_and_exit_1_when_none_does(tovec, corpus):
    path = corpus("v.parquet")
    bound = expected(QUERY)[2][1]
    some = tovec("similarity", QUERY, "--in", path, "--min", bound, "--format", "jsonl")
    assert [row["row"] for row in found(some)] == [row for row, _ in expected(QUERY)[:3]]
    none = tovec("similarity", QUERY, "--in", path, "--min", "0.99")
    assert (none.returncode, none.stdout, none.stderr) == (1, b"", b"")
    quiet = tovec("similarity", "-q", QUERY, "--in", path, "--min", bound)
    assert (quiet.returncode, quiet.stdout) == (0, b"")


def test_columns_are_chosen_and_a_column_named_as_ours_is_kept_apart(tovec, jsonl):
    path = jsonl([{"text": t, "score": i, "extra": {"n": i}} for i, t in enumerate(TEXTS)])
    options = ["similarity", QUERY, "--in", path, "-p", "local", "-k", 1, "--format", "jsonl"]
    best, score = expected(QUERY)[0]
    every = {"text": TEXTS[best], "row_score": best, "extra": {"n": best}}
    lead = {"query": QUERY, "rank": 1, "score": score, "row": best}
    assert found(tovec(*options)) == [lead | every]
    assert found(tovec(*options, "--columns", "extra")) == [lead | {"extra": {"n": best}}]
    wrong = tovec(*options, "--columns", "extar")
    assert wrong.returncode == 6 and b"did you mean extra?" in wrong.stderr


def test_results_as_json_are_one_array_also_when_empty(tovec, corpus):
    path = corpus("v.npy")
    options = ["--in", path, "--format", "json"]
    assert len(json.loads(tovec("similarity", QUERY, *options).stdout)) == len(TEXTS)
    assert json.loads(tovec("similarity", QUERY, *options, "--min", 1).stdout) == []


def test_hits_of_a_matrix_say_once_why_they_have_no_texts(corpus, tmp_path):
    """#261: a .npy holds vectors and ids; empty columns without a word look like a failure."""
    path, parts = corpus("v.npy"), tmp_path / "parts"
    parts.mkdir()
    corpus("parts/a.npy")
    words = b" stores no texts: results have the rows' numbers and ids; .parquet and .jsonl keep"
    for where in (path, parts):
        for mode in ((QUERY, "rain"), ("a", "--label-each"), ("--pairs",), ("--outliers",),
                     ("--clusters", 2)):  # fmt: skip
            done = run("similarity", *mode, "--in", where)
            assert done.code == 0
            assert done.err.count(str(where).encode() + words) == 1
    for quiet in (("--diversity",), (QUERY, "--columns", "id"), (QUERY, "-q"), (QUERY, "--min", 1)):
        assert run("similarity", *quiet, "--in", path).err == b""
    for name in ("v.parquet", "v.jsonl"):
        assert run("similarity", QUERY, "--in", corpus(name), "-p", "local").err == b""


def test_float16_is_searched_as_it_is_stored(tovec, corpus):
    path = corpus("h.npy", "--dtype", "float16")
    ranked = found(tovec("similarity", QUERY, "--in", path, "--format", "jsonl"))
    stored = np.load(path).astype(np.float32)
    scores = metrics.pairwise("cosine", np.repeat(local_vectors(QUERY), len(TEXTS), 0), stored)
    assert len(ranked) == len(TEXTS)
    assert all(row["score"] == round(float(scores[row["row"]]), 6) for row in ranked)


def test_a_corpus_of_texts_and_its_query_go_to_an_endpoint_together(tovec, rows):
    with Loopback(dimensions=32) as server:
        options = ["--base-url", server.base_url, "-m", "m", "--format", "jsonl"]
        ranked = found(tovec("similarity", TEXTS[3], "--in", rows, *options))
        assert len(server.ledger.entries) == 1
    assert (ranked[0]["row"], ranked[0]["score"]) == (3, 1.0)


# Models do not mix ------------------------------------------------------------------------------


def test_the_query_is_embedded_with_the_files_model_and_dimensions(tovec, corpus):
    path = corpus("v.npy", "-d", 64)
    # The provider that a key or the environment would choose does not count: the file's does.
    env = {"OPENAI_API_KEY": "sk-none", "TOVEC_PROVIDER": "openai"}
    ranked = found(tovec("similarity", TEXTS[2], "--in", path, "--format", "jsonl", env=env))
    assert (ranked[0]["row"], ranked[0]["score"]) == (2, 1.0)


def test_another_model_or_other_dimensions_are_refused_before_anything_is_sent(tovec, corpus):
    path = corpus("v.parquet")
    with Loopback(dimensions=256) as server:
        there = ["--base-url", server.base_url]
        model = tovec("similarity", QUERY, "--in", path, *there, "-m", "other")
        short = tovec("similarity", QUERY, "--in", path, "-d", 128)
        assert server.ledger.entries == []
    assert (model.returncode, short.returncode) == (2, 2)
    assert b"made by static-minilm-256, not by other" in model.stderr
    assert b"have 256 dimensions, not 128" in short.stderr


def test_a_file_that_names_no_model_needs_it_named(tovec, tmp_path):
    matrix = vectors_for(TEXTS, 48)
    np.save(tmp_path / "foreign.npy", matrix)
    with Loopback(dimensions=48) as server:
        there = ["--base-url", server.base_url, "-m", "m"]
        env = {"OPENAI_API_KEY": "sk-none"}
        unnamed = tovec("similarity", "x", "--in", tmp_path / "foreign.npy", env=env)
        named = tovec("similarity", TEXTS[1], "--in", tmp_path / "foreign.npy", *there)
    assert (unnamed.returncode, unnamed.stdout) == (2, b"")
    assert b"does not say which model" in unnamed.stderr
    assert named.stdout.splitlines()[1] == f"{TEXTS[1]}\t1\t1.000000\t1".encode()


def test_vectors_of_other_dimensions_than_the_models_are_not_compared(tovec, tmp_path):
    np.save(tmp_path / "m.npy", np.ones((3, 100), np.float32))
    done = tovec("similarity", "x", "--in", tmp_path / "m.npy", "-p", "local")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"256 dimensions, the stored vectors have 100" in done.stderr


@pytest.mark.parametrize(("bad", "words"), [(0, b"all zeros"), (np.nan, b"NaN")])
def test_a_stored_vector_that_cannot_be_compared_is_named(tovec, tmp_path, bad, words):
    matrix = np.ones((50, 256), np.float32)
    matrix[17] = bad
    np.save(tmp_path / "m.npy", matrix)
    for options in (["x", "-p", "local"], ["x", "-p", "local", "--label-each"], ["--like", "3"]):
        done = tovec("similarity", "--in", tmp_path / "m.npy", *options)
        assert done.returncode == 6
        assert words in done.stderr and b"row 17 (from 0)" in done.stderr


# Recommendations and classification ------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts.jsonl", "v.npy", "v.parquet", "v.jsonl"])
def test_rows_like_another_are_found_without_an_endpoint(tovec, rows, corpus, name):
    path = rows if name == "texts.jsonl" else corpus(name)
    options = ["-p", "local"] if name == "texts.jsonl" else []
    done = tovec("similarity", "--in", path, "--like", "n0", "--format", "jsonl", *options)
    ranked = found(done)
    assert ranked[0]["query"] == "n0"
    assert [(r["row"], r["score"]) for r in ranked] == expected(TEXTS[0])[1:]


def test_a_row_is_named_by_its_number_where_rows_have_no_id(tovec, tmp_path):
    (tmp_path / "t.txt").write_text("\n" + "\n".join(TEXTS))
    options = ["--in", tmp_path / "t.txt", "-p", "local", "--format", "jsonl", "-k", 1]
    (best,) = found(tovec("similarity", "--like", 1, *options))
    assert best["row"] == expected(TEXTS[0])[1][0] + 1
    missing = tovec("similarity", "--like", 0, *options)
    assert missing.returncode == 2 and b"there is no row '0'" in missing.stderr


def test_an_id_that_is_not_there_or_not_alone_is_refused(tovec, jsonl):
    path = jsonl([{"id": i // 2, "text": text} for i, text in enumerate(TEXTS)])
    for name, words in (("9", b"no row has the id '9'"), ("1", b"2 rows have the id '1'")):
        done = tovec("similarity", "--like", name, "--in", path, "-p", "local")
        assert done.returncode == 2 and words in done.stderr


@pytest.mark.parametrize("name", ["texts.jsonl", "v.parquet"])
@pytest.mark.parametrize("metric", metrics.METRICS)
def test_each_row_gets_the_nearest_label(tovec, rows, corpus, name, metric):
    path = rows if name == "texts.jsonl" else corpus(name)
    labels = ["pets", "money and banks", "the weather"]
    options = ["--label-each", "--in", path, "-p", "local", "--metric", metric]
    labelled = found(tovec("similarity", *labels, *options, "--format", "jsonl"))
    scores = metrics.matrix(metric, local_vectors(*TEXTS), local_vectors(*labels))
    best = scores.argmin(1) if metric == "euclidean" else scores.argmax(1)
    assert [row["row"] for row in labelled] == list(range(len(TEXTS)))
    assert [row["label"] for row in labelled] == [labels[i] for i in best]
    assert np.abs(np.array([r["score"] for r in labelled]) - scores[range(6), best]).max() <= 1e-6
    assert [row["text"] for row in labelled] == TEXTS


def test_labels_come_as_lines_while_the_input_stays_open():
    import subprocess

    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "tovec", "similarity", "cats", "money"),
            *("--label-each", "--in", "-", "-p", "local", "--format", "jsonl"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        for text, label in (("a kitten", "cats"), ("a bank account", "money")):
            program.stdin.write(text.encode() + b"\n")
            program.stdin.flush()
            assert json.loads(program.stdout.readline())["label"] == label
        program.stdin.close()
    assert program.returncode == 0


# The shell --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_on_a_terminal_fits_and_shows_id_and_text(tovec, jsonl, columns):
    path = jsonl(
        [{"id": i, "text": f"{t} \x1b[31m 東京" * 5, "more": 1} for i, t in enumerate(TEXTS)]
    )
    shown = on_a_terminal("similarity", QUERY, "--in", str(path), "-p", "local", columns=columns)
    from rich.cells import cell_len

    lines = shown.splitlines()
    assert lines[0].split() == ["rank", "score", "row", "id", "text"]
    assert len(lines) == 7 and all(cell_len(line) <= columns for line in lines)
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", ["c.npy", "c.parquet", "c.jsonl", "c.txt"])
@pytest.mark.parametrize("damage", ["missing", "unreadable", "garbage"])
def test_a_corpus_that_cannot_be_read_is_no_answer(tovec, tmp_path, name, damage):
    path = tmp_path / name
    if damage == "unreadable":
        path.mkdir()
    elif damage == "garbage":
        path.write_bytes(b"\xff\xfe not text \x00\n")
    done = tovec("similarity", "-q", "x", "--in", path, "-p", "local", "--min", "0")
    assert (done.returncode, done.stdout) == (6, b"")
    assert name.encode() in done.stderr and len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "-k", "3"], b"--in FILE"),
        (["x", "--label-each"], b"--in FILE"),
        (["--in", "FILE"], b"no text to compare"),
        (["--in", "FILE", "--label-each"], b"no text to compare"),
        (["x", "--in", "FILE", "-k", "0"], b"-k"),
    ],
)
def test_options_that_make_no_sense_are_said_to_be_so(tovec, corpus, arguments, words):
    path = corpus("v.npy")
    done = tovec("similarity", *[path if one == "FILE" else one for one in arguments])
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr


def test_rows_without_text_are_left_out_and_make_a_no_uncertain(tovec, jsonl):
    path = jsonl([{"text": TEXTS[0]}, {"text": " "}])
    options = ["--in", path, "-p", "local"]
    assert tovec("similarity", "cat", *options).returncode == 3
    assert tovec("similarity", "cat", *options, "--min", "0.2").returncode == 0
    done = tovec("similarity", "cat", *options, "--min", "0.99")
    assert done.returncode == 3 and b"1 row was left out" in done.stderr


def test_an_empty_corpus_has_no_hits(tovec, tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((0, 256), np.float32))
    (tmp_path / "t.txt").write_text("")
    for name in ("m.npy", "t.txt"):
        options = ["--in", tmp_path / name, "-p", "local"]
        assert tovec("similarity", "x", *options).stdout == b""
        assert tovec("similarity", "x", *options, "--min", "0").returncode == 1


def test_a_search_of_npy_loads_neither_network_nor_parquet(corpus):
    found = imported_by("similarity", "x", "--in", str(corpus("v.npy")))
    assert not found & {"httpx", "asyncio", "pyarrow", "tiktoken", "pydantic", "rich", "ssl"}


def test_temporary_files_are_gone_when_it_ends(tovec, rows, tmp_path):
    (tmp_path / "tmp").mkdir()
    env = {"TMPDIR": str(tmp_path / "tmp")}
    assert tovec("similarity", "x", "--in", rows, "-p", "local", env=env).returncode == 0
    assert os.listdir(tmp_path / "tmp") == []


# Rows with each other ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["texts.jsonl", "v.npy", "v.parquet", "v.jsonl"])
def test_rows_are_compared_with_each_other_whatever_they_are_stored_in(tovec, rows, corpus, name):
    path = rows if name == "texts.jsonl" else corpus(name)
    options = ["--in", path, "-p", "local", "--columns", "id", "--format", "jsonl"]
    scores = metrics.matrix("cosine", local_vectors(*TEXTS), local_vectors(*TEXTS))
    np.fill_diagonal(scores, -1)
    pair = sorted(int(i) for i in np.unravel_index(scores.argmax(), scores.shape))
    best = {"score": round(float(scores.max()), 6), "row": pair[0], "other": pair[1]}
    ids = {"id": f"n{pair[0]}", "other_id": f"n{pair[1]}"}
    assert found(tovec("similarity", "--pairs", "-k", 1, *options)) == [best | ids]
    lonely = int(scores.max(axis=1).argmin())
    (outlier,) = found(tovec("similarity", "--outliers", "-k", 1, *options))
    assert (outlier["row"], outlier["nearest"]) == (lonely, int(scores[lonely].argmax()))
    (mean,) = found(tovec("similarity", "--diversity", *options[:4], *options[6:]))
    off_diagonal = scores[~np.eye(len(TEXTS), dtype=bool)]
    assert abs(mean["diversity"] - (1 - off_diagonal.mean())) <= 1e-6
    grouped = found(tovec("similarity", "--clusters", 2, *options))
    assert sorted(row["row"] for row in grouped) == list(range(len(TEXTS)))
    assert [row["cluster"] for row in grouped] == sorted(row["cluster"] for row in grouped)


def test_near_duplicates_are_a_question_too(tovec, corpus):
    path = corpus("v.npy")
    none = tovec("similarity", "--in", path, "--pairs", "--min", "0.99")
    assert (none.returncode, none.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pairs", "x"], b"takes no text"),
        (["--pairs", "--outliers"], b"cannot be combined"),
        (["--outliers", "--min", "0.5"], b"cannot be combined with --outliers"),
        (["--diversity", "--metric", "dot"], b"choose cosine or euclidean"),
        (["--clusters", "2", "--metric", "dot"], b"choose cosine or euclidean"),
        (["--label-each", "x", "-k", "3"], b"--label-each gives every row"),
    ],
)
def test_modes_that_do_not_fit_are_refused(tovec, corpus, arguments, words):
    done = tovec("similarity", "--in", corpus("v.npy"), *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr


def test_a_corpus_of_texts_is_asked_for_once_where_a_job_keeps_it(tovec, tmp_path):
    rows = tmp_path / "rows.jsonl"
    texts = [f"row {i}" for i in range(30)]
    with Loopback(dimensions=8) as server:

        def search(*more):
            lines = [json.dumps({"id": i, "text": text}) for i, text in enumerate(texts)]
            rows.write_text("\n".join(lines))
            options = ("--base-url", server.base_url, "-m", "m", "--job-dir", "job", *more)
            return tovec("similarity", "row 7", "--in", rows, "-k", "1", *options, cwd=tmp_path)

        first = search()
        assert first.returncode == 0, first.stderr
        assert first.stdout.splitlines()[1].startswith(b"row 7\t1\t1.000000\t7\t7\trow 7")
        texts.append("row 7 again")
        second = search("-v")
        assert second.stdout == first.stdout
        assert b"vectors of the corpus: 30 stored before, 1 requested" in second.stderr
        asked = [entry.items for entry in server.ledger.entries]
    assert sorted(asked) == [1, 1, 1, 30]  # two queries, a new row, the corpus
    assert set(os.listdir(tmp_path)) == {"rows.jsonl", "job"}
