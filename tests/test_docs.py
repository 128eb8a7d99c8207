"""The documentation's examples do what they show, and its pages hang together."""

import re
import shutil
import subprocess

import pytest
from tools.examples import ROOT, Block, answered, blocks

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def rounded(text: str) -> str:
    """Give the text without times, and with long numbers to four places (processors differ)."""
    text = re.sub(r", \d+:\d\d$", "", text, flags=re.M)
    return re.sub(r"-?\d+\.\d{5,}", lambda number: f"{float(number[0]):.4f}", text)


@every_page
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_examples_of_a_page_run_and_answer_as_shown(page, tmp_path):
    skipped: list[tuple[Block, str]] = []
    shown = answered(page, tmp_path, lambda block, why: skipped.append((block, why)))
    assert rounded(shown) == rounded(page.read_text(encoding="utf-8")), (
        "run: python -m tools.examples"
    )
    missing = [f"{block.place} {why}" for block, why in skipped if not block.not_run]
    if missing:
        pytest.skip("; ".join(missing))


@every_page
def test_every_shell_example_is_at_least_shell(page):
    for block, _ in blocks(page):
        if block.language == "sh":
            done = subprocess.run(["bash", "-n"], input=block.body, text=True, capture_output=True)
            assert done.returncode == 0, f"{block.place}: {done.stderr}"


@every_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("data:"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
