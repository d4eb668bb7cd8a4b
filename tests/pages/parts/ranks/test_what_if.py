import doctest

import pytest

from pages.parts.ranks import what_if


def test_examples():
    assert doctest.testmod(what_if).failed == 0


@pytest.mark.parametrize(
    ("changes", "pinned", "excluded"),
    [
        ({}, {"key": 12}, ("value",)),
        ({"0": {"rank": 5}}, {"key": 12, "query": 5}, ("value",)),
        ({0: {"rank": 0}}, {"key": 12, "query": 0}, ("value",)),
        ({0: {"rank": 2.5}}, {"key": 12, "query": 2.5}, ("value",)),  # the core refuses it
        ({0: {"pinned": True}}, {"key": 12, "query": 4}, ("value",)),
        ({1: {"pinned": False}}, {}, ("value",)),
        ({1: {"rank": None}}, {}, ("value",)),
        ({0: {"rank": 5, "pinned": False}}, {"key": 12}, ("value",)),
        ({1: {"left out": True}}, {}, ("value", "key")),
        ({2: {"left out": False}}, {"key": 12}, ()),
        ({2: {"rank": 3}}, {"key": 12, "value": 3}, ()),
    ],
)
def test_wishes_after(changes, pinned, excluded):
    wishes = what_if.Wishes({"key": 12}, ("value",))
    rows = [("query", 4), ("key", 12), ("value", 0)]
    assert what_if.wishes_after(changes, rows, wishes) == what_if.Wishes(pinned, excluded)
    assert wishes == what_if.Wishes({"key": 12}, ("value",))
