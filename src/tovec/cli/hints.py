"""What people type who know other tools, and what it is called here.

A guess by spelling alone can harm: `--input` is nearer to `--output` than to `--file`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

from tovec.cli.reporting import Reporter

MIN_LIKENESS = 0.8  # of two names, as difflib counts it: "--input" and "--output" have 0.77
_KEYS = "keys are never options: the provider's variable, key_command or key_file holds them"
_FILES = "-f PATH reads a file; tovec batch takes paths as arguments"
_OPTIONS = {
    **dict.fromkeys(("--local", "--offline"), "-p local is the model inside"),
    **dict.fromkeys(("-i", "--input", "--in-file", "--input-file", "--path"), _FILES),
    **dict.fromkeys(("--field", "--column", "--key-field"), "--text-field NAME"),
    **dict.fromkeys(("--top-k", "--topk", "--top", "--limit", "-n"), "-k N"),
    **dict.fromkeys(("--key", "--api-key", "--token", "--api_key", "--apikey"), _KEYS),
    **dict.fromkeys(("--out", "--out-file", "--output-file"), "-o PATH"),
    **dict.fromkeys(("--endpoint", "--api-base", "--host"), "--base-url URL"),
    **dict.fromkeys(("--dim", "--dims", "--size"), "-d N"),
    **dict.fromkeys(("--threshold", "--cutoff"), "--min SCORE, or --max DISTANCE"),
    **dict.fromkeys(("--parallel", "--workers", "--jobs", "-j"), "--concurrency N"),
    **dict.fromkeys(("--overwrite", "--replace"), "--force"),
    **dict.fromkeys(("--resume", "--continue"), "tovec batch resumes by itself: run it again"),
    "--batch-size": "requests are filled to the endpoint's limits; --concurrency says how many",
    "--silent": "-q",
}
_COMMANDS = {
    "help": "tovec -h, or tovec COMMAND -h",
    "version": "tovec --version",
    **dict.fromkeys(("search", "query", "rank", "find"), "tovec similarity TEXT --in FILE"),
    **dict.fromkeys(("compare", "similar"), "tovec similarity TEXT TEXT"),
    **dict.fromkeys(("embed-multi", "bulk", "run"), "tovec batch INPUT -o OUTPUT"),
    **dict.fromkeys(("server", "start"), "tovec serve"),
    **dict.fromkeys(("providers", "list"), "tovec models --providers"),
    **dict.fromkeys(("check", "test", "doctor"), "tovec config check"),
}


def option_hint(name: str, known: Iterable[str]) -> str:
    """Return what an option that does not exist is called here; empty if nobody can tell."""
    name = name.partition("=")[0]
    known = list(known)
    if (meant := _OPTIONS.get(name)) is not None:
        return meant
    near = difflib.get_close_matches(name, known, n=1, cutoff=MIN_LIKENESS)
    return f"did you mean {near[0]}?" if near else ""


def command_hint(name: str, known: Sequence[str]) -> str:
    """Return what to type instead of a command that does not exist."""
    if (meant := _COMMANDS.get(name.lower())) is not None:
        return meant
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}?"
    return f"commands: {', '.join(known)}; tovec embed TEXT embeds a text"


def warn_of_file_names(texts: Iterable[str], reporter: Reporter) -> None:
    """Warn about texts that are names of files, which somebody may have meant to be read."""
    for text in texts:
        if len(text) < 4096 and "\0" not in text and os.path.isfile(text):  # noqa: PTH113
            reporter.say("warning", f"{text!r} is embedded as text; -f {text} reads the file")
