"""`tovec similarity` as a user runs it: texts with each other, and lines of two texts."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.cli.test_embed import imported_by, local_vectors, on_a_terminal
from tests.servers.loopback import Fault, Loopback, vectors_for

CAT, KITTEN, MARKET = "a cat", "a kitten", "the stock market"


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# Texts with each other --------------------------------------------------------------------------


def test_two_texts_give_one_number_of_six_digits_and_nothing_else(tovec):
    done = tovec("similarity", CAT, KITTEN, "-p", "local")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{cosine(*local_vectors(CAT, KITTEN)):.6f}\n"


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_other_metrics(tovec, metric):
    done = tovec("similarity", CAT, MARKET, "-p", "local", "--metric", metric)
    a, b = local_vectors(CAT, MARKET).astype(float)
    expected = a @ b if metric == "dot" else np.linalg.norm(a - b)
    assert abs(float(done.stdout) - expected) <= 1e-6


def test_a_test_in_sh_reads_as_a_sentence(tovec):
    script = f'if {sys.executable} -m tovec similarity -q "$0" "$1" --min 0.5 -p local'
    script += "; then echo alike; else echo apart; fi"
    for other, said in ((KITTEN, b"alike\n"), (MARKET, b"apart\n")):
        done = subprocess.run(["sh", "-c", script, CAT, other], capture_output=True, check=False)
        assert (done.stdout, done.stderr) == (said, b"")


def test_a_bound_that_is_not_met_is_exit_1_and_the_number_is_still_told(tovec):
    done = tovec("similarity", CAT, MARKET, "-p", "local", "--min", "0.9")
    assert done.returncode == 1
    assert float(done.stdout) < 0.9
    done = tovec("similarity", CAT, CAT, "-p", "local", "--metric", "euclidean", "--max", "0")
    assert (done.returncode, done.stdout) == (0, b"0.000000\n")


def test_three_texts_give_a_matrix_as_tsv(tovec):
    done = tovec("similarity", CAT, KITTEN, "tab\there", "-p", "local")
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert lines[0] == ["", CAT, KITTEN, "tab\\there"]
    assert [line[0] for line in lines[1:]] == lines[0][1:]
    vectors = local_vectors(CAT, KITTEN, "tab\there")
    expected = [[f"{cosine(a, b):.6f}" for b in vectors] for a in vectors]
    assert [line[1:] for line in lines[1:]] == expected


def test_a_matrix_as_json_says_what_made_it(tovec, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {i}\n" for i in range(300)))
    done = tovec("similarity", CAT, "-f", path, "-p", "local", "--format", "json")
    found = json.loads(done.stdout)
    assert (found["metric"], found["model"]) == ("cosine", "static-minilm-256")
    assert found["texts"] == [CAT, *(f"text {i}" for i in range(300))]
    vectors = local_vectors(*found["texts"]).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(np.array(found["scores"]) - vectors @ vectors.T).max() <= 1e-6


def test_a_matrix_is_asked_about_its_pairs_and_not_its_diagonal(tovec):
    apart = tovec("similarity", "-q", CAT, MARKET, "zebra", "-p", "local", "--min", "0.9")
    alike = tovec("similarity", "-q", CAT, MARKET, CAT, "-p", "local", "--min", "0.9")
    assert (apart.returncode, alike.returncode) == (1, 0)
    assert apart.stdout + alike.stdout == b""


def test_texts_come_from_json_rows_named_by_their_id(tovec, jsonl):
    path = jsonl([{"id": f"n{i}", "text": t} for i, t in enumerate([CAT, KITTEN, MARKET])])
    done = tovec("similarity", "-f", path, "--id-field", "id", "-p", "local", "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["n0", "n1", "n2"]
    assert rows[0]["scores"][1] == round(cosine(*local_vectors(CAT, KITTEN)), 6)


def test_an_endpoint_is_asked_once_for_all_texts(tovec):
    with Loopback(dimensions=64) as server:
        done = tovec("similarity", "one", "two", "--base-url", server.base_url, "-m", "m")
        assert len(server.ledger.entries) == 1
    assert done.stdout.decode() == f"{cosine(*vectors_for(['one', 'two'], 64)):.6f}\n"


# Lines of two texts -----------------------------------------------------------------------------


def test_lines_of_two_texts_give_a_score_a_line(tovec):
    done = tovec("similarity", "-p", "local", input=f"{CAT}\t{KITTEN}\r\n{CAT}\t{MARKET}\n")
    vectors = local_vectors(CAT, KITTEN, MARKET)
    expected = [f"{cosine(vectors[0], other):.6f}" for other in vectors[1:]]
    assert done.stdout.decode().split() == expected


@pytest.mark.parametrize("where", ["local", "network"])
def test_scores_come_while_the_input_stays_open(where):
    with Loopback(dimensions=8) as server:
        options = ["-p", "local"] if where == "local" else ["--base-url", server.base_url, "-mm"]
        program = subprocess.Popen(
            [sys.executable, "-m", "tovec", "similarity", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with program:
            for _ in range(2):
                program.stdin.write(b"same words\tsame words\n")
                program.stdin.flush()
                assert program.stdout.readline() == b"1.000000\n"
            program.stdin.close()
        assert program.returncode == 0


def test_many_lines_are_scored_in_order_over_a_network(tovec):
    pairs = [(f"left {i}", f"right {i % 7}") for i in range(1500)]
    with Loopback(dimensions=16) as server:
        done = tovec(
            *("similarity", "--base-url", server.base_url, "-m", "m"),
            input="".join(f"{a}\t{b}\n" for a, b in pairs),
        )
    expected = [f"{cosine(*vectors_for(list(pair), 16)):.6f}" for pair in pairs]
    assert done.stdout.decode().split() == expected


def test_lines_that_do_not_pass_are_left_out_and_none_is_exit_1(tovec):
    lines = f"{CAT}\t{KITTEN}\n{CAT}\t{MARKET}\n"
    some = tovec("similarity", "-p", "local", "--min", "0.5", "--format", "tsv", input=lines)
    header, *rows = [line.split("\t") for line in some.stdout.decode().splitlines()]
    assert (header, [row[1:] for row in rows]) == (["score", "a", "b"], [[CAT, KITTEN]])
    none = tovec("similarity", "-p", "local", "--min", "0.99", input=lines)
    assert (none.returncode, none.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no tab", b"not two texts"),
        ("a\tb\tc", b"more than two columns"),
        ("a\t ", b"is empty"),
        ("\ta", b"is empty"),
    ],
)
def test_a_line_that_is_not_two_texts_is_named(tovec, line, words):
    done = tovec("similarity", "-p", "local", input=f"a\tb\n{line}\n")
    assert done.returncode == 6
    assert words in done.stderr and b"standard input, line 2" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


# The terminal -----------------------------------------------------------------------------------


def test_a_terminal_says_what_the_number_is():
    shown = on_a_terminal("similarity", CAT, KITTEN, "-p", "local").splitlines()
    score = f"{cosine(*local_vectors(CAT, KITTEN)):.6f}"
    assert shown[0] == f"{score}  cosine similarity by static-minilm-256"
    assert shown[1].count("━") == round(float(score) * 24)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_matrix_on_a_terminal_fits_and_is_inert(columns):
    texts = [CAT, "evil \x1b[31m \u202e text", "東京 " * 30, *(f"text {i}" for i in range(40))]
    shown = on_a_terminal("similarity", *texts, "-p", "local", "--color", "never", columns=columns)
    from rich.cells import cell_len

    assert all(cell_len(line) <= columns for line in shown.splitlines())
    assert "\x1b" not in shown and "\u202e" not in shown
    if columns < 200:
        assert "more columns" in shown


def test_colours_are_only_for_a_terminal(tovec):
    texts = (CAT, KITTEN, MARKET)
    assert "\x1b[" in on_a_terminal("similarity", *texts, "-p", "local")
    piped = tovec("similarity", *texts, "-p", "local", "--format", "table")
    assert b"\x1b" not in piped.stdout
    assert piped.stdout.count(b"1.00") == 3


# Errors and the start ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["one"], 2, b"only one text is given"),
        (["one", " "], 6, b"the text is empty\n  at argument 2"),
        (["a", "b", "--metric", "cosin"], 2, b"did you mean cosine?"),
        (["a", "b", "--format", "xml"], 2, b"--format"),
        (["a", "b", "--metric", "euclidean", "--min", "1"], 2, b"--max"),
        (["a", "-f", "nowhere.txt"], 6, b"no such file"),
    ],
)
def test_errors_have_their_exit_code(tovec, arguments, code, words):
    done = tovec("similarity", "-p", "local", *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr


def test_a_text_that_the_endpoint_refuses_is_an_error(tovec):
    with Loopback(dimensions=8, item_tokens=20) as server:
        options = ["--base-url", server.base_url, "-m", "m"]
        done = tovec("similarity", "fine", "word " * 500, *options)
    assert done.returncode in (5, 6)
    assert done.stdout == b""


def test_an_endpoint_that_fails_is_no_answer(tovec):
    with Loopback(dimensions=8, faults=[Fault("status", status=401)]) as server:
        options = ["--base-url", server.base_url, "-m", "m"]
        assert tovec("similarity", "a", "b", "--min", "0", *options).returncode == 5


def test_a_piped_number_loads_neither_network_nor_tables_nor_parquet():
    found = imported_by("similarity", "a", "b", "-p", "local")
    heavy = {"httpx", "asyncio", "pyarrow", "tiktoken", "pydantic", "rich", "ssl", "matplotlib"}
    assert not found & heavy


def test_each_of_two_long_texts_is_cut_for_itself(tovec):
    long = "word " * 5000  # within the model's limit, but not two of them
    done = tovec("similarity", "-p", "local", input=f"{long}\t{long}\n")
    assert (done.returncode, done.stdout) == (0, b"1.000000\n")
    longer = "word " * 9000
    refused = tovec("similarity", "-p", "local", input=f"{longer}\tword\n")
    assert refused.returncode == 6 and b"line 1" in refused.stderr
    for policy in ("truncate", "mean"):
        done = tovec("similarity", "-p", "local", "--long", policy, input=f"{longer}\tword\n")
        assert (done.returncode, float(done.stdout) > 0.9) == (0, True)
    split = tovec("similarity", "a", "b", "-p", "local", "--long", "split")
    assert split.returncode == 2 and b"one vector per text" in split.stderr
