"""`tovec.Embedder` as programs and engines use it: the checks and errors of the command line."""

from __future__ import annotations

import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tovec
from tests.servers.loopback import Fault, Loopback, vectors_for
from tovec.errors import InputError, LaterError, PersonError, UsageError

PAGE = Path(__file__).parent.parent / "docs/python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
TEXTS = [f"text {i}" for i in range(1000)]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(dimensions=16) as server:
        yield server


@pytest.fixture
def embedder(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tovec.Embedder]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with tovec.Embedder(base_url=server.base_url, model="m") as embedder:
        yield embedder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda code: code.split("\n")[0])
def test_each_example_of_the_page_runs(example: str, tmp_path: Path) -> None:
    """What the page shows is what a reader pastes; each asserts what it says."""
    for library in re.findall(r"^import (\w+)", example, re.M):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    script = tmp_path / "example.py"
    script.write_text(example)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True, timeout=100, check=False, env={"HOME": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def test_vectors_are_the_endpoints_in_order(embedder: tovec.Embedder) -> None:
    """More texts than a request holds, so that answers overtake one another."""
    assert np.array_equal(embedder.embed(TEXTS), vectors_for(TEXTS, 16))


def test_no_texts_give_no_vectors_and_no_request(
    embedder: tovec.Embedder, server: Loopback
) -> None:
    assert embedder.embed([]).shape == (0, 0)
    embedder.embed(["a"])
    assert embedder.embed([]).shape == (0, 16)
    assert len(server.ledger.entries) == 1


def test_threads_share_one_embedder(embedder: tovec.Embedder) -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = embedder.embed(TEXTS[number * 100 : number * 100 + 100])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(8):
        some = TEXTS[number * 100 : number * 100 + 100]
        assert np.array_equal(found[number], vectors_for(some, 16))


@pytest.mark.parametrize("kind", ["table", "batch", "mapping"])
def test_rows_get_one_more_column(embedder: tovec.Embedder, kind: str) -> None:
    columns = {"id": [1, 2, 3], "text": TEXTS[:3]}
    made = {"table": pa.table, "batch": pa.record_batch, "mapping": dict}[kind]
    rows = embedder(made(columns))
    assert type(rows) is type(made(columns))
    truth = vectors_for(TEXTS[:3], 16)
    if kind == "mapping":
        assert np.array_equal(rows["embedding"], truth)
        return
    assert rows.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert rows.schema.names == ["id", "text", "embedding"]
    assert rows.column("embedding").to_pylist() == truth.tolist()


def test_an_embedder_is_pickled_without_its_connection(
    embedder: tovec.Embedder, server: Loopback
) -> None:
    """Engines send it to their workers, before its first text or after."""
    embedder.embed(["a"])
    with pickle.loads(pickle.dumps(embedder)) as copy:
        assert np.array_equal(copy.embed(["b"]), vectors_for(["b"], 16))
    assert server.base_url not in repr(embedder)


def test_it_connects_again_after_it_was_closed(embedder: tovec.Embedder) -> None:
    embedder.embed(["a"])
    embedder.close()
    embedder.close()
    assert embedder.embed(["b"]).shape == (1, 16)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a", ""], "the text is empty"),
        (["a", None], "the text is null"),
        (["a", 3], "the text is int"),
    ],
)
def test_a_row_without_a_text_is_named(
    embedder: tovec.Embedder, texts: list[Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        embedder.embed(texts)
    assert error.value.where == "row 1"


def test_a_refused_text_is_an_error_with_its_row(
    embedder: tovec.Embedder, server: Loopback
) -> None:
    server.faults = [Fault("status", status=400, text="bad")]
    with pytest.raises(InputError, match="the endpoint refuses the text") as error:
        embedder.embed(["good", "bad", "fine"])
    assert error.value.where == "row 1"


def test_an_endpoint_that_fails_is_an_error_of_the_command_lines_kind(
    embedder: tovec.Embedder, server: Loopback
) -> None:
    server.faults = [Fault("status", status=401)]
    with pytest.raises(PersonError):
        embedder.embed(["a"])
    with (
        pytest.raises(LaterError),
        tovec.Embedder(base_url="http://127.0.0.1:9", model="m", max_retries=0) as nobody,
    ):
        nobody.embed(["a"])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"modle": "m"}, TypeError, "no argument 'modle'"),
        ({"dimensions": 0}, UsageError, "dimensions"),
        ({"long": "split"}, UsageError, "long takes"),
        ({"provider": "opnai"}, UsageError, "did you mean openai"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        tovec.Embedder(**given).embed(["a"])
    assert words in f"{raised.value} {getattr(raised.value, 'hint', '')}"


def test_columns_that_are_missing_or_there_already_are_named(embedder: tovec.Embedder) -> None:
    with pytest.raises(UsageError, match="no column 'text'"):
        embedder(pa.table({"title": ["a"]}))
    with pytest.raises(UsageError, match="a column 'embedding' already"):
        embedder({"text": ["a"], "embedding": [1]})
    with pytest.raises(UsageError, match="there are no rows"):
        embedder(pa.table({"text": pa.array([], pa.string())}))


def test_a_program_keeps_its_own_signals(
    embedder: tovec.Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that takes SIGTERM would keep a program from ending as it is told."""
    taken: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _handler: taken.append(number))
    embedder.embed(["a"])
    assert not taken


def test_importing_the_package_loads_no_library() -> None:
    code = (
        "import sys, tovec; heavy = {'numpy', 'httpx', 'pyarrow', 'asyncio', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "tovec.Embedder; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split("\n")[:2] == ["[]", "True"]
