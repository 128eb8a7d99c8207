"""Completions for bash, zsh and fish, from the tree of commands.

Static files that start no program: at each TAB a shell looks only at what stands in them. What
can follow an option is read from its metavar, so a new option needs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tovec.cli.command_tree import Command, Option
from tovec.cli.commands import program
from tovec.endpoint import models, providers

LEAD = "Completions of tovec for {}, made from the command tree by tools/completions.py."
_FILES = ("PATH", "FILE", "INPUT", "OUTPUT")
_DIRECTORIES = ("DIR",)


class Values(NamedTuple):
    """What can stand for an option's value or an argument."""

    kind: str  # "words", "files", "directories", "variables", "free" (nothing is offered)
    words: tuple[str, ...] = ()


def files() -> dict[str, str]:
    """Give each shell's file by its path in the repository."""
    root = program()
    return {
        "completions/tovec.bash": bash(root),
        "completions/_tovec": zsh(root),
        "completions/tovec.fish": fish(root),
    }


def values(option: Option) -> Values:
    """Give what can follow an option, or stand in an argument's place."""
    metavar = option.metavar.strip("[].")
    if "--provider" in option.names:
        return Values("words", tuple(providers.load()))
    if metavar == "ID" and ("--model" in option.names or not option.names):
        return Values("words", tuple(models.load()))
    if option.values:
        return Values("words", option.values)
    if metavar.startswith(_FILES):
        return Values("files")
    if metavar.startswith(_DIRECTORIES):
        return Values("directories")
    return Values("variables" if metavar == "VAR" else "free")


def word(command: Command) -> str:
    """Give the command's own name: "embed" of "tovec embed"."""
    return command.name.rpartition(" ")[2]


def argument(command: Command) -> Values:
    """Give what a command's first argument can be."""
    return values(command.arguments[0]) if command.arguments else Values("free")


def takes_value(command: Command) -> list[str]:
    """Give the names of a command's options that are followed by a value."""
    return [name for option in command.options if option.metavar for name in option.names]


# Bash ---------------------------------------------------------------------------------------------

_BASH = """\
# {lead}

_tovec() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command= option= options= words= kind=free ended= i
    COMPREPLY=()

    # Bash cuts --option=value into three words.
    if [[ $word == "=" ]]; then
        option=$before word=
    elif [[ $before == "=" ]]; then
        option=${{COMP_WORDS[COMP_CWORD - 2]}}
    elif [[ $before == -* ]]; then
        option=$before
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            --) ended=1 ;;
            {general})
                [[ -n $command || ${{COMP_WORDS[i + 1]}} == "=" ]] || ((i++)) ;;
            -* | =) ;;
            *) [[ -n $command || ${{COMP_WORDS[i - 1]}} == "=" ]] || command=${{COMP_WORDS[i]}} ;;
        esac
    done

    case $command in
{commands}
        *) return ;;
    esac
    [[ -z $ended ]] || option=
    case "$command $option" in
{values}
        *) [[ $word != -* || -n $ended ]] || kind=words words=$options ;;
    esac

    case $kind in
        # Nothing said: bash's own completion of file names follows (-o default).
        files) return ;;
        directories) compopt -o dirnames 2>/dev/null ;;
        variables) COMPREPLY=($(compgen -e -- "$word")) ;;
        words) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    esac
    compopt +o default 2>/dev/null
}}
complete -o default -F _tovec tovec
"""


def bash(root: Command) -> str:
    """Give the completion for bash 4 and later, with or without the package bash-completion."""
    commands = [_bash_command("", root, Values("words", tuple(map(word, root.commands))))]
    commands += [_bash_command(word(one), one, argument(one)) for one in root.commands]
    rows: dict[Values, list[str]] = {}
    for name, where in _options(root).items():
        for found in dict.fromkeys(where.values()):
            users = [command for command, value in where.items() if value == found]
            same = len(set(where.values())) == 1
            patterns = [f'*" {name}"'] if same else [f'"{one} {name}"' for one in users]
            rows.setdefault(found, []).extend(patterns)
    lines = [
        f"        {' | '.join(patterns)}) kind={found.kind} words='{' '.join(found.words)}' ;;"
        for found, patterns in rows.items()
    ]
    return _BASH.format(
        lead=LEAD.format("bash"),
        general=" | ".join(takes_value(root)),
        commands="\n".join(commands),
        values="\n".join(lines),
    )


def _bash_command(pattern: str, command: Command, found: Values) -> str:
    names = " ".join(name for option in command.options for name in option.names)
    words = f" words='{' '.join(found.words)}'" if found.words else ""
    return (
        f"        {pattern or chr(34) * 2})\n"
        f"            kind={found.kind}{words}\n"
        f"            options='{names}'\n"
        f"            ;;"
    )


def _options(root: Command) -> dict[str, dict[str, Values]]:
    """Give, for each option's name that takes a value, what follows it by command."""
    found: dict[str, dict[str, Values]] = {}
    for command in (root, *root.commands):
        for option in command.options:
            for name in option.names if option.metavar else ():
                found.setdefault(name, {})["" if command is root else word(command)] = values(
                    option
                )
    return found


# Zsh ----------------------------------------------------------------------------------------------

_ZSH = """\
#compdef tovec
# {lead}

_tovec() {{
    local context state state_descr line curcontext=$curcontext
    typeset -A opt_args
    local -a commands
    commands=(
{commands}
    )
    _arguments -C -s -S \\
{general}
        '(-)1: :->command' \\
        '(-)*:: :->rest' && return
    case $state in
        command) _describe -t commands 'command of tovec' commands ;;
        rest)
            curcontext=${{curcontext%:*:*}}:tovec-$words[1]:
            case $words[1] in
{cases}
            esac
            ;;
    esac
}}

# Found through fpath, or read by a line in .zshrc.
if [[ $funcstack[1] == _tovec ]]; then
    _tovec "$@"
else
    compdef _tovec tovec
fi
"""


def zsh(root: Command) -> str:
    """Give the completion for zsh."""
    described = [
        f"        {_quoted(f'{word(one)}:{_start(one.summary)}')}" for one in root.commands
    ]
    cases = []
    for command in root.commands:
        specs = [_zsh_option(option) for option in command.options]
        specs += [_zsh_argument(one) for one in command.arguments]
        lines = " \\\n".join(f"                        {spec}" for spec in specs)
        cases.append(
            f"                {word(command)})\n"
            f"                    _arguments -s -S \\\n{lines}\n                    ;;"
        )
    return _ZSH.format(
        lead=LEAD.format("zsh"),
        commands="\n".join(described),
        general="\n".join(f"        {_zsh_option(option)} \\" for option in root.options),
        cases="\n".join(cases),
    )


def _zsh_option(option: Option) -> str:
    text = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    tail = f"[{text}]"
    if option.metavar:
        tail += f":{option.metavar.replace(':', ' ')}:{_zsh_action(values(option))}"
    names = []
    for name in option.names:
        follows = ("=" if name.startswith("--") else "+") if option.metavar else ""
        names.append(name + follows)
    again = option.repeatable or option.names[0] == "-v"
    lead = "*" if again else f"({' '.join(option.names)})" if len(names) > 1 else ""
    if len(names) == 1:
        return _quoted(lead + names[0] + tail)
    return f"{_quoted(lead)}{{{','.join(names)}}}{_quoted(tail)}"


def _zsh_argument(argument: Option) -> str:
    many = "*" if argument.metavar.endswith("...") else "1"
    name = argument.metavar.strip("[].")
    action = _zsh_action(values(argument))
    if not action.strip():
        # What begins with a dash is an option here: a hint on TEXT would hold its completion up.
        action = f"_guard '^-*' {name}"
    return _quoted(f"{many}:{name}:{action}")


def _zsh_action(found: Values) -> str:
    actions = {"files": "_files", "directories": "_files -/", "variables": "_parameters"}
    return f"({' '.join(found.words)})" if found.words else actions.get(found.kind, " ")


# Fish ---------------------------------------------------------------------------------------------

_FISH = """\
# {lead}

function __tovec_is --description 'Whether the command line names this command of tovec'
    set -l value 0
    for word in (commandline -opc)[2..]
        if test $value = 1
            set value 0
            continue
        end
        switch $word
            case {general}
                set value 1
            case '-*'
            case '*'
                test "$word" = "$argv[1]"
                return
        end
    end
    test -z "$argv[1]"
end

complete -c tovec -f
{lines}
"""


def fish(root: Command) -> str:
    """Give the completion for fish 3 and later."""
    return _FISH.format(
        lead=LEAD.format("fish"),
        general=" ".join(takes_value(root)),
        lines="\n".join(_fish_lines(root)),
    )


def _fish_lines(root: Command) -> Iterator[str]:
    for command in root.commands:
        text = _quoted(_start(command.summary), "fish")
        yield f"complete -c tovec -n '__tovec_is \"\"' -a {word(command)} -d {text}"
    for option in root.options:
        yield f"complete -c tovec{_fish_option(option)}"
    for command in root.commands:
        lead = f"complete -c tovec -n '__tovec_is {word(command)}'"
        yield from (
            lead + _fish_option(option) for option in command.options if option not in root.options
        )
        if offered := _fish_values(argument(command), "").removeprefix(" -x"):
            yield lead + offered


def _fish_option(option: Option) -> str:
    names = [f" -s {n[1]}" if len(n) == 2 else f" -l {n[2:]}" for n in option.names]
    follows = _fish_values(values(option), " -x") if option.metavar else ""
    return f"{''.join(names)}{follows} -d {_quoted(option.help, 'fish')}"


def _fish_values(found: Values, nothing: str) -> str:
    match found.kind:
        case "words":
            return f" -x -a {_quoted(' '.join(found.words), 'fish')}"
        case "files":
            return " -r -F" if nothing else " -F"
        case "directories":
            return " -x -a '(__fish_complete_directories)'"
        case "variables":
            return " -x -a '(set --names --export)'"
    return nothing


def _start(summary: str) -> str:
    """Give a summary's first part, as a list of commands shows it."""
    return summary.replace(": ", ", ").partition(", ")[0].rstrip(".")


def _quoted(text: str, shell: str = "zsh") -> str:
    if shell == "fish":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"
