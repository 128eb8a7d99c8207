"""The name that somebody may have meant: one measure and one wording for all of tovec."""

from __future__ import annotations

from collections.abc import Iterable

MIN_LIKENESS = 0.8  # of two names, as difflib counts it: "--input" and "--output" have 0.77


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that `name` may be a slip of; "" where none is near enough."""
    import difflib  # it takes 2 ms, and only mistakes need it

    known = list(known)
    if near := difflib.get_close_matches(name, known, n=1, cutoff=MIN_LIKENESS):
        return near[0]
    # Two swapped letters of a short name: "txet" and "text" have a likeness of 0.75.
    return next((one for one in known if sorted(one) == sorted(name)), "")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the question whether the nearest known name was meant; else `otherwise`."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else otherwise
