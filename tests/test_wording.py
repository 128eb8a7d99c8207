"""Messages: a number and its noun agree, whatever the number is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import tovec
from tovec.wording import count_phrase

SOURCES = sorted(Path(tovec.__file__).parent.rglob("*.py"))
NOUNS = (
    "attempts batches bytes characters chunks columns components dimensions embeddings entries "
    " fields files frames hits ids inputs items labels lines messages models numbers objects "
    "pieces processes queries records requests retries rows segments texts tokens tries vectors"
)
COUNTED = re.compile(
    rf" (?:(?:more|other|further|blank|long|equal|repeated) )?(?:{'|'.join(NOUNS.split())})\b(?!/)"
)

# What no engineer would write in a message, and what to write instead.
OLD_WORDS = {
    r"\bmend(s|ed)?\b": "fix",
    r"\b(set|sets) aside\b": "reject, move aside",
    r"\bgo(es)? on\b|\bby itself\b": "resume, continue",
    r"(?<!there )\b(is|are) no [a-z]": "is not a",
    r"\b(do|does)(es)? not (go together|go with|fit)\b": "cannot be combined",
    r"\b(does|do) not act on\b": "does not apply to",
    r"\bbut for\b|\banew\b|\bat work\b|\bsuch that\b": "except, again, running",
    r"\b(is|are) (asked|told of|taken for|found out)\b": "request, tell, take",
    r"\b(somebody|everybody|nobody)\b": "another user, anyone, no one",
    r"\bthe model inside\b": "the embedded model",
    r"\bSay (more|nothing|how)\b": "log, print, show",
}


def _messages(source: str) -> Iterator[str]:
    """Yield the words of the strings in a source that a user may read; docstrings are not."""
    tree = ast.parse(source)
    bare = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def _counted(source: str) -> Iterator[str]:
    """Yield the f-strings in which a variable number stands before a plural."""
    for string in ast.walk(ast.parse(source)):
        if not isinstance(string, ast.JoinedStr):
            continue
        for value, after in zip(string.values, string.values[1:], strict=False):
            if (
                isinstance(value, ast.FormattedValue)
                and value.conversion == -1  # !r is a name
                and isinstance(after, ast.Constant)
                and COUNTED.match(str(after.value))
                and not _agrees(value.value)
            ):
                yield ast.unparse(string)


def _agrees(value: ast.expr) -> bool:
    """Return whether a value is a constant above one, a name, or a list of names."""
    return (isinstance(value, ast.Name) and value.id.isupper()) or (
        isinstance(value, ast.Call) and ast.unparse(value.func).endswith((".join", "count_phrase"))
    )


def test_no_message_writes_a_variable_number_before_a_plural():
    """#254: "1 rows were rejected" came from five rooms, each of which wrote its own numbers."""
    found = {
        f"{path.name}: {text}"
        for path in SOURCES
        if path.stem not in ("wording", "request_body")  # the latter in the words of OpenAI's API
        for text in _counted(path.read_text())
    }
    assert found == set()


def test_the_search_for_disagreeing_numbers_finds_them():
    assert list(_counted('f"{n:,} rows"')) == list(_counted("f'{n:,} rows'")) != []
    assert list(_counted('f"{len(found)} blank lines"'))
    assert not list(_counted("f'{MAX_ROWS} rows, {rate} rows/s, {count_phrase(n, \"row\")}'"))


def test_messages_use_the_words_of_the_trade():
    """#255: "mend the rows", "this is no job directory" and the like had to be translated."""
    found = {
        f"{path.name}: {text!r}: write {better}"
        for path in SOURCES
        for text in _messages(path.read_text())
        for old, better in OLD_WORDS.items()
        if re.search(old, text)
    }
    assert found == set()


@given(st.integers(0, 10**12))
def test_only_one_takes_the_singular(number):
    assert count_phrase(number, "row") == (f"{number:,} row" + "s" * (number != 1))
