"""Regular expressions: as Python's own match, and given up in time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import AdaRankError
from adarank_core.patterns import check_pattern, matching_names

NAMES = [f"model.layers.{at}.self_attn.{part}_proj" for at in range(12) for part in "qkv"]
HUNG = ["(a|a)*$", "(a+)+$", "(.*)*x$", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$"]


@pytest.mark.parametrize("pattern", [r"\.1\.", "q_proj$", "(?:q|v)_proj", "^$", ".", "", "1(?=0)"])
@pytest.mark.parametrize("whole", [True, False])
def test_the_names_are_those_that_re_matches(pattern, whole):
    match = re.fullmatch if whole else re.search
    expected = [name for name in NAMES if match(pattern, name)]
    assert matching_names(pattern, NAMES, "modules", whole) == expected


@pytest.mark.parametrize("pattern", HUNG)
def test_an_expression_that_would_hang_is_given_up(pattern):
    began = time.process_time()
    try:
        matching_names(pattern, ["a" * 5000 + "!"] * 3, "modules")
    except AdaRankError as error:
        assert "takes too long to match" in str(error)
    assert time.process_time() - began < 4


def test_one_that_hangs_in_re_is_given_up():
    with pytest.raises(AdaRankError, match=r"modules is .*, which takes too long to match"):
        matching_names("(a|a)*$", ["a" * 60 + "!"], "modules")


@pytest.mark.parametrize(
    "pattern",
    ["(", "*", "[", "a{2,1}", "(?P<a>x)(?P<a>y)", "x(?i)", "a{99999999999}", "(?R)", "\\"],
)
def test_what_is_none_is_said(pattern):
    with pytest.raises(AdaRankError, match="not a regular expression"):
        check_pattern(pattern, "modules")


def test_long_and_deep_ones_are_said():
    for pattern in ("a" * 1001, "(" * 2000 + ")" * 2000):
        with pytest.raises(AdaRankError, match="characters"):
            check_pattern(pattern, "modules")
    check_pattern("(" * 50 + ")" * 50, "modules")


@given(st.text(max_size=30) | st.none() | st.integers())
def test_any_text_is_an_expression_or_said_to_be_none(pattern):
    try:
        matching_names(pattern, NAMES[:3], "modules")
    except AdaRankError as error:
        assert "\n" not in str(error)
