"""The table of modes: what selects each, what acts in it, and what it returns."""

from __future__ import annotations

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.inside import run

from tovec.cli.similarity_options import SearchOptions
from tovec.errors import UsageError
from tovec.search.task import MODES, Acting, Mode, select_mode

BY_OPTION = [mode for mode in Mode if mode.startswith("--")]


@given(
    st.lists(st.sampled_from(BY_OPTION), unique=True, max_size=2),
    st.lists(st.sampled_from(list(Acting)), unique=True),
    st.sampled_from(["cosine", "dot", "euclidean"]),
    st.booleans(),
    st.booleans(),
)
def test_everything_given_acts_in_the_mode_or_is_refused(chosen, used, metric, corpus, piped):
    """No option is ignored in silence."""
    try:
        mode = select_mode(chosen, used, metric, corpus=corpus, piped=piped)
    except UsageError:
        return
    spec = MODES[mode]
    assert set(used) <= spec.acting
    assert chosen in ([], [mode])
    assert not spec.metrics or metric in spec.metrics
    assert (mode in (Mode.TEXTS, Mode.LINES)) == (not corpus)


@pytest.mark.parametrize("mode", BY_OPTION)
def test_an_option_selects_its_mode_and_only_that(mode: Mode):
    fields = SearchOptions(**{mode.strip("-").replace("-", "_"): 2})
    assert fields.modes == [mode]
    assert select_mode([mode], [], "cosine", corpus=True, piped=False) == mode
    with pytest.raises(UsageError, match="for the rows of a file"):
        select_mode([mode], [], "cosine", corpus=False, piped=False)


LINES = {
    Mode.LINES: ((), b"a cat\ta dog\n"),
    Mode.RANK: (("pets", "--in", "t.txt"), b""),
    Mode.LABEL_EACH: (("pets", "money", "--in", "t.txt", "--label-each"), b""),
    Mode.PAIRS: (("--in", "t.txt", "--pairs"), b""),
    Mode.OUTLIERS: (("--in", "t.txt", "--outliers"), b""),
    Mode.DIVERSITY: (("--in", "t.txt", "--diversity"), b""),
    Mode.CLUSTERS: (("--in", "t.txt", "--clusters", "2"), b""),
}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode != Mode.TEXTS])
def test_a_result_begins_with_the_values_that_the_table_names(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("a cat\na dog\nstocks fell\n")
    words, text = LINES[mode]
    done = run("similarity", "-p", "local", "--format", "jsonl", *words, stdin=text)
    first = json.loads(done.out.splitlines()[0])
    assert tuple(first)[: len(MODES[mode].result)] == MODES[mode].result


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_has_a_function_that_yields_as_it_finds(mode: Mode):
    function = MODES[mode].load()
    assert inspect.isgeneratorfunction(function)
    assert list(inspect.signature(function).parameters) == ["work", "observer", "hide"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--diversity", "-k", "3"), b"-k cannot be combined with --diversity"),
        (("--diversity", "--columns", "id"), b"--columns cannot be combined with --diversity"),
        (("x", "--force"), b"--force replaces a picture"),
        (("--pairs", "--query-template", "{text}"), b"takes no text"),
        (("--label-each", "x", "--plot", "x.png"), b"--plot draws"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_mode_would_ignore_is_refused(words, said, tmp_path, monkeypatch):
    """These were taken, and did nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("a cat\na dog\n")
    done = run("similarity", "-p", "local", "--in", "t.txt", *words)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err


def test_a_job_directory_is_for_texts_and_not_for_stored_vectors(tmp_path, monkeypatch):
    """Stored vectors are there already: the directory would stay empty."""
    monkeypatch.chdir(tmp_path)
    assert run("embed", "-p", "local", "-d", "4", "a", "b", "-o", "v.npy").code == 0
    done = run("similarity", "x", "--in", "v.npy", "--job-dir", "kept")
    assert (done.code, done.out) == (2, b"")
    assert b"--job-dir keeps the vectors of texts" in done.err
    assert not (tmp_path / "kept").exists()
