"""What a command loads before it does anything: a library that comes in by the way costs each run.

The times of the imports are in docs/performance.md.
"""

import subprocess
import sys

import pytest

HEAVY = {
    "anyio", "asyncio", "certifi", "click", "concurrent.futures", "ctypes",
    "dataclasses", "decimal",
    "difflib", "email", "h11", "html", "http", "httpcore", "httpx", "importlib.metadata", "inspect",
    "multiprocessing", "numpy", "orjson", "pandas", "platformdirs", "pyarrow", "pybase64",
    "pydantic", "rich", "shellingham", "socket", "ssl", "tiktoken", "tomllib", "typer", "typing",
    "unittest", "urllib.request", "uuid", "zoneinfo",
}  # fmt: skip
TYPER = {"typer", "typing", "inspect", "difflib", "shellingham", "uuid"}  # Typer's own among them
ONE_VECTOR = TYPER | {"numpy", "ctypes", "orjson", "dataclasses", "tomllib", "pybase64"}
LISTED = """
import sys
before = set(sys.modules)
sys.argv = ["tovec", *sys.argv[1:]]
try:
    from tovec.__main__ import main
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def heavy(*arguments: str, text: str = "") -> set[str]:
    """Run a command; give the modules of HEAVY that it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED, *arguments], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.splitlines()
    return {one for one in HEAVY if one in loaded}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--version"], {"typing"}),
        (["--help"], TYPER),
        (["embed", "--help"], TYPER),
        (["embed", "-p", "local", "hi"], ONE_VECTOR),
        (["similarity", "-p", "local", "one", "two"], ONE_VECTOR),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_what_it_needs_and_nothing_by_the_way(arguments, allowed):
    assert heavy(*arguments) - allowed == set()


def test_pandas_is_not_loaded_even_where_it_is_installed(tmp_path):
    """pyarrow imports it with its first array."""
    import pandas  # noqa: F401 - it is there

    found = heavy("embed", "-p", "local", "-o", str(tmp_path / "out.parquet"), "--", "one", "two")
    assert "pyarrow" in found
    assert "pandas" not in found
