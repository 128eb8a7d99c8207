"""Scores on a terminal: one with its bar, or a table of them, the nearer the darker."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from tovec.cli.tables import fit
from tovec.cli.terminal import encodable, safe
from tovec.wording import count_phrase

if TYPE_CHECKING:
    from tovec.search.metrics import Scores

BAR_CELLS = 24  # cells
MAX_NAME_CELLS = 24  # cells of a text's name, where there is room
_PALE, _DARK = (239, 243, 255), (8, 69, 148)


def pair(score: str, metric: str, model: str) -> None:
    """Show one score, with a bar from 0 to 1 where the metric has such a scale."""
    kind = {"cosine": "cosine similarity", "dot": "dot product"}.get(metric, "Euclidean distance")
    _line(f"{score}  {kind} by {safe(model, 60)}")
    if metric == "cosine":
        filled = round(min(max(float(score), 0.0), 1.0) * BAR_CELLS)
        _line(f"0 {_sign('━', '=') * filled}{_sign('─', '-') * (BAR_CELLS - filled)} 1")


def _sign(sign: str, plain: str) -> str:
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return plain
    return sign


def _line(text: str) -> None:
    sys.stdout.write(encodable(text, sys.stdout) + "\n")


def matrix(names: list[str], scores: Scores, metric: str) -> None:
    """Show a matrix as a table: texts numbered, as many columns as the terminal has room for."""
    from rich.console import Console
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    console = Console(file=sys.stdout, width=width, highlight=False, soft_wrap=True)
    cells = [[f"{score + 0.0:.2f}" for score in row] for row in scores.round(2)]
    cell = max(len(str(len(names))), *(len(one) for row in cells for one in row)) + 2
    lead = len(str(len(names))) + 2
    name = max(8, min(MAX_NAME_CELLS, max(map(len, names)), width - lead - cell * len(names)))
    shown = max(1, min(len(names), (width - lead - name) // cell))
    console.print(
        Text(" " * (lead + name) + "".join(f"{i + 1:>{cell - 1}} " for i in range(shown)))
    )
    low, high = float(scores.min()), float(scores.max())
    if metric == "euclidean":
        low, high = high, low
    for i, row in enumerate(cells):
        line = Text(f"{i + 1:>{lead - 2}}  {fit(safe(names[i], 4 * name), name)}")
        for j in range(shown):
            share = (scores[i, j] - low) / (high - low) if high != low else 0.0
            line.append(f"{row[j]:>{cell - 1}} ", style=_style(float(share)))
        line.plain = encodable(line.plain, sys.stdout)
        console.print(line)
    if shown < len(names):
        _line(f"{count_phrase(len(names) - shown, 'more column')}: --format tsv")


def _style(share: float) -> str:
    red, green, blue = (round(p + share * (d - p)) for p, d in zip(_PALE, _DARK, strict=True))
    return f"{'white' if share > 0.5 else 'black'} on rgb({red},{green},{blue})"
