"""The tree of commands as plain records, for whatever shows it.

Help, completions, man pages and the reference page are all made from these records, so they
cannot disagree. A command's docstring is its text: the first paragraph is the summary, a
paragraph that ends like a sentence is prose, any other is an example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

DEFAULT_PANEL = "Options"


class Option(NamedTuple):
    """One option or argument; an argument has no names."""

    names: tuple[str, ...]  # short ones first: ("-p", "--provider")
    metavar: str  # what stands for the value: "NAME", "jsonl|npy"; "" for a switch
    help: str
    panel: str
    default: str = ""  # where the help text does not say it
    repeatable: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Return the values that there are, where the metavar lists them."""
        parts = self.metavar.strip("[].").split("|")
        return tuple(parts) if all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", p) for p in parts) else ()

    @property
    def spelling(self) -> str:
        """Return the option as help and synopsis show it: "-p, --provider NAME"."""
        return f"{', '.join(self.names)} {self.metavar}".strip()


class Command(NamedTuple):
    """One command with its text, or the program itself where `commands` is not empty."""

    name: str  # "tovec embed"
    summary: str
    prose: tuple[str, ...]
    examples: tuple[str, ...]  # one or more lines of shell each
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    commands: tuple[Command, ...] = ()

    @property
    def usage(self) -> str:
        """Return the command line's form: "tovec embed [OPTIONS] [TEXT]..."."""
        rest = "COMMAND [ARGS]..." if self.commands else " ".join(a.metavar for a in self.arguments)
        return f"{self.name} [OPTIONS] {rest}".rstrip()

    def panels(self) -> Iterator[tuple[str, list[Option]]]:
        """Return the options by panel, in the order in which they are declared."""
        for panel in dict.fromkeys(option.panel for option in self.options):
            yield panel, [option for option in self.options if option.panel == panel]


def read(command: Any, name: str) -> Command:
    """Return Typer's command, and those below it, as records."""
    summary, prose, examples = _split_text(command.help or "")
    shown = [one for one in command.get_params(None) if not getattr(one, "hidden", False)]
    return Command(
        name,
        summary,
        prose,
        examples,
        tuple(_argument(one) for one in shown if one.param_type_name == "argument"),
        tuple(_option(one) for one in shown if one.param_type_name == "option"),
        tuple(
            read(one, f"{name} {word}")
            for word, one in getattr(command, "commands", {}).items()
            if not one.hidden
        ),
    )


def _split_text(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", text) if part.strip()]
    summary, *rest = [_join_lines(paragraphs[0]), *paragraphs[1:]] if paragraphs else [""]
    prose = tuple(_join_lines(part) for part in rest if part.endswith("."))
    return summary, prose, tuple(part for part in rest if not part.endswith("."))


def _join_lines(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _argument(argument: Any) -> Option:
    return Option((), argument.metavar or argument.name.upper(), argument.help or "", "Arguments")


def _option(option: Any) -> Option:
    switch = option.is_flag or option.count
    default = option.default if option.show_default and not switch else None
    return Option(
        names=tuple(sorted((*option.opts, *option.secondary_opts), key=len)),
        metavar="" if switch else (option.metavar or "VALUE"),
        help=option.help or "",
        panel=option.rich_help_panel or DEFAULT_PANEL,
        default="" if default is None else str(default),
        repeatable=bool(option.multiple),
    )
