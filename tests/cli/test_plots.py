"""Pictures: they are drawn, whole, of everything, and nobody pays for one that cannot be."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from tests.search.test_ranking import Rows
from tests.servers.loopback import Loopback

from tovec.search import projection

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


def size_of(path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        small = np.asarray(image.convert("RGB").resize((64, 64))).reshape(-1, 3)
        assert len(np.unique(small, axis=0)) > 20  # something is drawn
        return image.size


@pytest.mark.parametrize("count", [2, 30, 200])
def test_a_heat_map_has_room_for_its_labels(tovec, tmp_path, count):
    (tmp_path / "t.txt").write_text(
        "".join(f"text {i} costs ${i} and $x_{i}\n" for i in range(count))
    )
    target = tmp_path / "m.png"
    done = tovec("similarity", "-q", "-f", tmp_path / "t.txt", "-p", "local", "--plot", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    width, height = size_of(target)
    if 16 < count <= 400:  # a label's line is 0.14 inches at least, at 150 dots an inch
        assert min(width, height) >= count * 0.14 * 150


def test_a_search_is_drawn_with_its_hits(tovec, tmp_path):
    (tmp_path / "t.txt").write_text("".join(f"number {i} 東京 $\n" for i in range(300)))
    for name in ("m.svg", "m.png"):
        done = tovec(
            *("similarity", "number 7 $a$", "number 9", "--in", tmp_path / "t.txt", "-p", "local"),
            *("--plot", tmp_path / name, "-k", 5),
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout.splitlines()) == 11
    assert min(size_of(tmp_path / "m.png")) > 700
    svg = (tmp_path / "m.svg").read_text()
    assert svg.rstrip().endswith("</svg>")
    # Rows, hits and a star for each query, and as many entries of the legend.
    assert len(re.findall("PathCollection", svg)) == (1 + 2 * 2) * 2
    legend = svg[svg.index('id="legend') :]
    words = [found.strip() for found in re.findall("<!-- (.*?) -->", legend)]
    assert words == [
        "rows",
        *("query: number 7 $a$", "hits of number 7 $a$"),
        *("query: number 9", "hits of number 9"),
    ]


def test_a_corpus_of_one_or_of_equal_rows_is_drawn_too(tovec, tmp_path):
    for number, text in enumerate(("one", "same\nsame\nsame")):
        (tmp_path / "t.txt").write_text(text)
        target = tmp_path / f"{number}.png"
        done = tovec(
            *("similarity", "one", "--in", tmp_path / "t.txt", "-p", "local", "--plot", target)
        )
        assert (done.returncode, done.stderr) == (0, b"")
        size_of(target)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a", "b", "--plot", "x.gif"], 2, b".png or .svg"),
        (["a", "b", "--plot", "old.png"], 7, b"--force"),
        (["--in", "t.txt", "--pairs", "--plot", "x.png"], 2, b"not --pairs"),
        (["--plot", "x.png"], 2, b"--plot draws"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_sent(
    tovec, tmp_path, arguments, code, words
):
    (tmp_path / "old.png").write_text("precious")
    (tmp_path / "t.txt").write_text("a\nb\n")
    with Loopback(dimensions=8) as server:
        there = ["--base-url", server.base_url, "-m", "m"]
        done = tovec("similarity", *arguments, *there, cwd=tmp_path)
        assert server.ledger.entries == []
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr
    assert (tmp_path / "old.png").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["old.png", "t.txt"]


def test_without_matplotlib_the_extra_is_named(tmp_path):
    code = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'matplotlib' else find(name, *more)\n"
        "sys.argv = ['tovec', 'similarity', 'a', 'b', '-p', 'local', '--plot', 'x.png']\n"
        "from tovec.__main__ import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"pip install 'tovec[plot]'" in done.stderr


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_plane_is_that_of_numpys_singular_vectors(metric):
    random = np.random.default_rng(1)
    matrix = (random.standard_normal((400, 9)) * np.arange(9, 0, -1) + 2).astype(np.float32)
    wide = matrix.astype(float)
    if metric == "cosine":
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    centred = wide - wide.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    plane = projection.fit_plane(metric, Rows(matrix, 33))
    assert np.allclose(plane.share, singular[:2] ** 2 / (singular**2).sum())
    assert np.allclose(np.abs(plane.points(matrix)), np.abs(centred @ axes[:2].T), atol=1e-6)


def test_a_large_corpus_is_drawn_by_an_even_sample(monkeypatch):
    monkeypatch.setattr(projection, "MAX_DRAWN_ROWS", 10)
    matrix = np.random.default_rng(1).standard_normal((95, 4)).astype(np.float32)
    plane = projection.fit_plane("euclidean", Rows(matrix, 7))
    assert np.allclose(projection.sample_points(Rows(matrix, 7), plane), plane.points(matrix[::10]))
