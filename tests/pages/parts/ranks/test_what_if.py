import doctest

import pytest

from pages.parts.ranks import what_if


def test_examples():
    assert doctest.testmod(what_if).failed == 0


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, {"key": 12}),
        ({"0": {"rank": 5}}, {"key": 12, "query": 5}),
        ({0: {"rank": 0}}, {"key": 12, "query": 0}),
        ({0: {"pinned": True}}, {"key": 12, "query": 4}),
        ({1: {"pinned": False}}, {}),
        ({1: {"rank": None}}, {}),
        ({0: {"rank": 5, "pinned": False}}, {"key": 12}),
    ],
)
def test_pins_after(changes, after):
    pins = {"key": 12}
    assert what_if.pins_after(changes, [("query", 4), ("key", 12)], pins) == after
    assert pins == {"key": 12}
