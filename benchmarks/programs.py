"""The programs that `bulk.py` measures: each is given a file of rows, an output and an address.

`floor` is the least that Python can do: http.client, orjson, pybase64 and pyarrow, without a
single check, and without pandas, which pyarrow imports where it is installed, and the threads that
OpenBLAS starts. The peers are used
as well as they can be: large requests, base64, eight at a time where the package can do so.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

FLOOR = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
class WithoutPandas:
    def find_spec(name, *_):
        if name == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, WithoutPandas)
import collections, http.client, itertools, threading
import orjson, pybase64, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
source, target, url, concurrency = sys.argv[1:]
own = threading.local()
def ask(rows):
    if not hasattr(own, "connection"):
        own.connection = http.client.HTTPConnection(urlsplit(url).netloc)
    body = {"model": "m", "input": [r["text"] for r in rows], "encoding_format": "base64"}
    own.connection.request("POST", "/v1/embeddings", orjson.dumps(body))
    data = orjson.loads(own.connection.getresponse().read())["data"]
    return rows, np.frombuffer(b"".join(pybase64.b64decode(d["embedding"]) for d in data), "<f4")
def blocks():
    with open(source, "rb") as file:
        while rows := [orjson.loads(line) for line in file.readlines(1 << 18)]:
            yield rows
def answers():
    if concurrency == "1":
        yield from map(ask, blocks())
        return
    with ThreadPoolExecutor(int(concurrency)) as pool:
        waiting, left, ahead = collections.deque(), blocks(), 2 * int(concurrency)
        waiting.extend(pool.submit(ask, rows) for rows in itertools.islice(left, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(ask, rows) for rows in itertools.islice(left, 1))
writer = None
for rows, flat in answers():
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(flat) // len(rows))
    table = pa.Table.from_pylist(rows).append_column("embedding", column)
    if writer is None:
        writer = pq.ParquetWriter(
            target, table.schema, compression="none", use_dictionary=False, write_statistics=False)
    writer.write_table(table)
writer.close()
"""

_ROWS = """
import sys, orjson, numpy as np, pyarrow as pa, pyarrow.parquet as pq
source, target, url, concurrency = sys.argv[1:]
rows = [orjson.loads(line) for line in open(source, "rb")]
texts = [row["text"] for row in rows]
parts = [texts[start : start + 512] for start in range(0, len(texts), 512)]
"""

_WRITE = """
table = pa.Table.from_pylist(rows).append_column(
    "embedding", pa.array(vectors, pa.list_(pa.float32(), len(vectors[0]))))
pq.write_table(table, target)
"""

OPENAI = (
    _ROWS
    + """
import openai
client = openai.OpenAI(base_url=url, api_key="none")
vectors = []
for part in parts:
    vectors += [d.embedding for d in client.embeddings.create(model="m", input=part).data]
"""
    + _WRITE
)

_ASYNC = """
import asyncio, openai
async def work(**options):
    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    room = asyncio.Semaphore(8)
    async def ask(part):
        async with room:
            return found(
                (await client.embeddings.create(model="m", input=part, **options)).data)
    return await asyncio.gather(*map(ask, parts))
"""

ASYNC_OPENAI = (
    _ROWS
    + _ASYNC
    + """
found = list
vectors = [d.embedding for data in asyncio.run(work()) for d in data]
"""
    + _WRITE
)

BASE64_OPENAI = (
    _ROWS
    + _ASYNC
    + """
import pybase64
def found(data):
    return b"".join(pybase64.b64decode(d.embedding) for d in data)
flat = np.frombuffer(b"".join(asyncio.run(work(encoding_format="base64"))), "<f4")
column = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(flat) // len(rows))
pq.write_table(pa.Table.from_pylist(rows).append_column("embedding", column), target,
               compression="none", use_dictionary=False, write_statistics=False)
"""
)

LANGCHAIN = (
    _ROWS
    + """
from langchain_openai import OpenAIEmbeddings
model = OpenAIEmbeddings(model="m", base_url=url, api_key="none", chunk_size=512,
                         check_embedding_ctx_length=False)
vectors = model.embed_documents(texts)
"""
    + _WRITE
)


class Program(NamedTuple):
    """One that is measured: its code, or its command line; `needs` is what must be installed."""

    title: str
    code: str = ""
    needs: str | None = None


PROGRAMS = {
    "floor": Program("floor", FLOOR),
    "embed": Program("tovec embed"),
    "batch": Program("tovec batch"),
    "openai": Program("openai, serial", OPENAI, "openai"),
    "openai-async": Program("AsyncOpenAI, 8 at a time", ASYNC_OPENAI, "openai"),
    "openai-base64": Program("the same, base64 decoded by hand", BASE64_OPENAI, "openai"),
    "langchain": Program("LangChain OpenAIEmbeddings", LANGCHAIN, "langchain_openai"),
    "llm": Program("llm embed-multi", needs="llm"),
}


def missing(name: str) -> str | None:
    """Give the package that a program needs and that is not installed."""
    needs = PROGRAMS[name].needs
    return needs if needs and importlib.util.find_spec(needs) is None else None


def command(
    name: str, source: Path, target: Path, url: str, concurrency: int | None, *more: str
) -> list[str]:
    """Give a program's command line; `more` are further options of tovec's."""
    if name in ("embed", "batch"):
        options = ["--base-url", url, "-m", "m", "--force", "-q", "-o", str(target), *more]
        options += ["--concurrency", str(concurrency)] if concurrency else []
        where = ["-f", str(source)] if name == "embed" else [str(source)]
        return [sys.executable, "-m", "tovec", name, *options, *where]
    if name == "llm":
        # The rows' id and text alone: llm embeds all columns but the first, joined.
        narrow = source.with_name("narrow.jsonl")
        options = ["--format", "nl", "-m", "3-small", "-d", str(target), "--store"]
        return [sys.executable, "-m", "llm", "embed-multi", "rows", str(narrow), *options]
    code, many = PROGRAMS[name].code, str(concurrency or 1)
    return [sys.executable, "-c", code, str(source), str(target), url, many]
