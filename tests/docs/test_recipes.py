"""Every block of docs/recipes.md runs and prints what stands below it."""

import importlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.cli import inside

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text()
BLOCK = re.compile(
    r"<!-- recipe: (\w+) -->\n```(sh|python)\n(.*?)```\n```text\n(.*?)```\n", re.DOTALL
)


class Recipe(NamedTuple):
    name: str
    language: str
    code: str
    prints: str


RECIPES = {found[1]: Recipe(*found.groups()) for found in BLOCK.finditer(PAGE)}
NEEDS = {
    "pandas": ["pandas"],
    "polars": ["polars"],
    "duckdb": ["duckdb"],
    "datasets": ["datasets"],
    "faiss": ["faiss"],
    "lancedb": ["lancedb"],
    "sqlite_vec": ["sqlite_vec"],
    "postgres": ["psycopg"],
    "pgvector": ["psycopg"],
    "chunks": ["pandas"],
    "float16": [],
    "int8": [],
    "faiss_bits": ["faiss"],
    "lancedb_bits": ["lancedb"],
    "sqlite_vec_bits": ["sqlite_vec"],
}


def run(recipe: Recipe, folder: Path, python: str = sys.executable, **environ: str) -> None:
    """Run a recipe in a directory, and compare what it prints with the page."""
    shell = {"sh": ["sh", "-e"], "python": [python, "-X", "utf8"]}[recipe.language]
    done = subprocess.run(
        [*shell, "-"],
        input=recipe.code.encode(),
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "HF_HOME": str(folder / ".cache"),
            "HF_HUB_OFFLINE": "1",
            **environ,
        },
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    printed = [line.rstrip() for line in done.stdout.decode().splitlines()]
    assert printed == [line.rstrip() for line in recipe.prints.splitlines()]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the recipes open, made as the page says."""
    folder = tmp_path_factory.mktemp("recipes")
    run(RECIPES["files"], folder)
    return folder


@pytest.fixture
def folder(vectors: Path, tmp_path: Path) -> Path:
    """A directory of its own with these files."""
    shutil.copytree(vectors, tmp_path, dirs_exist_ok=True)
    return tmp_path


def need(name: str) -> None:
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (pip install 'tovec[interop]')")


def test_every_block_of_the_page_is_a_recipe_that_is_run():
    assert PAGE.count("```") == 4 * len(RECIPES)
    assert set(RECIPES) == {"files", "numpy", *NEEDS}


NEED_MORE = {"files", "postgres", "pgvector", "sqlite_vec", "sqlite_vec_bits"}


@pytest.mark.parametrize("name", sorted(set(RECIPES) - NEED_MORE))
def test_a_recipe_prints_what_the_page_says(name, folder):
    need(name)
    run(RECIPES[name], folder)


@pytest.mark.parametrize("name", ["sqlite_vec", "sqlite_vec_bits"])
def test_the_recipe_for_sqlite_vec(name, folder):
    need(name)
    python = with_extensions()
    if python is None:
        pytest.skip("this Python's sqlite3 was built without extensions")
    packages = {Path(importlib.import_module(one).__file__ or "").parents[1]
                for one in ("sqlite_vec", "numpy", "pyarrow")}  # fmt: skip
    run(RECIPES[name], folder, python, PYTHONPATH=os.pathsep.join(map(str, packages)))


def test_a_python_without_extensions_ends_as_the_page_says(folder):
    """Who meets this error finds it on the page, with the Pythons that do not have it."""
    need("sqlite_vec")
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.skip("this Python's sqlite3 loads extensions")
    words = "'sqlite3.Connection' object has no attribute 'enable_load_extension'"
    assert f"`{words}`" in " ".join(PAGE.split())
    with pytest.raises(AssertionError, match=words):
        run(RECIPES["sqlite_vec"], folder)


def test_large_ids_and_jq_are_as_the_page_says():
    """jq up to 1.6 reads numbers as float64, a later one keeps those that it only passes on."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    version = subprocess.check_output(["jq", "--version"], text=True)
    found = re.match(r"jq-(\d+)\.(\d+)", version)
    assert found is not None, version
    exact = tuple(map(int, found.groups())) > (1, 6)
    row = b'{"id": 9007199254740993, "text": "one"}\n'
    written = inside.run("embed", "-p", "local", "--input-format", "jsonl", stdin=row).out
    assert json.loads(written)["id"] == 9007199254740993
    passed = subprocess.check_output(["jq", ".id"], input=written)
    assert passed.decode().strip() == ("9007199254740993" if exact else "9007199254740992")


@pytest.mark.parametrize("module", ["pandas", "polars", "duckdb"])
def test_readers_that_the_page_names_open_float16(module, tmp_path):
    """What reads float16 reads the same numbers."""
    reader = pytest.importorskip(module, reason=f"{module} is not installed")
    path = tmp_path / "half.parquet"
    assert inside.run("embed", "-p", "local", "a", "b", "--dtype", "float16", "-o", path).code == 0
    stored = pq.read_table(path)["embedding"].to_pylist()
    if module == "duckdb":
        found = [row for (row,) in reader.sql(f"select embedding from '{path}'").fetchall()]
    else:
        found = [list(row) for row in reader.read_parquet(path)["embedding"]]
    assert np.array_equal(np.array(found, np.float32), np.array(stored, np.float32))


def with_extensions() -> str | None:
    """Give this Python, or the system's of the same version, whose sqlite3 loads extensions."""
    check = "import sqlite3; sqlite3.Connection.enable_load_extension"
    system = f"/usr/bin/python3.{sys.version_info.minor}"
    for python in (sys.executable, system):
        if Path(python).exists() and not subprocess.call([python, "-c", check], stderr=-3):
            return python
    return None


# PostgreSQL ------------------------------------------------------------------------------------


def programs() -> Path | None:
    """Give where a PostgreSQL server's programs are."""
    found = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    return next(iter([*found, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))[::-1]]), None)


@pytest.fixture
def postgres() -> Iterator[dict[str, str]]:
    """A server of our own, reached by a socket in a directory of its own; gives its address."""
    bin_ = programs()
    if bin_ is None:
        pytest.skip("no PostgreSQL server is installed")
    user = None
    if os.geteuid() == 0:  # which the server refuses to run as
        user = next((one.pw_name for one in pwd.getpwall() if one.pw_name == "postgres"), "nobody")
    home = tempfile.mkdtemp(prefix="tovec-pg-", dir="/tmp")
    data, log = Path(home) / "data", Path(home) / "log"
    if user:
        shutil.chown(home, user)
    options = f"-k {home} -c listen_addresses='' -c fsync=off"
    control = [bin_ / "pg_ctl", "-w", "-D", data, "-l", log]
    try:
        for command in (
            [bin_ / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"],
            [*control, "-o", options, "start"],
        ):
            subprocess.run(
                command, user=user, cwd=home, check=True, timeout=100,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        yield {"PGHOST": home, "PGUSER": "tester", "PGDATABASE": "postgres"}
    finally:
        stop = [*control, "-m", "immediate", "stop"]
        subprocess.run(stop, user=user, cwd=home, capture_output=True, check=False, timeout=60)
        shutil.rmtree(home)


def test_the_recipe_for_postgresql(folder, postgres):
    need("postgres")
    run(RECIPES["postgres"], folder, **postgres)


PGLITE = """
import { PGlite } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
const db = await PGlite.create({ extensions: { vector } });
const server = new PGLiteSocketServer({ db, port: Number(process.argv[2]), host: '127.0.0.1' });
await server.start();
process.stdin.on('end', () => process.exit(0)).resume();
"""


@pytest.fixture
def with_pgvector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server that has pgvector: PostgreSQL's own, or PGlite's."""
    bin_ = programs()
    if bin_ is not None:
        shared = subprocess.run([bin_ / "pg_config", "--sharedir"], capture_output=True, text=True)
        if Path(shared.stdout.strip(), "extension", "vector.control").exists():
            yield request.getfixturevalue("postgres")
            return
    modules = os.environ.get("PGLITE_PREFIX")
    if modules is None or shutil.which("node") is None:
        pytest.skip(
            "no server has pgvector; PGLITE_PREFIX=DIR names one after: npm install --prefix DIR "
            "@electric-sql/pglite @electric-sql/pglite-socket @electric-sql/pglite-pgvector"
        )
    yield from pglite(Path(modules), tmp_path)


def pglite(modules: Path, home: Path) -> Iterator[dict[str, str]]:
    (home / "node_modules").symlink_to(modules.resolve() / "node_modules")
    (home / "server.mjs").write_text(PGLITE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(["node", "server.mjs", str(port)], cwd=home, stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "PGSSLMODE": "disable",
        }
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait(30)


def test_the_recipe_for_pgvector(folder, with_pgvector):
    need("pgvector")
    run(RECIPES["pgvector"], folder, **with_pgvector)
