"""The types of CSV's columns, found so that no digit is lost: 007 stays a text.

A column has a type where all its values have that type's one plain spelling; an empty field is
null. Whole numbers beyond 64 bits (or beside floats, beyond 15 digits) stay texts, too.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
TYPES: tuple[tuple[Any, str], ...] = (
    (pa.int64(), r"^(0|-?[1-9][0-9]*)$"),
    (pa.float64(), r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]+)?$"),
    (pa.bool_(), r"^(true|false|True|False|TRUE|FALSE)$"),
    (pa.date32(), f"^{_DAY}$"),
    (pa.timestamp("us"), f"^{_DAY}{_TIME}$"),
    (pa.timestamp("us", "UTC"), f"^{_DAY}{_TIME}Z$"),
)
_PATTERNS = dict(TYPES)


def type_of(column: Any) -> Any:
    """Give the type that all of a column's texts can be got back from, or None for text."""
    there = column.filter(pc.not_equal(column, ""))
    if not len(there):
        return None
    for kind, pattern in TYPES:
        if pc.all(pc.match_substring_regex(there, pattern)).as_py():
            try:
                there.cast(kind)
            except pa.ArrowInvalid:  # beyond its range, or the 31st of February
                return None
            return kind
    return None


def _casts(value: Any, kind: Any) -> bool:
    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return not value.as_py()
    return True


def typed(column: Any, kind: Any) -> Any:
    """Give a column of texts in its type; ValueError(row) for the first that is not of it."""
    empty = pc.equal(column, "")
    fits = pc.or_(empty, pc.match_substring_regex(column, _PATTERNS[kind]))
    at = pc.index(fits, False).as_py()
    if at < 0:
        try:
            return pc.if_else(empty, None, column).cast(kind)
        except pa.ArrowInvalid:  # beyond the type's range
            at = next(i for i, one in enumerate(column) if not _casts(one, kind))
    raise ValueError(at)
