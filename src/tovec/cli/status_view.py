"""What `tovec batch --status` and `--dry-run` show: facts, in words for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from tovec.cli.terminal import encodable, is_terminal, safe


def show_facts(facts: Mapping[str, object], words: Mapping[str, object]) -> None:
    """Write `words` to a terminal as aligned lines, or `facts` to a pipe as one JSON object."""
    if is_terminal():
        width = max(map(len, words))
        for name, value in words.items():
            line = f"{name:<{width}}  {safe(_value_in_words(value))}\n"
            sys.stdout.write(encodable(line, sys.stdout))
        return
    sys.stdout.write(json.dumps(facts) + "\n")


def _value_in_words(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def status_words(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return a job's facts as a reader wants them: what matters first, and nothing unknown."""
    state = facts["state"]
    if facts["exit_code"] is not None:
        state += f", exit {facts['exit_code']}: {facts['exit_means']}"
    rows, total = facts["rows"], facts["rows_total"]
    if rows is not None and total is not None and facts["state"] != "finished":
        about = "about " if facts["rows_total_is"] == "about" else ""
        rows = f"{rows:,} of {about}{total:,}"
    told = {"directory", "rows_total", "rows_total_is", "exit_code", "exit_means", "running"}
    words = {name: value for name, value in facts.items() if name not in (*told, "identity")}
    words = {"directory": facts["directory"], **words, "state": state, "rows": rows}
    for name, value in _flatten(facts["identity"]).items():
        words.setdefault(name, value)
    return {name: value for name, value in words.items() if value not in (None, 0, "")}


def _flatten(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return facts and the facts within them; a list is shown as JSON."""
    flat: dict[str, object] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value)
        elif isinstance(value, list):
            flat[name] = json.dumps(value, ensure_ascii=False)
        else:
            flat[name] = value
    return flat
