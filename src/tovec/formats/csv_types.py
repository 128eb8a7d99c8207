"""The types of CSV's columns: a value in its type, written again, is the same text.

A column has a type where that is so of all its values; an empty field is null. So 007, 1.10, +1,
1E5, TRUE and whole numbers beyond 64 bits keep their column a text. Of a float that text is the
shortest that gives it back, as Python and pandas write it: 0.5, 5e-05.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import pyarrow as pa

_TIME = r"[0-9-]{10}T[0-9:]{8}(\.[0-9]{6})?"


class Type(NamedTuple):
    """A column's type: the pattern of its texts, and how they are read, checked and written."""

    name: str  # of its values, for messages
    kind: pa.DataType
    pattern: re.Pattern[str]
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    check: Callable[[Any], bool] = lambda _value: True

    def column(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the column; ValueError(row) for the first text that is not of the type."""
        there = list(filter(None, texts))
        try:
            values = list(map(self.parse, there))
            fits = list(map(self.write, values)) == there and all(map(self.check, values))
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                next(i for i, text in enumerate(texts) if text and not self._has(text))
            )
        if len(there) < len(texts):
            each = iter(values)
            values = [next(each) if text else None for text in texts]
        return pa.array(values, self.kind)

    def _has(self, text: str) -> bool:
        try:
            value = self.parse(text)
        except ValueError:  # the 31st of February
            return False
        return self.write(value) == text and self.check(value)


def _true(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_INT64 = 1 << 63
TYPES = (
    Type(
        "whole numbers",
        pa.int64(),
        re.compile("-?[0-9]+"),
        int,
        str,
        lambda value: -_INT64 <= value < _INT64,
    ),
    Type(
        "decimal numbers",
        pa.float64(),
        re.compile("-?[0-9.]+(e[-+][0-9]+)?"),
        float,
        repr,
        math.isfinite,
    ),
    Type(
        "true and false",
        pa.bool_(),
        re.compile("true|false"),
        _true,
        lambda value: "true" if value else "false",
    ),
    Type("dates", pa.date32(), re.compile("[0-9-]{10}"), date.fromisoformat, date.isoformat),
    Type(
        "times",
        pa.timestamp("us"),
        re.compile(_TIME),
        datetime.fromisoformat,
        datetime.isoformat,
    ),
    Type(
        "times in UTC",
        pa.timestamp("us", "UTC"),
        re.compile(_TIME + r"\+00:00"),
        datetime.fromisoformat,
        datetime.isoformat,
    ),
)


def type_of(texts: Sequence[str | None]) -> Type | None:
    """Return the type that all of a column's texts have, or None for text."""
    if not any(texts):
        return None
    first = next(text for text in texts if text)
    for one in TYPES:
        if one.pattern.fullmatch(first):
            try:
                one.column(texts)
            except ValueError:
                return None
            return one
    return None
