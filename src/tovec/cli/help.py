"""Help: `-h` is one screen (80x24), `--help` has a line for each option; both from the tree.

Plain text with bold headings on a terminal that takes them. Nothing is drawn, so Rich stays out:
help is there as fast as the program starts.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from typer import Context
from typer.core import TyperCommand, TyperGroup, TyperOption

from tovec.cli import command_tree
from tovec.cli.hints import command_hint
from tovec.cli.terminal import encodable, is_terminal
from tovec.errors import UsageError

HELP = "Help"
HELP_COLUMN = 28
MAX_SCREEN_LINES = 23  # lines of 24: the prompt takes one
MAX_COLUMNS = 100  # longer lines are hard to read

Page = Callable[[command_tree.Command, int], str]  # a command and a width to its help


class HelpingCommand(TyperCommand):
    """A command whose help is ours."""

    def get_params(self, ctx: object) -> list[Any]:
        """Return the options with -h and --help among them."""
        del ctx
        return [*self.params, *_help_options()]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of the words; an error then says which command it is about."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", self) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def get_help(self, ctx: Any) -> str:
        """Return the help that fits a screen."""
        return brief_page(command_tree.read(self, ctx.command_path), _width())


class HelpingGroup(TyperGroup):
    """The program: its help is ours, and a mistyped command is answered with the nearest."""

    get_params = HelpingCommand.get_params
    get_help = HelpingCommand.get_help

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names. Raises UsageError with a hint."""
        if args[0] in self.commands or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        raise UsageError(
            f"there is no command {args[0]!r}", hint=command_hint(args, list(self.commands))
        )


def _help_options() -> list[TyperOption]:
    def option(name: str, text: str, page: Page) -> TyperOption:
        def show(ctx: Context, _parameter: object, wanted: bool) -> None:
            if wanted and not ctx.resilient_parsing:
                lines = page(command_tree.read(ctx.command, ctx.command_path), _width())
                sys.stdout.write(encodable(_with_bold_headings(lines, ctx), sys.stdout) + "\n")
                ctx.exit()

        return TyperOption(
            param_decls=[name],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            default=False,
            callback=show,
            help=text,
            rich_help_panel=HELP,
            show_default=False,
        )

    return [
        option("-h", "Show this command on one screen.", brief_page),
        option("--help", "Show every option with what it does.", full_page),
    ]


def brief_page(command: command_tree.Command, width: int) -> str:
    """Return the help that fits a screen: what it does, examples, and the names of the options."""
    lines = [f"Usage: {command.usage}", "", *textwrap.wrap(command.summary, width), ""]
    lines += _examples(command)
    if command.commands:
        lines += ["Commands:", *_commands(command, width), ""]
    more = f"More: {command.name} --help, or man {command.name.replace(' ', '-')}"
    named = _option_lines(command, lambda option: option.spelling, width)
    if len(lines) + len(named) + 2 > MAX_SCREEN_LINES:
        named = _option_lines(command, lambda option: ", ".join(option.names), width)
    return "\n".join([*lines, *named, "", more])


def _option_lines(
    command: command_tree.Command, spell: Callable[[command_tree.Option], str], width: int
) -> list[str]:
    panels = [(panel, options) for panel, options in command.panels() if panel != HELP]
    room = max(len(panel) for panel, _ in panels) + 3
    lines = []
    for panel, options in panels:
        # One option is never cut in two: its blanks are not those where a line may end.
        words = "  ".join(spell(option).replace(" ", "\0") for option in options)
        wrapped = textwrap.wrap(words, width - room, break_on_hyphens=False)
        for lead, line in zip([f"{panel}:", *[""] * len(wrapped)], wrapped, strict=False):
            lines.append(lead.ljust(room) + line.replace("\0", " "))
    return lines


def full_page(command: command_tree.Command, width: int) -> str:
    """Return the help with a line or two for each option."""
    lines = [f"Usage: {command.usage}", ""]
    for paragraph in (command.summary, *command.prose):
        lines += [*textwrap.wrap(paragraph, width), ""]
    lines += _examples(command)
    if command.commands:
        lines += ["Commands:", *_commands(command, width), ""]
    if command.arguments:
        lines += ["Arguments:"]
        for argument in command.arguments:
            lines += _entry(argument.metavar, argument, width)
        lines.append("")
    for panel, options in command.panels():
        lines.append(f"{panel}:")
        for option in options:
            # Long names stand in one column, whether or not a short one comes before.
            lead = "" if len(option.names[0]) == 2 else "    "
            lines += _entry(lead + option.spelling, option, width)
        lines.append("")
    return "\n".join(lines[:-1])


def _examples(command: command_tree.Command) -> list[str]:
    lines = [f"  {line}" for example in command.examples for line in example.splitlines()]
    return ["Examples:", *lines, ""] if lines else []


def _commands(command: command_tree.Command, width: int) -> Iterator[str]:
    names = [one.name.rpartition(" ")[2] for one in command.commands]
    room = max(map(len, names)) + 4
    for name, one in zip(names, command.commands, strict=True):
        # On the list a command has one line; its own page has the whole sentence.
        start = re.split("[:,] |[.]$", one.summary)[0]
        yield f"  {name}".ljust(room) + textwrap.shorten(start, width - room, placeholder=" …")


def _entry(lead: str, option: command_tree.Option, width: int) -> list[str]:
    default = f" [default: {option.default}]" if option.default else ""
    text = textwrap.wrap(option.help + default, max(width - HELP_COLUMN, 20))
    first = f"  {lead}"
    if len(first) > HELP_COLUMN - 2:
        return [*_break_at_bars(first, width), *[" " * HELP_COLUMN + line for line in text]]
    return [first.ljust(HELP_COLUMN) + text[0], *[" " * HELP_COLUMN + line for line in text[1:]]]


def _break_at_bars(lead: str, width: int) -> list[str]:
    """Return an option's many values on as many lines as they take."""
    lines = []
    while len(lead) > width and "|" in lead[8:width]:
        cut = lead.rindex("|", 8, width) + 1
        lines.append(lead[:cut])
        lead = " " * 8 + lead[cut:]
    return [*lines, lead]


def _width() -> int:
    return max(40, min(shutil.get_terminal_size().columns, MAX_COLUMNS) - 1)


def _with_bold_headings(text: str, ctx: Context) -> str:
    """Return the text with its headings in bold where that can be seen and is wanted."""
    wanted = ctx.params.get("color") or ("never" if os.environ.get("NO_COLOR") else "auto")
    able = is_terminal() and os.environ.get("TERM", "dumb") != "dumb"
    if wanted == "never" or (wanted == "auto" and not (able or os.environ.get("FORCE_COLOR"))):
        return text
    return "\n".join(_bold(line) for line in text.splitlines())


def _bold(line: str) -> str:
    head, colon, rest = line.partition(":")
    if not colon or not head.isalpha() or line.startswith(" "):
        return line
    return f"\x1b[1m{head}{colon}\x1b[0m{rest}"
