"""What a command loads before it does anything: a library that comes in by the way costs each run.

The times of the imports are in docs/performance.md.
"""

import os
import signal
import subprocess
import sys

import pytest

from tests.servers.loopback import Loopback

HEAVY = {
    "anyio", "asyncio", "certifi", "click", "concurrent.futures", "ctypes",
    "dataclasses", "decimal",
    "difflib", "email", "h11", "html", "http", "httpcore", "httpx", "importlib.metadata", "inspect",
    "multiprocessing", "numpy", "orjson", "pandas", "platformdirs", "pyarrow", "pyarrow.compute",
    "pybase64", "pydantic", "pygments", "rich", "shellingham", "socket", "ssl", "tiktoken",
    "tomllib", "typer", "typing",
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


def test_a_run_over_the_network_loads_no_command_line_of_httpx_and_no_kernels_of_arrow(tmp_path):
    with Loopback(dimensions=8) as server:
        options = ("--base-url", server.base_url, "-m", "m", "-o", str(tmp_path / "out.parquet"))
        found = heavy("embed", *options, "--", "one", "two")
    assert {"httpx", "pyarrow"} <= found
    assert not found & {"rich", "click", "pygments", "pyarrow.compute", "pydantic", "tiktoken"}
    assert not found & {"httpcore", "anyio", "certifi"}  # no proxy, no certificates


def test_pandas_is_not_loaded_even_where_it_is_installed(tmp_path):
    """pyarrow imports it with its first array."""
    import pandas  # noqa: F401 - it is there

    found = heavy("embed", "-p", "local", "-o", str(tmp_path / "out.parquet"), "--", "one", "two")
    assert "pyarrow" in found
    assert "pandas" not in found


ALONE = """
import os
from tovec.startup import load_numpy
load_numpy()
import numpy
numpy.ones((500, 500)) @ numpy.ones((500, 500))
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
@pytest.mark.parametrize("own", [None, "2"])
def test_openblas_starts_no_threads_unless_it_is_told_to(own):
    environ = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    if own is not None:
        environ["OPENBLAS_NUM_THREADS"] = own
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=environ, capture_output=True, text=True, check=True
    )
    threads, left = done.stdout.split()
    assert left == str(own)  # what tovec starts finds the environment as it was
    assert int(threads) == 1 or own is not None


def test_ctrl_c_while_tovec_starts_ends_it_without_a_traceback() -> None:
    """The signal comes while modules are imported, as early as anybody can type it."""
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    @staticmethod\n"
        "    def find_spec(name, _path=None, _target=None):\n"
        "        if name == 'tovec.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt)\n"
        "from tovec.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


COLLECTING = """
import gc, sys
from unittest import mock
from tovec.__main__ import main
sys.argv = ["tovec", "embed"]
def run(**_):
    print(gc.isenabled(), gc.get_freeze_count() > 0)
with mock.patch("tovec.cli.commands.build", lambda: run):
    main()
"""


def test_garbage_is_collected_as_soon_as_a_command_runs():
    """It is not while modules are imported, which costs 10 ms and finds nothing."""
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True True\n", "")
