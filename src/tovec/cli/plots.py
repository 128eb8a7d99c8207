"""Pictures: a heat map of texts with each other, a map of a corpus with its hits.

matplotlib is the extra `plot`; it is asked for before anything is embedded. Labels are drawn as
they are: no part of a text is taken for mathematics.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tovec.cli.terminal import safe
from tovec.errors import FileError, UsageError
from tovec.store.durable import OutputFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tovec.search.metrics import Scores
    from tovec.search.scan import Picture
    from tovec.search.task import Outcome, Similarity

MAX_POINT_LABELS = 45  # labels that fit beside a map
MAX_LABEL = 40  # characters of a text
MAX_NAMED_TEXTS = 400  # texts in a heat map whose names are written
MAX_ANNOTATED_TEXTS = 16  # texts whose scores are also written into the cells


class Drawing:
    """A picture to be drawn into a file, which appears whole or not at all.

    Raises UsageError at once for one that could not be drawn or stored.
    """

    def __init__(self, path: str, *, force: bool) -> None:
        self._path, self._force = path, force
        if Path(path).suffix.lower() not in (".png", ".svg"):
            raise UsageError("--plot draws .png or .svg", where=path)
        if importlib.util.find_spec("matplotlib") is None:
            raise UsageError(
                "pictures need matplotlib, which is not installed",
                hint="pip install 'tovec[plot]'",
            )
        if os.path.lexists(path) and not force:
            raise FileError("the picture exists", where=path, hint="--force replaces it")

    def draw(self, work: Similarity, outcome: Outcome) -> None:
        """Draw texts with each other, or a corpus with its hits."""
        if outcome.matrix is not None:
            matrix = outcome.matrix
            title = f"{matrix.metric} by {safe(matrix.model)}"
            self._store(heat_map(matrix.names, matrix.whole(), title))
        elif outcome.picture is not None:
            title = f"{safe(str(work.corpus))} ({work.metric})"
            self._store(corpus_map(outcome.picture, title))

    def _store(self, figure: Figure) -> None:
        output = OutputFile(self._path, force=self._force)
        try:
            with warnings.catch_warnings():
                # A script that the font lacks is drawn as boxes; the picture is right otherwise.
                warnings.filterwarnings("ignore", message=".*(Glyph|missing from)")
                kind = Path(self._path).suffix[1:].lower()
                figure.savefig(output.file, format=kind, dpi=150, bbox_inches="tight")
            output.commit()
        except BaseException:
            output.discard()
            raise


def heat_map(names: list[str], scores: Scores, title: str) -> Figure:
    """Draw a matrix of scores with its texts' names, as long as there is room to read them."""
    count = len(names)
    cell = max(0.14, min(0.6, 9 / count)) if count <= MAX_NAMED_TEXTS else 20 / count  # inches
    size = min(10.0, 60 * cell)  # points
    labels = [_shorten(name) if count <= MAX_NAMED_TEXTS else "" for name in names]
    side = count * cell
    beside = 0.3 + max(map(len, labels)) * size * 0.62 / 72
    width, height = max(side, 2.0) + beside + 1.2, side + beside + 0.6
    figure = _figure(width, height)
    axes = figure.add_axes((beside / width, beside / height, side / width, side / height))
    image = axes.imshow(scores, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.tick_params(length=0, pad=2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    if count <= MAX_ANNOTATED_TEXTS:
        middle = (float(scores.min()) + float(scores.max())) / 2
        for (i, j), score in np.ndenumerate(scores):
            color = "black" if score > middle else "white"
            value = f"{score + 0.0:.2f}"
            axes.text(j, i, value, ha="center", va="center", color=color, fontsize=size)
    place = ((beside + side + 0.2) / width, beside / height, 0.15 / width, side / height)
    figure.colorbar(image, cax=figure.add_axes(place)).ax.tick_params(labelsize=8)
    figure.text(0.1 / width, 1 - 0.3 / height, title, fontsize=10, parse_math=False)
    return figure


def corpus_map(picture: Picture, title: str) -> Figure:
    """Draw a corpus as points, the queries as stars, and their hits with labels."""
    figure = _figure(10, 7)
    axes = figure.add_axes((0.08, 0.08, 0.62, 0.84))
    axes.scatter(
        picture.rows[:, 0], picture.rows[:, 1], s=6, color="#b8bcc4", linewidths=0, label="rows"
    )
    taken: list[float] = []
    for number, (name, places, labels, own) in enumerate(picture.queries):
        color = f"C{number % 10}"
        query = _shorten(name)
        axes.scatter(
            own[0],
            own[1],
            s=150,
            color=color,
            zorder=4,
            marker="*",
            edgecolors="black",
            label=f"query: {query}",
        )
        x, y = places.T
        axes.scatter(x, y, s=26, color=color, zorder=3, label=f"hits of {query}")
        _name_points(axes, places, labels, color, taken)
    axes.set_xlabel(f"first principal component ({picture.share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({picture.share[1]:.0%})")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    for text in axes.legend(fontsize=8, loc="best").get_texts():
        text.set_parse_math(False)
    return figure


def _name_points(
    axes: Axes, places: Scores, labels: list[str], color: str, taken: list[float]
) -> None:
    """Write the points' labels in a column at the right, each joined to its point by a line."""
    for (x, y), label in sorted(zip(places.tolist(), labels, strict=True)):
        across = axes.transAxes + axes.transData.inverted()
        wanted = float(across.inverted().transform((x, y))[1])
        free = [
            i / MAX_POINT_LABELS
            for i in range(MAX_POINT_LABELS)
            if i / MAX_POINT_LABELS not in taken
        ]
        if not free:
            return
        at = min(free, key=lambda one: abs(one - wanted))
        taken.append(at)
        axes.annotate(
            _shorten(label), (x, y), (1.02, at), textcoords="axes fraction", fontsize=8,
            color=color, va="center", parse_math=False, annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": color, "lw": 0.4, "alpha": 0.6, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white")


def _shorten(name: str) -> str:
    return safe(" ".join(name.split()), MAX_LABEL)
