"""Which of a row's fields are embedded, and how several become one text.

A template's fields are looked up, never evaluated: str.format on a user's row would reach
attributes of objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tovec.errors import UsageError
from tovec.formats.interface import ReadOptions

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class TextField:
    """Gives the text of a row, made from its fields `names` (`single` where it is just the one).

    Raises ValueError(kind, reason) for a row without one: kind "missing", "type" or "empty".
    """

    def __init__(self, options: ReadOptions) -> None:
        self.names = options.text_fields
        self._join = _template(options.template) if options.template is not None else _by_lines
        self.single = self.names[0] if self._join is _by_lines and len(self.names) == 1 else None
        if options.template is not None:
            self.names = tuple(dict.fromkeys(_names_of(options.template)))

    def __call__(self, row: Any) -> str:
        """Give the text that is embedded for a row."""
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


def _text(row: Any, name: str) -> str:
    if not isinstance(row, dict):
        raise ValueError("type", f"the line holds {_kind(row)}, not an object")
    if name not in row:
        found = ", ".join(map(str, list(row)[:10])) or "none"
        raise ValueError("missing", f"there is no field {name!r}; the row has: {found}")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError("type", f"the field {name!r} holds {_kind(value)}, not a text")
    return value


def _kind(value: Any) -> str:
    kinds = {bool: "a boolean", type(None): "null", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "a text")


def _by_lines(fields: Mapping[str, str]) -> str:
    return "\n".join(fields.values())


def _names_of(template: str) -> list[str]:
    return [found[1] for found in _PART.finditer(template) if found[1] is not None]


def _template(template: str) -> Callable[[Mapping[str, str]], str]:
    if not _names_of(template) or "" in _names_of(template):
        raise UsageError('--template names its fields in braces, as in "{title}: {body}"')
    for found in _PART.finditer(template):
        if found[0] in ("{", "}"):
            raise UsageError(
                f"--template has a lone {found[0]} at character {found.start() + 1}",
                hint="write {{ or }} for a brace that is text",
            )

    def fill(fields: Mapping[str, str]) -> str:
        return _PART.sub(
            lambda found: found[0][0] if found[1] is None else fields[found[1]], template
        )

    return fill
