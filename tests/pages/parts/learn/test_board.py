from html import unescape

import pytest

from pages.parts.learn.board import answer_bars, answer_counts, progress_grid
from pages.parts.learn.lesson_data import lesson
from pages.parts.learn.rooms import Attendee

STEPS = lesson()["steps"]
ROOM = [Attendee("noise", {"rank": 1}), Attendee("rank", {"rank": 0}), Attendee("rank")]


def test_counts_are_of_each_answer():
    assert answer_counts(ROOM, STEPS[0]) == [1, 1, 0]
    assert answer_counts(ROOM, STEPS[1]) == [0, 0, 0]


@pytest.mark.parametrize(("tell", "levels"), [(False, [1, 1, 0]), (True, [3, 2, 0])])
def test_the_grid_tells_right_from_wrong_only_when_asked(tell, levels):
    (grid,) = progress_grid(ROOM, STEPS, tell).data
    assert [row[0] for row in grid.z] == levels and all(row[7] == 0 for row in grid.z)
    signs = [list(row[:2]) for row in grid.text]
    assert [("✓" in str(row), "✗" in str(row)) for row in signs[:2]] == [
        (tell, False),
        (False, tell),
    ]
    assert signs[0][1] == "→ " and signs[2][0] == "→ "  # where they are


@pytest.mark.parametrize("tell", [False, True])
def test_bars_are_as_long_as_the_counts_and_mark_the_right_one_only_when_asked(tell):
    (bars,) = answer_bars(ROOM, STEPS[0], tell).data
    assert list(bars.x) == [1, 1, 0]
    assert ["✓" in label for label in bars.y] == [False, tell, False]
    assert len(set(bars.marker.color)) == (2 if tell else 1)


def test_answers_beside_the_bars_are_whole():
    for step in STEPS:
        labels = answer_bars(ROOM, step, False).data[0].y
        for label, choice in zip(labels, step["check"]["choices"], strict=True):
            lines = [unescape(line) for line in label.split("<br>")]
            assert " ".join(lines)[3:] == choice["text"] and max(map(len, lines)) <= 28
