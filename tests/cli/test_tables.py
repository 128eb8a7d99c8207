"""Cells of results: the same text for the same value in every form."""

from tovec.cli.tables import cell_text, tsv_line


def test_zero_is_shown_without_a_sign():
    assert cell_text(-1e-9) == "0.000000"


def test_a_row_of_tsv_is_one_line_whatever_its_cells_hold():
    """jq's @tsv escapes the same."""
    assert tsv_line(["a\tb", "c\nd\r", "e\\"]) == "a\\tb\tc\\nd\\r\te\\\\"
