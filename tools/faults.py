"""The page docs/faults.md: each fault of tests/faults/catalogue.toml with the tests that carry it.

A test carries a fault's number as `#N` in its docstring, or in a comment among its lines.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
CATALOGUE = "tests/faults/catalogue.toml"
_MARK = re.compile(r"#(\d{1,3})\b")


class Fault(NamedTuple):
    """One fault; `reason` says why it has no test."""

    number: int
    group: str
    fault: str
    promise: str
    reason: str = ""


class Test(NamedTuple):
    """A test that carries a mark."""

    path: str
    name: str

    def __str__(self) -> str:
        sentence = self.name.removeprefix("test_").replace("_", " ")
        return f"{sentence} ({self.path.removeprefix('tests/').removesuffix('.py')})"


def catalogue() -> list[Fault]:
    """Give every fault, in order."""
    groups = tomllib.loads((ROOT / CATALOGUE).read_text(encoding="utf-8"))
    groups.pop("measured", None)
    found = [Fault(int(n), group, **one) for group in groups for n, one in groups[group].items()]
    return sorted(found)


def measured() -> list[dict[str, str]]:
    """Give the long runs: what was run, how to run it again, and what came of it."""
    whole = tomllib.loads((ROOT / CATALOGUE).read_text(encoding="utf-8"))
    found: list[dict[str, str]] = whole.get("measured", [])
    return found


def marked() -> dict[int, list[Test]]:
    """Give the tests by the numbers that they carry."""
    found: dict[int, list[Test]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        for test, words in _tests(path.read_text(encoding="utf-8")):
            for number in sorted({int(mark) for mark in _MARK.findall(words)}):
                found[number].append(Test(name, test))
    return found


def _tests(source: str) -> Iterator[tuple[str, str]]:
    """Give each test's name with its docstring and the comments from its decorators on."""
    comments = [
        (token.start[0], token.string[1:])
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            last = node.end_lineno or node.lineno
            inside = [text for line, text in comments if first <= line <= last]
            yield node.name, "\n".join([ast.get_docstring(node) or "", *inside])


def files() -> dict[str, str]:
    """Give the page's text by its path in the repository."""
    return {"docs/faults.md": page(catalogue(), marked(), measured())}


def page(faults: list[Fault], tests: dict[int, list[Test]], runs: list[dict[str, str]]) -> str:
    """Give the page."""
    tested = sum(bool(tests.get(one.number)) for one in faults)
    lines = [
        "# What can go wrong, and what happens then",
        "",
        f"Made by `tools/faults.py` from `{CATALOGUE}` and the marks in the tests:",
        f"{len(faults)} faults, {tested} with tests, {len(faults) - tested} with the reason",
        "why none can be given. A test fails when a fault has neither, or when this page is old.",
        "",
    ]
    if runs:
        lines += ["## Long runs", "", "| what | command | figures |", "|---|---|---|"]
        lines += [f"| {one['what']} | `{one['command']}` | {one['figures']} |" for one in runs]
        lines.append("")
    group = ""
    for one in faults:
        if one.group != group:
            group = one.group
            lines += [f"## {group}", "", "| | fault | promise | tests |", "|---|---|---|---|"]
        proof = "<br>".join(map(str, tests.get(one.number, []))) or f"none: {one.reason}"
        lines.append(f"| {one.number} | {one.fault} | {one.promise} | {proof} |")
        following = [other for other in faults if other.number == one.number + 1]
        if not following or following[0].group != group:
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"
