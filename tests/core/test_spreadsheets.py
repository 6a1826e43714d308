"""No cell of a CSV file for people is a formula, however it hides; numbers and plain texts stay as they are."""

import csv
import io

import pytest

from evergreen.core.spreadsheets import CsvWriter


def written(value, **options):
    file = io.StringIO()
    writer = CsvWriter(file, **options)
    writer.write_rows([[value]])
    file.seek(0)
    return next(iter(csv.reader(file)))[0], writer.n_changed


@pytest.mark.parametrize(
    "text",
    [
        *("=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "-A1", "--5", "-5-5", '=HYPERLINK("http://h";"x")'),
        *(" =1", "\u00a0=1", "\ufeff=1", "'=1", '"=1', "' \"=1", "\t=1", "\tplain", "\r=1", "\n =1", "＝1", "＠A"),
    ],
)
def test_a_formula_becomes_text(text):
    changed, count = written(text)
    assert changed == f"'{text}" or changed[0] in "'\n"
    assert changed.replace("'", "") == text.replace("'", "")
    assert count == 1
    assert written(text, raw=True) == (text, 0)


@pytest.mark.parametrize(
    ("text", "safe"),
    [("a;=cmd|x", "a;'=cmd|x"), ("a\t@b", "a\t'@b"), ("x\n- one\n- two", "x\n'- one\n'- two"), ('a; "=1', "a;' \"=1")],
)
def test_no_end_of_a_cell_elsewhere_begins_a_formula(text, safe):
    assert written(text) == (safe, 1)


@pytest.mark.parametrize(
    "text",
    [
        *("-5", "+3.25", "-1.234,5", " -5", "- 5", "-5%", "-1e-9", "-inf", "+49 171 2345", "1; -5; 2"),
        *("", "a=b", "a-b", "x, =y", "mail@example.org", "1.5", "true", "2026-01-31"),
    ],
)
def test_numbers_and_plain_texts_stay(text):
    assert written(text) == (text, 0)


def test_numbers_that_are_no_texts_stay():
    assert written(-5) == ("-5", 0)


@pytest.mark.parametrize(
    "text", ["\t" * 100_000 + "x", ";" * 100_000 + "=", " " * 100_000 + "x-", "-" + "1" * 100_000 + "x"]
)
def test_a_long_text_takes_no_longer_than_its_length(text):
    assert len(written(text)[0]) >= len(text)
