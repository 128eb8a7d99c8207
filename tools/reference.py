"""The reference page, docs/reference.md, from the tree of commands and tools/prose.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tools import prose
from tools.manpages import config_fields

from tovec.cli.command_tree import Command, Option
from tovec.cli.commands import program

SHARED = ("Endpoint", "General", "Help")  # panels that are told once, not for each command


def files() -> dict[str, str]:
    """Give the page's text by its path in the repository."""
    return {"docs/reference.md": page(program())}


def page(root: Command) -> str:
    """Give the whole page."""
    lines = [
        "# Reference",
        "",
        "Made from the command tree by `tools/reference.py`; `tovec COMMAND",
    ]
    lines += ["--help` and the man pages say the same.", ""]
    for command in root.commands:
        lines += _command(command)
    lines += ["## Options of several commands", ""]
    for name in SHARED[:-1]:
        users = [one for one in root.commands if any(p == name for p, _ in one.panels())]
        (options,) = [list(o) for p, o in users[0].panels() if p == name]
        who = "every command" if len(users) == len(root.commands) else _listed(users)
        lines += [f"### {name} options", "", f"For {who}.", "", *_table(options), ""]
    lines += ["## Exit status", "", *_pairs("exit", prose.EXIT_STATUS), ""]
    lines += ["## Environment", "", *_pairs("variable", prose.ENVIRONMENT), ""]
    lines += ["## The config file", "", *_pairs("file", prose.FILES), ""]
    lines += [
        "TOML. An option or an environment variable wins over it; it is never looked for in the",
        "working directory. A field that tovec does not know is an error.",
        "",
        *_pairs("field", config_fields(root)),
        "",
        "### Providers",
        "",
        "A table `[providers.NAME]` adds a provider, or lays its fields over those of a known one.",
        "",
        *_pairs("field", prose.PROVIDER),
        "",
        "`limits` is a table of whole numbers; 0 takes a limit away.",
        "",
        *_pairs("limit", prose.LIMITS),
        "",
        "```toml",
        prose.CONFIG_EXAMPLE.rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> Iterator[str]:
    yield from (f"## {command.name}", "", f"`{command.usage}`", "", command.summary, "")
    more = prose.PAGES.get(command.name, prose.Page())
    for paragraph in (*command.prose, *more.description):
        yield from (paragraph, "")
    # `text`, so that the test of examples leaves them alone: they name files and keys of others.
    yield from ("```text", *command.examples, "```", "")
    if command.arguments:
        yield from (*_table(command.arguments), "")
    for panel, options in command.panels():
        if panel not in SHARED:
            yield from (f"### {command.name}: {panel.lower()}", "", *_table(options), "")
    shared = [panel for panel, _ in command.panels() if panel in SHARED[:-1]]
    links = " and ".join(f"[{panel}](#{panel.lower()}-options)" for panel in shared)
    yield from (f"Further: {links} options.", "")


def _table(options: Iterable[Option]) -> Iterator[str]:
    yield from ("| option | what it does |", "|---|---|")
    for option in options:
        default = f" Default: {option.default}." if option.default else ""
        again = " May be repeated." if option.repeatable and "repeated" not in option.help else ""
        yield f"| {_code(option.spelling)} | {_cell(option.help + default + again)} |"


def _pairs(head: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield from (f"| {head} | meaning |", "|---|---|")
    for name, text in entries.items():
        yield f"| {_code(name)} | {_cell(text)} |"


def _code(text: str) -> str:
    # A bar would end the cell, also between backquotes, where it cannot be escaped everywhere.
    return "<code>" + text.replace("|", "&#124;").replace("<", "&lt;") + "</code>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _listed(commands: list[Command]) -> str:
    return ", ".join(f"`{one.name}`" for one in commands)
