"""Numbers told from what is none."""

import math

import numpy as np
import pytest

from adarank_core.checks import is_number, is_whole


@pytest.mark.parametrize("value", [3, np.int64(3), 0, -5])
def test_whole_numbers(value):
    assert is_whole(value, -5, 3) and is_number(value)


@pytest.mark.parametrize("value", [4, -6, 3.0, "3", None, True, [], math.nan, 10**400])
def test_what_is_no_whole_number_within_the_bounds(value):
    assert not is_whole(value, -5, 3)


@pytest.mark.parametrize("value", [0.5, 1e308, np.float32(0.5), 10**308])
def test_numbers(value):
    assert is_number(value, above=0)


NONE = [0, -1.0, math.inf, -math.inf, math.nan, 10**309, "1", None, False]


@pytest.mark.parametrize("value", NONE)
def test_what_is_no_number_above_a_bound(value):
    assert not is_number(value, above=0)
