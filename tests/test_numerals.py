import math

import pytest

from adarank_core.numerals import number, signed, with_error


@pytest.mark.parametrize(
    ("value", "decimals", "written"),
    [(-0.0204, 3, "−0.020"), (0.0204, 4, "+0.0204"), (-0.0004, 3, "+0.000"), (0.0, 2, "+0.00")],
)
def test_a_difference_has_its_sign_and_nothing_is_no_minus(value, decimals, written):
    assert signed(value, decimals) == written


@pytest.mark.parametrize(
    ("value", "error", "digits", "written"),
    [
        (0.99571, 0.00004, 1, "0.99571 ± 0.00004"),  # in three decimals the error would be 0.000
        (0.984, 0.0096, 1, "0.98 ± 0.01"),  # which rounds to a digit more
        (4.892, 0.0561, 1, "4.89 ± 0.06"),
        (-0.1030, 0.0056, 2, "−0.1030 ± 0.0056"),
        (0.5, None, 2, "0.500"),
        (0.5, 0.0, 2, "0.500"),
    ],
)
def test_an_error_never_rounds_to_nothing(value, error, digits, written):
    assert with_error(value, error, digits) == written


def test_numbers_have_three_digits_that_count():
    assert [number(value) for value in (-0.25, 1e-7, 2.5e7)] == ["−0.250", "1.00e−07", "2.50e+07"]


@pytest.mark.parametrize("value", [-1e-5, -1e-6, -2.5e7, -math.inf])
def test_no_number_has_a_hyphen_for_its_minus(value):
    assert number(value)[0] == "−"
    assert "-" not in number(value)
