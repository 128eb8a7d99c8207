"""What people type who know other tools, and what it is called here.

A guess by spelling alone can harm: `--input` is nearer to `--output` than to `--file`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence

from tovec.cli.reporting import Reporter
from tovec.suggest import did_you_mean
from tovec.wording import count_phrase

MAX_WARNINGS = 3  # about texts that are names of files
MAX_NAME_CHARACTERS = 4096  # of a path, which the system takes
_KEYS = "keys are never options: use the provider's variable, key_command or key_file"
# What is advised, for the first of whose commands has the options that it names.
_FILES = (
    "-f PATH reads a file",
    "files follow the command: tovec batch FILE -o OUTPUT",
    "tovec embed -f PATH reads a file",
)
_OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--local", "--offline"), ("-p local is the embedded model",)),
    **dict.fromkeys(("-i", "--input", "--in-file", "--input-file", "--path"), _FILES),
    **dict.fromkeys(
        ("--field", "--column", "--key-field"),
        ("--text-field NAME", "tovec embed has --text-field NAME"),
    ),
    **dict.fromkeys(
        ("--top-k", "--topk", "--top", "--limit", "-n"), ("-k N", "tovec similarity has -k N")
    ),
    **dict.fromkeys(("--key", "--api-key", "--token", "--api_key", "--apikey"), (_KEYS,)),
    **dict.fromkeys(
        ("--out", "--out-file", "--output-file"), ("-o PATH", "> PATH, in the shell, writes a file")
    ),
    **dict.fromkeys(("--endpoint", "--api-base", "--host"), ("--base-url URL",)),
    **dict.fromkeys(("--dim", "--dims", "--size"), ("-d N", "tovec embed has -d N")),
    **dict.fromkeys(
        ("--threshold", "--cutoff"),
        ("--min SCORE, or --max DISTANCE", "tovec similarity has --min SCORE and --max DISTANCE"),
    ),
    **dict.fromkeys(
        ("--parallel", "--workers", "--jobs", "-j"),
        ("--concurrency N", "tovec embed has --concurrency N"),
    ),
    **dict.fromkeys(("--overwrite", "--replace"), ("--force", "tovec embed has --force")),
    **dict.fromkeys(
        ("--resume", "--continue"), ("tovec batch resumes when the same command is run again",)
    ),
    "--batch-size": (
        "requests are as large as the endpoint allows; --concurrency N sets how many at once",
        "requests are as large as the endpoint allows",
    ),
    "--silent": ("-q",),
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
    """Return what an option that does not exist is called in a command with the `known` ones.

    An advice that names another command is for options that this one does not have. Empty if
    nobody can tell.
    """
    name, known = name.partition("=")[0], set(known)
    for advice in _OPTIONS.get(name, ()):
        if advice.startswith("tovec ") or set(named_options(advice)) <= known:
            return advice
    return did_you_mean(name, known)


def named_options(advice: str) -> list[str]:
    """Return the options that an advice names for the command at hand."""
    return [] if "tovec " in advice else re.findall(r"(?<![\w-])--?[a-z][a-z-]*", advice)


def command_hint(words: Sequence[str], known: Sequence[str]) -> str:
    """Return what to type instead of a command that does not exist."""
    name = words[0].lower()
    if name == "help" and words[1:2] and words[1] in known:
        return f"tovec {words[1]} -h"
    if (meant := _COMMANDS.get(name)) is not None:
        return meant
    otherwise = f"commands: {', '.join(known)}; tovec embed TEXT embeds a text"
    return did_you_mean(name, known, otherwise)


def warn_of_file_names(texts: Iterable[str], reporter: Reporter) -> None:
    """Warn about texts that are names of files, which somebody may have meant to be read."""
    found = [text for text in texts if _is_file(text)]
    for text in found[:MAX_WARNINGS]:
        read = f"-f {shlex.quote(text)} reads the file"
        reporter.say("warning", f"{text!r} is embedded as text; {read}")
    if (more := len(found) - MAX_WARNINGS) > 0:
        what = count_phrase(more, "more text names a file and is", "more texts name files and are")
        reporter.say("warning", f"{what} embedded as text")


def _is_file(text: str) -> bool:
    if len(text) >= MAX_NAME_CHARACTERS or "\0" in text:
        return False
    return os.path.isfile(text)  # noqa: PTH113
