"""What the crash model does not see it cannot check, so all that is done to files goes one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tovec import store
from tovec.store.filesystem import RealFileSystem

ROOM = Path(store.__file__).parent
# filesystem.py is the way; collisions.py compares names before there is a job, and changes nothing.
FILES = sorted(set(ROOM.glob("*.py")) - {ROOM / "filesystem.py", ROOM / "collisions.py"})
OF_THE_PROCESS = {"PathLike", "fspath", "geteuid", "getpid", "path", "umask"}
OF_NAMES_ALONE = {"abspath", "basename", "dirname", "join"}
STEPS = {name for name in vars(RealFileSystem) if not name.startswith("_")} | {"replace", "remove"}


def touches(tree: ast.AST) -> Iterator[str]:
    """Yield what a module does to files other than through a file system that it was given."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name("os"), name) if name not in OF_THE_PROCESS:
                if not name.startswith("O_"):
                    yield f"os.{name}"
            case ast.Attribute(ast.Attribute(ast.Name("os"), "path"), name):
                if name not in OF_NAMES_ALONE:
                    yield f"os.path.{name}"
            case ast.Call(ast.Name("open")) | ast.Call(ast.Attribute(ast.Name("Path"))):
                yield ast.unparse(node)
            case ast.Call(ast.Attribute(ast.Name("path" | "self._path") as whose, name)):
                if name in STEPS | {"exists", "is_file", "is_dir", "stat", "iterdir"}:
                    yield f"{whose.id}.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_store_touches_files_only_through_its_file_system(path: Path) -> None:
    assert list(touches(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    ["os.rename(a, b)", "os.path.exists(a)", "open(a)", "path.unlink()", "Path.home()"],
)
def test_a_way_around_the_file_system_is_seen(line: str) -> None:
    assert len(list(touches(ast.parse(line)))) == 1
