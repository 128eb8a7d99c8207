"""From options declared in groups to the flat signatures that Typer reads.

A group is a NamedTuple whose fields are options. A command takes a group by a parameter of that
type: `flatten` spreads the group's fields into one signature, and gathers them again when the
command is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import typer

from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.suggest import did_you_mean

T = TypeVar("T")
Command = Callable[..., None]

_BEFORE = "tovec.common"  # where Click's context keeps what stood before the command's name


class Declaration(NamedTuple):
    """One option, or an argument where `names` is empty, as it is declared."""

    names: tuple[str, ...]
    metavar: str
    help: str
    panel: str = ""
    settings: Mapping[str, object] = MappingProxyType({})  # Typer's own: min, max, count, ...


def option(
    spelling: str,
    help: str,  # noqa: A002 - Typer's word
    *,
    panel: str = "",
    show_default: bool = False,
    **settings: object,
) -> Declaration:
    """Declare an option by its spelling in help: "-p, --provider NAME".

    One whose type is a Literal needs no metavar: help lists the values, and no other is taken.
    """
    words = spelling.split(" ")
    names = [word.rstrip(",") for word in words if word.startswith("-")]
    metavar = " ".join(words[len(names) :])
    # The long name comes first: messages name the option by it.
    names.sort(key=len, reverse=True)
    more = {"show_default": show_default, **settings}
    return Declaration(tuple(names), metavar, help, panel, more)


def argument(metavar: str, help: str) -> Declaration:  # noqa: A002 - Typer's word
    """Declare an argument."""
    return Declaration((), metavar, help, settings={"show_default": False})


class Field(NamedTuple):
    """One option as a parameter of a command's function."""

    name: str
    declaration: Declaration
    kind: object  # the annotated type
    default: object
    panel: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, where the type is a Literal."""
        kinds = (self.kind, *get_args(self.kind))
        return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())

    def parameter(self) -> inspect.Parameter:
        """Return the parameter that Typer reads."""
        names, metavar, text, _, settings = self.declaration
        kind = self.kind
        if choices := self.choices:  # Typer takes any string; `check` words the error
            kind = str | None if type(None) in get_args(kind) else str
            metavar = metavar or "|".join(choices)
        more = {"help": text, "metavar": metavar or None, **settings}
        info: object
        if names:
            info = typer.Option(*names, rich_help_panel=self.panel or None, **more)  # type: ignore[call-overload]
        else:
            info = typer.Argument(**more)  # type: ignore[call-overload]
        return _parameter(self.name, Annotated[kind, info], self.default)

    def check(self, value: object, command: str) -> None:
        """Raise UsageError for a value that is not among the choices, naming the nearest."""
        if self.choices and value is not None and value not in self.choices:
            named = self.declaration.names[0] if self.declaration.names else command
            raise _unknown(named, str(value), self.choices)


class Group(NamedTuple):
    """A group of options: its class, the options in it, and what Typer reads of them."""

    make: Callable[..., object]
    fields: tuple[Field, ...]
    parameters: tuple[inspect.Parameter, ...]  # made once, for all commands


GROUPS: dict[object, Group] = {}


def group(panel: str) -> Callable[[type[T]], type[T]]:
    """Declare a NamedTuple to be a group of options, shown in help under the heading `panel`."""

    def register(kind: type[T]) -> type[T]:
        defaults: Mapping[str, object] = kind._field_defaults  # type: ignore[attr-defined]
        hints = get_type_hints(kind, include_extras=True)
        fields = [_field(name, hint, defaults[name], panel) for name, hint in hints.items()]
        GROUPS[kind] = Group(kind, tuple(fields), tuple(field.parameter() for field in fields))
        return kind

    return register


def flatten(command: Command, common: type[T], set_up: Callable[[Reporter, T], None]) -> Command:
    """Return the command with its groups of options spread into one flat signature.

    The options of the group `common` may stand before the command's name or after it; `set_up`
    makes them hold. A parameter named `reporter` gets the program's Reporter.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    groups = {name: GROUPS[hint] for name, hint in hints.items() if _is_group(hint)}
    own = [
        _field(name, hints[name], parameter.default, "")
        for name, parameter in parameters.items()
        if name not in groups and name != "reporter"
    ]
    shared = GROUPS[common]
    spread = [one for one in groups.values() if one is not shared]
    fields = [*own, *(field for one in spread for field in one.fields)]

    def call(ctx: typer.Context, **values: object) -> None:
        for field in shared.fields:
            field.check(values[field.name], ctx.command_path)
        given = _over(shared, ctx.meta.get(_BEFORE, {}), values)
        ctx.meta[_BEFORE] = given
        set_up(ctx.obj, common(**given))
        for field in fields:
            field.check(values[field.name], ctx.command_path)
        values = {**values, **given}
        arguments: dict[str, object] = {field.name: values[field.name] for field in own}
        for name, one in groups.items():
            arguments[name] = one.make(**{field.name: values[field.name] for field in one.fields})
        if "reporter" in parameters:
            arguments["reporter"] = ctx.obj
        command(**arguments)

    flat = [_parameter("ctx", typer.Context, inspect.Parameter.empty)]
    flat += [field.parameter() for field in own]
    flat += [parameter for one in (*spread, shared) for parameter in one.parameters]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__annotations__ = {one.name: one.annotation for one in flat}
    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return call


def wrap(command: Command, around: Callable[[Callable[[], None]], None]) -> Command:
    """Return the command, called by `around`, with the signature that it has."""

    @functools.wraps(command)
    def call(**values: object) -> None:
        around(functools.partial(command, **values))

    return call


def _is_group(hint: object) -> bool:
    return isinstance(hint, type) and hint in GROUPS


def _field(name: str, hint: object, default: object, panel: str) -> Field:
    kind, declaration = get_args(hint)
    return Field(name, declaration, kind, default, declaration.panel or panel)


def _parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _over(
    shared: Group, before: Mapping[str, object], after: Mapping[str, object]
) -> dict[str, object]:
    """Return the options that stand after the command's name on top of those before it."""
    own = {field.name: after[field.name] for field in shared.fields}
    chosen = {one.name: own[one.name] for one in shared.fields if own[one.name] != one.default}
    return {**own, **before, **chosen}


def _unknown(named: str, value: str, known: tuple[str, ...]) -> UsageError:
    hint = did_you_mean(value, known, f"one of: {', '.join(known)}")
    return UsageError(f"{named} does not accept {value!r}", hint=hint)
