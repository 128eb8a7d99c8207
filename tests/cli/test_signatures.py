"""Options in groups become one flat signature, and a closed set of values takes no other."""

from __future__ import annotations

import pytest
from tests.cli.inside import run

from tovec.cli.options import InputOptions
from tovec.cli.signatures import GROUPS, Field, option
from tovec.errors import UsageError
from tovec.formats import INPUT_FORMATS
from tovec.pipeline.long_texts import POLICIES

CLOSED = [
    pytest.param(field, id=f"{group.make.__name__} {field.name}")
    for group in GROUPS.values()
    for field in group.fields
    if field.choices
]


def choices(group: type, name: str) -> tuple[str, ...]:
    return next(field.choices for field in GROUPS[group].fields if field.name == name)


def test_the_ways_with_long_texts_are_those_that_the_work_knows():
    """The work's own list cannot be imported for help: it loads numpy."""
    assert choices(InputOptions, "long") == POLICIES


@pytest.mark.parametrize("field", CLOSED)
def test_a_value_outside_the_list_is_refused_and_its_neighbour_named(field: Field):
    for value in field.choices:
        field.check(value, "tovec")
        with pytest.raises(UsageError) as error:
            field.check(f"{value}x", "tovec")
        assert field.declaration.names[0] in error.value.what
        assert "did you mean" in error.value.hint
    field.check(field.default, "tovec")


def test_an_options_spelling_gives_its_names_and_what_stands_for_the_value():
    declared = option("-p, --provider NAME", "Help.")
    assert (declared.names, declared.metavar) == (("--provider", "-p"), "NAME")
    assert option("--pairs", "Help.").metavar == ""


@pytest.mark.parametrize(
    "words",
    [
        ("--log-format", "xml", "embed", "-p", "local", "hi"),
        ("embed", "-p", "local", "hi", "--log-format", "xml"),
        ("config", "chek"),
        ("completion", "bsh"),
        ("embed", "-p", "local", "hi", "--dtype", "flaot32"),
    ],
    ids=" ".join,
)
def test_a_closed_set_is_checked_wherever_its_option_stands(words: tuple[str, ...]):
    done = run(*words)
    assert (done.code, done.out) == (2, b"")
    assert b"does not accept" in done.err


def test_options_before_the_command_hold_unless_it_says_otherwise():
    """Both places are the same option: the later one wins."""
    words = ("embed", "-p", "local", "hi", "--id-field", "nope", "--log-format")
    assert run("--log-format", "json", *words, "text").err.count(b"{") == 0
    assert run("--log-format", "text", *words, "json").err.startswith(b"{")


def test_help_lists_the_input_formats_that_are_read():
    fields = {field.name: field for field in GROUPS[InputOptions].fields}
    listed = fields["input_format"].declaration.metavar
    assert tuple(listed.split("|")) == INPUT_FORMATS
