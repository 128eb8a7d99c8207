"""docs/similarity.md: every recipe runs as it stands, and does what it is there for."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "similarity.md"
SECTIONS = dict(re.findall(r"^#+ (.+?)\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.M | re.S))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the page's file of rows, and `tovec` on the path."""
    directory = tmp_path_factory.mktemp("recipes")
    (directory / "bin").mkdir()
    script = directory / "bin" / "tovec"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tovec "$@"\n')
    script.chmod(0o755)
    run(directory, "Comparing, searching and sorting texts")
    return directory


def run(place: Path, section: str) -> list[str]:
    """Run a section's blocks; give what each printed, compared with the text that follows it."""
    printed = []
    blocks = re.findall(r"```sh\n(.*?)```\n(?:```text\n(.*?)```)?", SECTIONS[section], re.S)
    assert blocks
    for script, said in blocks:
        if "jq" in script and not shutil.which("jq"):
            script = "\n".join(line for line in script.splitlines() if "jq" not in line)
        env = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-ec", script], cwd=place, env=env, capture_output=True, text=True, timeout=60,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert not said or done.stdout == said
        printed.append(done.stdout)
    return printed


def table(printed: str) -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in printed.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_two_texts(place):
    pairs = run(place, "Two texts")[2].split()
    assert len(pairs) == 2 and float(pairs[0]) > float(pairs[1]) + 0.1


def test_search(place):
    ranked, parcel, prefixed = run(place, "Search")
    assert [row["id"] for row in table(ranked)] == ["password", "login"]
    assert json.loads(parcel)["id"] in ("track", "late")
    assert [row["id"] for row in table(prefixed)] == ["password"]


def test_recommendations(place):
    (printed,) = run(place, "Recommendations")
    assert {row["id"] for row in table(printed)} == {"card", "card2"}


def test_classification(place):
    labels, examples = (table(printed) for printed in run(place, "Classification"))
    known = {"password": "a", "login": "a", "track": "d", "late": "d"}
    known |= {"pay": "p", "card": "p", "card2": "p"}
    for rows in (labels, examples):
        assert [row["id"] for row in rows] == [*known, "penguins"]
        assert {row["id"]: row["label"][0] for row in rows[:-1]} == known


def test_anomaly_detection(place):
    (printed,) = run(place, "Anomaly detection")
    assert [row["rank"] for row in table(printed)] == ["1", "2"]
    assert table(printed)[0]["id"] == "penguins"


def test_diversity(place):
    (printed,) = run(place, "Diversity")
    assert re.fullmatch(r"0\.\d{6}\n", printed)


def test_clustering(place):
    (printed,) = run(place, "Clustering")
    rows = table(printed)
    assert {row["cluster"] for row in rows} == {"0", "1", "2"}
    together = {row["id"] for row in rows if row["cluster"] == "0"}
    assert together <= {"pay", "card", "card2"} or together <= {
        "password",
        "login",
        "track",
        "late",
    }


def test_near_duplicates(place):
    (printed,) = run(place, "Near-duplicates")
    assert printed.splitlines()[1].split("\t")[1:] == ["5", "6", "card", "card2"]
    if shutil.which("jq"):
        assert printed.splitlines()[-1] == "card2"


def test_smaller_vectors(place):
    printed = run(place, "Smaller vectors")[0]
    if shutil.which("jq"):
        assert printed == "password\n"


def test_every_section_with_a_recipe_is_tested():
    tested = {name[5:].replace("_", " ") for name in globals() if name.startswith("test_")}
    for section, text in SECTIONS.items():
        if "```sh" in text and not section.startswith("Comparing"):
            assert section.lower().replace("-", " ") in tested
