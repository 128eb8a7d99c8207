"""Man pages from the tree of commands and tools/prose.py, in the macros of man(7)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from tools import prose

from tovec import __version__
from tovec.cli.command_tree import Command, Option
from tovec.cli.commands import program
from tovec.settings import RANGES, Settings

DATE = "2026-11-21"  # of the text, as each page's foot shows it: changed with a release
CONFIG_PAGE = "tovec-config.5"


def files() -> dict[str, str]:
    """Give each page's text by its path in the repository."""
    root = program()
    pages = {page(one): command_page(one, root) for one in (root, *root.commands)}
    pages[CONFIG_PAGE] = config_page(root)
    return {path(name): text for name, text in pages.items()}


def path(name: str) -> str:
    """Give where a page lies, in folders as man looks for them: `man -M man tovec`."""
    return f"man/man{name[-1]}/{name}"


def page(command: Command) -> str:
    """Give the name of a command's page: "tovec-embed.1"."""
    return f"{command.name.replace(' ', '-')}.1"


def command_page(command: Command, root: Command) -> str:
    """Give a command's page."""
    more = prose.PAGES.get(command.name, prose.Page())
    lines = [*_head(page(command)), *_name(command.name.replace(" ", "-"), command.summary)]
    lines += [".SH SYNOPSIS", *_synopsis(command), ".SH DESCRIPTION"]
    lines += _paragraphs((command.summary, *command.prose, *more.description))
    if command.commands:
        lines.append(".SH COMMANDS")
        for one in command.commands:
            lines += [".TP", f".BR {_bare(one.name.replace(' ', '-'))} (1)", _text(one.summary)]
    if command.arguments:
        lines += [".SH ARGUMENTS"]
        lines += [part for one in command.arguments for part in _option(one)]
    lines.append(".SH OPTIONS")
    for panel, options in command.panels():
        lines += [f".SS {panel}", *(part for one in options for part in _option(one))]
    lines += [".SH EXIT STATUS", *_list(prose.EXIT_STATUS)]
    lines += [".SH ENVIRONMENT", *_list(prose.ENVIRONMENT)]
    lines += [".SH FILES", *_list(prose.FILES)]
    lines += [".SH EXAMPLES", *_examples(command.examples)]
    others = [page(one) for one in (root, *root.commands) if one is not command]
    lines += [".SH SEE ALSO", *_see_also([*others, CONFIG_PAGE, *more.see_also])]
    return "\n".join(lines) + "\n"


def config_page(root: Command) -> str:
    """Give the page of the config file."""
    lines = [*_head(CONFIG_PAGE), *_name("tovec-config", "the config file of tovec")]
    lines += [".SH DESCRIPTION"]
    lines += _paragraphs(
        (
            "The config file is TOML. It is the one that `--config` or TOVEC_CONFIG names, else "
            "`~/.config/tovec/config.toml`; it is never looked for in the working directory. An "
            "option or an environment variable wins over it. A field that tovec does not know is "
            "an error, and no field holds a key: it only says where the key is.",
        )
    )
    lines += [".SH FIELDS", *_list(config_fields(root))]
    lines += [".SH PROVIDERS"]
    lines += _paragraphs(
        (
            "A table `[providers.NAME]` adds a provider, or lays its fields over those of a known "
            "one. An address alone is enough: `base_url`.",
        )
    )
    lines += [*_list(prose.PROVIDER), ".SS Limits of a provider"]
    lines += _paragraphs(("Each is a whole number; 0 takes the limit away.",))
    lines += [*_list(prose.LIMITS), ".SH FILES", *_list(prose.FILES)]
    lines += [".SH EXAMPLES", *_literal(prose.CONFIG_EXAMPLE)]
    pages = [page(one) for one in (root, *root.commands)]
    return "\n".join([*lines, ".SH SEE ALSO", *_see_also(pages)]) + "\n"


def config_fields(root: Command) -> dict[str, str]:
    """Give each field of the config file with what it means: what the option of its name says."""
    options = {
        option.names[-1].removeprefix("--").replace("-", "_"): option.help
        for command in root.commands
        for option in command.options
        if option.names[-1].startswith("--")
    }
    known = [name for name in Settings._fields if name != "origins"]
    found = {name: prose.CONFIG.get(name) or options[name] for name in known}
    return {
        name: f"{text} It is {RANGES[name]}." if name in RANGES else text
        for name, text in found.items()
    }


def _head(name: str) -> list[str]:
    title, section = name.rsplit(".", 1)
    volume = {"1": "User Commands", "5": "File Formats"}[section]
    return [
        '.\\" Made from the command tree by tools/manpages.py.',
        f'.TH {title.upper()} {section} {DATE} "tovec {__version__}" "{volume}"',
    ]


def _name(name: str, summary: str) -> list[str]:
    short = re.split(r"[:,] |\.$", summary)[0]
    return [".SH NAME", f"{_bare(name)} \\- {_text(short[:1].lower() + short[1:])}"]


def _synopsis(command: Command) -> Iterator[str]:
    if command.commands:
        yield f".B {_bare(command.name)}"
        yield "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]..."
        return
    arguments = " ".join(_metavar(one.metavar) for one in command.arguments)
    yield f".B {_bare(command.name)}"
    yield f"[\\fIOPTIONS\\fR] {arguments}".rstrip()


def _option(option: Option) -> list[str]:
    names = ", ".join(f"\\fB{_bare(name)}\\fR" for name in option.names)
    spelling = f"{names} {_metavar(option.metavar)}".strip()
    default = f" Default: {option.default}." if option.default else ""
    again = " May be repeated." if option.repeatable and "repeated" not in option.help else ""
    return [".TP", spelling, _text(option.help + default + again)]


def _metavar(metavar: str) -> str:
    """Set what stands for a value in italics, and words that are typed as they are in bold."""

    def word(found: re.Match[str]) -> str:
        font = "B" if found[0].islower() or found[0][0].isdigit() else "I"
        return f"\\f{font}{_bare(found[0])}\\fR"

    return re.sub(r"[A-Za-z0-9][\w-]*", word, metavar)


def _list(entries: Mapping[str, str]) -> Iterator[str]:
    for name, text in entries.items():
        yield from (".TP", f".B {_bare(name)}", _text(text))


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield _text(text)


def _examples(examples: Iterable[str]) -> Iterator[str]:
    for number, example in enumerate(examples):
        if number:
            yield ".PP"
        yield from _literal(example)


def _literal(text: str) -> Iterator[str]:
    yield from (".RS 4", ".nf", *(_bare(line) for line in text.splitlines()), ".fi", ".RE")


def _see_also(pages: Iterable[str]) -> list[str]:
    ordered = sorted(set(pages), key=lambda name: (name.rsplit(".", 1)[1], name))
    named = [name.rsplit(".", 1) for name in ordered]
    last = len(named) - 1
    return [
        f".BR {_bare(title)} ({section}){',' if number < last else ''}"
        for number, (title, section) in enumerate(named)
    ]


def _text(text: str) -> str:
    """Give running text: sentences on lines of their own, backquoted words in bold."""
    marked = re.sub(r"`([^`]+)`", lambda found: f"\0B{found[1]}\0R", text)
    escaped = _bare(marked).replace("\0B", "\\fB").replace("\0R", "\\fR")
    lines = []
    for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z])", escaped):
        lines += textwrap.wrap(sentence, 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join("\\&" + line if line[:1] in ".'" else line for line in lines)


def _bare(text: str) -> str:
    """Give text that roff takes literally: no escapes, no typographic dashes and quotes."""
    for plain, escaped in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("`", "\\(ga"),
        ("^", "\\(ha"),
        ("~", "\\(ti"),
    ):
        text = text.replace(plain, escaped)
    return "\\&" + text if text.startswith(".") else text
