"""Some hundreds of random answers, inputs, settings; `python -m tests.faults.fuzz` makes more."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults import fuzz
from tests.faults.answers import Made, answers, replies
from tests.servers.loopback import Loopback

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(max_examples=400)
@given(answers())
def test_an_answer_is_believed_and_right_or_refused(made: Made) -> None:
    """#29 #31 #32 #33 #34 #37 #43 #45 #48 #49"""
    fuzz.check_answer(made)


def test_a_reply_over_a_socket_is_right_or_a_named_error_in_time() -> None:
    """#10 #13 #14 #15 #54 #56 #58"""
    with fuzz.quick_probes(), Loopback(dimensions=8) as server:

        @settings(max_examples=60, suppress_health_check=list(HealthCheck))
        @given(replies(), st.booleans())
        def check(reply: tuple[bytes, Made, str], once: bool) -> None:
            fuzz.check_reply(server, reply[0], reply[1], once)

        check()


@settings(max_examples=200)
@given(st.lists(fuzz.json_lines, max_size=8))
def test_every_line_of_json_is_a_row_or_a_problem_or_blank(lines: list[bytes]) -> None:
    """#151 #155 #156"""
    fuzz.check_jsonl(lines)


@settings(max_examples=200)
@given(fuzz.odd_text, st.sampled_from(["csv", "tsv"]))
def test_any_table_is_read_or_named(text: str, form: str) -> None:
    """#162"""
    fuzz.check_csv(text, form)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["lines", "tokens", "text"]))
def test_any_bytes_are_rows_or_a_named_error(data: bytes, form: str) -> None:
    """#148 #149"""
    fuzz.check_lines(data, form)


@shared
@given(fuzz.toml)
def test_any_config_is_settings_or_a_named_error(tmp_path: Path, text: str) -> None:
    """#177"""
    fuzz.check_config(tmp_path, text)


@settings(max_examples=300)
@given(st.dictionaries(fuzz.header_names, fuzz.header_values), fuzz.header_values)
def test_any_header_is_a_wait_that_can_be_or_nothing(said: dict[str, str], message: str) -> None:
    """#81 #82 #85"""
    fuzz.check_headers(said, message)
