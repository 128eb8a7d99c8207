"""Random answers, inputs and settings: a right row or a named error, and nothing else.

In the suite some hundreds of each; `python -m tests.faults.fuzz 20000` makes so many in process,
and a twentieth of them over sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults.answers import Made, answers, replies
from tests.servers.loopback import Fault, Loopback, vectors_for

from tovec import formats
from tovec import settings as config
from tovec.endpoint import providers, rate_headers, retry_budget, wire
from tovec.endpoint.address import Endpoint
from tovec.endpoint.client import Client
from tovec.endpoint.governor import Governor
from tovec.endpoint.http_transport import HttpxTransport
from tovec.endpoint.providers import Provider
from tovec.endpoint.refusal import BadAnswer
from tovec.errors import TovecError
from tovec.events import ignore
from tovec.formats.protocols import ReadOptions
from tovec.pipeline.dispatch import Dispatcher
from tovec.records import Request

outcomes: Counter[str] = Counter()  # what became of examples, to see that both happen

SECONDS = 0.5  # for an attempt

# Answers -----------------------------------------------------------------------------------------


def check_answer(made: Made) -> None:
    """Decode an answer: what is believed is true, what is harmful is refused."""
    try:
        found = wire.decode(bytearray(made.body), len(made.truth)).vectors
    except BadAnswer:
        assert made.harmful is not None, "a good answer was refused"
        outcomes["refused"] += 1
        return
    assert made.harmful is None, f"{made.harmful} was believed"
    assert np.array_equal(found, made.truth), "a wrong vector"
    outcomes["believed"] += 1


# Over sockets ------------------------------------------------------------------------------------


def check_reply(server: Loopback, reply: bytes, made: Made, once: bool) -> None:
    """Ask a server that replies so; what comes is right, or a named error in time."""
    texts = [f"t{i}" for i in range(len(made.truth))]
    right = vectors_for(texts, server.dimensions)
    server.faults = [Fault("raw", body=reply, times=1 if once else None)]
    where = Endpoint(
        Provider(name="fuzzed", base_url=server.base_url),
        f"{server.base_url}/embeddings",
        None,
        "m",
    )

    async def ask() -> Any:
        client = Client(
            where, HttpxTransport(where.url, concurrency=2), Governor(concurrency=2),
            timeout=SECONDS, max_retries=0,
        )  # fmt: skip
        try:
            return await Dispatcher(client, ignore).embed(Request(texts, len(texts)))
        finally:
            await client.close()

    began = time.monotonic()
    try:
        answer = asyncio.run(ask())
    except TovecError:
        outcomes["refused over a socket"] += 1
    else:
        # Rows of the reply itself, or of the server's own answers to halves of the request.
        known = {row.tobytes() for row in (*right, *made.truth)}
        assert all(row.tobytes() in known for row in answer.vectors), "a wrong vector"
        if answer.kept is None and answer.vectors.shape == made.truth.shape:
            assert np.array_equal(answer.vectors, made.truth) or once
        outcomes["believed over a socket"] += 1
    assert time.monotonic() - began < 10 * SECONDS + 5, "a hang past the deadline"


@contextlib.contextmanager
def quick_probes() -> Any:
    """Let a circuit that has opened try again at once."""
    before, retry_budget.PROBE_SECONDS = retry_budget.PROBE_SECONDS, (0.01,)
    try:
        yield
    finally:
        retry_budget.PROBE_SECONDS = before


# Readers -----------------------------------------------------------------------------------------

odd_text = st.text(st.one_of(st.sampled_from('"\\,{}[]\n\r\t\0 :x\ufeff\u2028é'), st.characters()))
json_lines = st.one_of(
    st.binary(max_size=40),
    odd_text.map(lambda text: orjson.dumps({"text": text.encode(errors="replace").decode()})),
    st.builds(
        lambda value: json.dumps({"text": value}).encode(),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: st.lists(inner, max_size=3),
        ),
    ),
    st.sampled_from(
        [b"", b"  ", b'{"text":"a"', b'{"text":"a"}x', b"[" * 5000, b'{"text":"\\ud800"}']
    ),
)


def read(data: bytes, form: str) -> list[Any]:
    return list(formats.read(["-"], ReadOptions(format=form), io.BytesIO(data)))  # type: ignore[arg-type]


def check_jsonl(lines: list[bytes]) -> None:
    """Each line is a row with its text, a problem with its place, or blank."""
    lines = [line.replace(b"\n", b" ").replace(b"\r", b" ") for line in lines]
    blocks = read(b"\n".join([b'{"text":"first"}', *lines]) + b"\n", "jsonl")
    lines = [b'{"text":"first"}', *lines]
    rows = {line: text for b in blocks for line, text in zip(b.lines, b.inputs, strict=True)}
    wrong = {problem.line for block in blocks for problem in block.problems}
    assert not wrong & rows.keys()
    blank = sum(block.blank for block in blocks)
    assert len(rows) + len(wrong) + blank == len(lines)
    for number, text in rows.items():
        assert orjson.loads(lines[number - 1])["text"] == text and text.strip()
    outcomes["rows read"] += len(rows)
    outcomes["rows named as bad"] += len(wrong)


def check_csv(text: str, form: str) -> None:
    """What is read are cells of the file; what cannot be is named."""
    data = ("text" + "," * (form == "csv") + "\t" * (form == "tsv") + "b\n" + text).encode(
        errors="replace"
    )
    try:
        blocks = read(data, form)
    except TovecError as error:
        assert error.exit_code == 6 and error.where
        outcomes["tables named as bad"] += 1
        return
    plain = data.decode().replace("\r\n", "\n")
    for block in blocks:
        for one in block.inputs:
            assert (
                one.replace('"', '""') in plain or one in plain.replace("\r", "\n") or "\r" in one
            )
    outcomes["tables read"] += 1


def check_lines(data: bytes, form: str) -> None:
    """Any bytes are rows or a named error."""
    try:
        blocks = read(data, form)
    except TovecError as error:
        assert error.exit_code == 6 and error.where
        return
    assert all(one for block in blocks for one in block.inputs)


toml_values = st.sampled_from(
    ['"x"', "1", "-5", "1.5", "nan", "inf", "true", "[]", '["a"]', "{}", '{a = 1}', "1979-05-27",
     '"\\u0000"', "'''\n'''", "99999999999999999999", "="]
)  # fmt: skip
toml_names = st.sampled_from(
    ["provider", "model", "base_url", "extra", "timeout", "rpm", "providers", "concurrency",
     "providers.mine.base_url", "providers.mine.limits.items", "providers.mine.key_command",
     "providers.mine.query", "providers.openai.key_env", "x", '""', "providers.mine.limits"]
)  # fmt: skip
toml_lines = st.one_of(
    st.tuples(toml_names, toml_values).map(" = ".join),
    st.sampled_from(
        ['model = "m"', 'provider = "mine"', "rpm = 60", "timeout = 1.5", "extra = {a = 1}",
         'providers.mine.base_url = "http://127.0.0.1/v1"', 'providers.mine.key_env = "K"',
         "providers.mine.limits.items = 5", 'providers.mine.key_command = ["a", "b"]']
    ),
)  # fmt: skip
toml = st.one_of(st.text(max_size=60), st.lists(toml_lines, max_size=3).map("\n".join))


def check_config(place: Path, text: str) -> None:
    """A config file is settings, or an error that names it."""
    path = place / "config.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        found = config.load(str(path), {})
        providers.load(found.providers)
        outcomes["configs read"] += 1
    except TovecError as error:
        assert error.exit_code in (2, 5)
        outcomes["configs named as bad"] += 1


header_names = st.sampled_from(
    ["retry-after", "retry-after-ms", "date", "x-ratelimit-limit-requests",
     "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"]
)  # fmt: skip
header_values = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"\A[0-9]{0,14}(\.[0-9]{0,4})?(ns|us|µs|ms|s|m|h|d)?([0-9.]{0,5}s)?\Z"),
    st.from_regex(
        r"\A(Mon, )?[0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,5} [0-9:]{0,9} ?(GMT|[+-][0-9]{4})?\Z"
    ),
    st.sampled_from(
        ["nan", "inf", "-1", "1e9", "1_0", "٣", "0 0 0 0", "Mon, 99 Jan 99999 99:99:99 GMT"]
    ),
)


def check_headers(said: dict[str, str], message: str) -> None:
    """A header gives a wait that is finite and not negative, or nothing."""
    waits = [rate_headers.retry_after(said, 1.7e9), rate_headers.wait_in(message)]
    waits += [float(one) for one in rate_headers.rates(said, 1.7e9) if one is not None]
    for wait in waits:
        assert wait is None or (math.isfinite(wait) and wait >= 0)
    outcomes["headers"] += 1


# The long run ------------------------------------------------------------------------------------


def examples(check: Callable[..., None], count: int, *strategies: Any) -> None:
    """Check so many examples."""
    many = settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    @many
    @given(st.tuples(*strategies))
    def one(example: tuple[Any, ...]) -> None:
        check(*example)

    one()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Make so many examples of each kind, and say what became of them."""
    count = int(sys.argv[1])
    examples(check_answer, 200, answers())
    before, began = peak(), time.monotonic()
    examples(check_answer, count, answers())
    print(f"{count:,} answers in {time.monotonic() - began:.0f} s, memory +{peak() - before} MiB")
    began = time.monotonic()
    with quick_probes(), Loopback(dimensions=8) as server:
        examples(
            lambda reply, once: check_reply(server, reply[0], reply[1], once),
            count // 20, replies(), st.booleans(),
        )  # fmt: skip
    print(f"{count // 20:,} replies over sockets in {time.monotonic() - began:.0f} s,"
          f" memory +{peak() - before} MiB")  # fmt: skip
    some = count // 4
    began = time.monotonic()
    examples(check_jsonl, some, st.lists(json_lines, max_size=8))
    examples(check_csv, some, odd_text, st.sampled_from(["csv", "tsv"]))
    examples(
        check_lines, some, st.binary(max_size=200), st.sampled_from(["lines", "tokens", "text"])
    )
    with tempfile.TemporaryDirectory() as place:
        examples(lambda text: check_config(Path(place), text), some, toml)
    examples(check_headers, some, st.dictionaries(header_names, header_values), header_values)
    print(
        f"{some:,} each of JSONL, CSV, lines, configs, headers in {time.monotonic() - began:.0f} s"
    )
    print(", ".join(f"{name} {number:,}" for name, number in sorted(outcomes.items())))


if __name__ == "__main__":
    main()
