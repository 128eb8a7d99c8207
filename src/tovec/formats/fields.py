"""Which of a row's fields are embedded, and how several become one text.

A template's fields are looked up, never evaluated: str.format on a user's row would reach
attributes of objects. A name with dots reaches into objects, unless a field has that very name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tovec.errors import UsageError
from tovec.formats.protocols import ReadOptions
from tovec.formats.rows import check_fields, check_names

_PART = re.compile(r"\\(.?)|\{\{|\}\}|\{([^{}]*)\}|[{}]", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}
_MISSING = object()
QUERIES = "--query-template says how queries are made: '{text}' leaves them as they are"


Join = Callable[[Mapping[str, str]], str]


class TextField:
    """Returns the text of a row, made from its fields `names` (`single` where it is just the one).

    Raises ValueError(kind, reason) for a row without one: kind "missing", "type" or "empty".
    """

    def __init__(self, options: ReadOptions) -> None:
        self.names = options.text_fields
        self._join: Join = _by_lines
        if options.template is not None:
            self._join, self.names = parse_template(options.template, options.template_option)
        self.single = self.names[0] if self._join is _by_lines and len(self.names) == 1 else None

    def __call__(self, row: Any) -> str:
        """Return the text that is embedded for a row."""
        if self.single is not None:
            try:
                text = row[self.single]
            except (KeyError, TypeError, IndexError):
                text = _text(row, self.single)
        elif isinstance(row, dict):
            text = self._join({name: _text(row, name) for name in self.names})
        else:
            text = _text(row, self.names[0])
        if not isinstance(text, str):
            text = _text(row, self.single or self.names[0])
        if not text or text.isspace():
            raise ValueError("empty", f"the text in {', '.join(self.names)} is empty")
        return text


class PlainText:
    """Returns the texts that are embedded for plain texts, whose rows have the fixed `fields`.

    `more` are fields that all rows of a file share (the columns of its directory's name).
    Raises UsageError for an option that names another field: no row will ever have it.
    """

    def __init__(
        self,
        options: ReadOptions,
        fields: Sequence[str],
        what: str,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.more = more
        self._field: TextField | None = None
        check_fields(options, fields, what)
        names = ("text",) if options.plain_as_text else options.text_fields
        option = "--text-field" if options.template is None else options.template_option
        if options.template is not None or names != ("text",):
            self._field = TextField(options)
            hint = QUERIES if options.plain_as_text and option == "--template" else ""
            check_names(self._field.names, fields, f"{option}: {what}", hint)

    def __call__(
        self, texts: list[str], index: Sequence[int], more: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return what is embedded for the rows; `more` are fields that all of them share."""
        if self._field is None:
            return texts
        rows = zip(index, texts, strict=True)
        shared = {**{name: str(value) for name, value in self.more.items()}, **(more or {})}
        return [self._field({"index": str(i), "text": text, **shared}) for i, text in rows]


def prefixes(name: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to read a name with dots as a field and a name within it, longest first."""
    at = len(name)
    while (at := name.rfind(".", 0, at)) >= 0:
        yield name[:at], name[at + 1 :]


def _find(row: Mapping[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    for head, rest in prefixes(name):
        inner = row.get(head)
        if isinstance(inner, dict) and (found := _find(inner, rest)) is not _MISSING:
            return found
    return _MISSING


def _text(row: Any, name: str) -> str:
    if not isinstance(row, dict):
        raise ValueError("type", f"the line holds {_kind(row)}, not an object")
    value = _find(row, name)
    if value is _MISSING:
        found = ", ".join(map(str, list(row)[:10])) or "none"
        raise ValueError("missing", f"there is no field {name!r}; the row has: {found}")
    if not isinstance(value, str):
        raise ValueError("type", f"the field {name!r} holds {_kind(value)}, not a text")
    return value


def _kind(value: Any) -> str:
    kinds = {bool: "a boolean", type(None): "null", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "a text")


def _by_lines(fields: Mapping[str, str]) -> str:
    return "\n".join(fields.values())


def parse_template(template: str, option: str) -> tuple[Join, tuple[str, ...]]:
    """Return what fills a template with fields, and the names of these fields.

    Raises UsageError for a template that cannot be meant: no field, a lone brace, an escape that
    is not one of \\n, \\t and \\\\.
    """
    parts: list[str] = []  # literal texts at even places, names at odd ones
    literal, end = "", 0
    for found in _PART.finditer(template):
        literal += template[end : found.start()]
        end = found.end()
        if found[2] is not None:
            parts += [literal, found[2]]
            literal = ""
        else:
            literal += _literal(found, option)
    parts.append(literal + template[end:])
    names = tuple(dict.fromkeys(parts[1::2]))
    if not names or "" in names:
        raise UsageError(f'{option} names its fields in braces, as in "{{title}}: {{body}}"')

    def fill(fields: Mapping[str, str]) -> str:
        return "".join(fields[one] if i % 2 else one for i, one in enumerate(parts))

    return fill, names


def _literal(found: re.Match[str], option: str) -> str:
    """Return the text of a brace or an escape in a template."""
    place = f"at character {found.start() + 1}"
    if found[0] in ("{", "}"):
        raise UsageError(
            f"{option} has a lone {found[0]} {place}",
            hint="write {{ or }} for a brace that is text",
        )
    if found[1] is None:
        return found[0][0]
    if found[1] not in _ESCAPES:
        raise UsageError(
            f"{option} has an unknown escape {found[0]} {place}",
            hint=r"\n is a line end, \t a tab, and \\ a backslash",
        )
    return _ESCAPES[found[1]]
