import doctest
from pathlib import Path

import pytest
import streamlit as st

from adarank_core.runs.jobs import Run
from pages.parts.shared import clock

NEW_YEAR = Run(Path("20261231-233000-000001-compare"), {}, "finished")


def test_examples():
    assert doctest.testmod(clock).failed == 0


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Europe/Berlin", "2027-01-01 00:30"),
        ("America/St_Johns", "2026-12-31 20:00"),
        (None, "2026-12-31 23:30 UTC"),
        ("Mars/Olympus", "2026-12-31 23:30 UTC"),
        ("../etc/passwd", "2026-12-31 23:30 UTC"),
    ],
)
def test_a_minute_is_told_by_the_browsers_clock(monkeypatch, zone, told):
    monkeypatch.setattr(type(st.context), "timezone", zone)
    assert clock.local_time(NEW_YEAR) == told


def test_a_folder_that_somebody_named_tells_by_its_last_change(tmp_path):
    (tmp_path / "mine").mkdir()
    assert clock.local_time(Run(tmp_path / "mine", {}, "finished")).startswith("20")
    assert clock.local_time(Run(tmp_path / "gone", {}, "finished")) == ""
    assert clock.local_time(Run(tmp_path / "20269999-999999-1-x", {}, "finished")) == ""


def test_the_end_of_all_years_is_no_time_elsewhere(monkeypatch):
    monkeypatch.setattr(type(st.context), "timezone", "Asia/Tokyo")
    assert clock.local_time(Run(Path("99991231-235959-000001-x"), {}, "finished")) == ""
