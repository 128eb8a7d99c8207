"""The house's rules on who may know whom, read from the imports."""

import ast
import re
from pathlib import Path

import pytest

import tovec

ROOT = Path(tovec.__file__).parent
SHARED = {"errors", "records", "events", "settings", "suggest", "wording"}
GROUND = {"endpoint", "formats", "store", "local", "text"}
BELOW = {
    "cli": {"embed", "configuration", "listing", "startup", "batch", "search", "pipeline"} | GROUND,
    "__init__": {"embedder"},
    "__main__": {"cli", "startup"},
    "embed": {"pipeline"} | GROUND,
    "embedder": {"pipeline"} | GROUND,
    "configuration": {"pipeline"} | GROUND,
    "listing": {"pipeline"} | GROUND,
    "search": {"batch", "pipeline"} | GROUND,
    "batch": {"pipeline"} | GROUND,
    "pipeline": GROUND,
    "endpoint": set(),
    "formats": set(),
    "store": set(),
    "text": set(),
    "local": {"endpoint", "text"},
}
ONLY_IN = {
    "typer": {"cli"},
    "rich": {"cli"},
    "pyarrow": {"embedder", "formats", "records", "search/vector_files"},
    "starlette": {"local/server"},
    "uvicorn": {"local/server"},
    "httpx": {"endpoint/http_transport", "endpoint/direct_http"},
    "tiktoken": {"text/tokens"},
    "matplotlib": {"cli/plots"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    inside = path.relative_to(ROOT)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward_only(path):
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "tovec" or len(parts) < 2 or parts[1] in (here, "__version__"):
            continue
        allowed = BELOW.get(here, set())
        assert parts[1] in allowed | SHARED, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_library_is_known_where_it_belongs_and_nowhere_else(path):
    here, file = room(path), str(path.relative_to(ROOT).with_suffix(""))
    for name in imports(path):
        homes = ONLY_IN.get(name.split(".")[0])
        assert homes is None or {here, file, str(path.parent.relative_to(ROOT))} & homes, (
            f"{path} imports {name}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_lives_in_it(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_two_modules_share_a_name():
    """A name said in a traceback or a conversation means one file."""
    stems = [path.stem for path in FILES if not path.stem.startswith("__")]
    assert sorted({stem for stem in stems if stems.count(stem) > 1}) == []


def test_the_functions_of_the_architecture_page_exist():
    """A page that follows a text through the code must not lead nowhere."""
    page = (Path(__file__).parent.parent / "docs/architecture.md").read_text()
    named = re.findall(r"^ ?\d+  (\w[\w/]*\.py) +([\w.]+)", page, re.M)
    assert len(named) > 60
    for file, function in named:
        body = ast.parse((ROOT / file).read_text()).body
        for name in function.split("."):
            body = next(one.body for one in body if getattr(one, "name", "") == name)
