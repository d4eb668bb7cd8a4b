from dataclasses import fields
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.limits import Limits, variable

APP = str(Path(__file__).resolve().parents[2] / "app.py")


def test_all_limits_are_shown_with_their_variables(home, monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")
    monkeypatch.setenv("ADARANK_MAX_STEPS", "77")
    at = AppTest.from_file(APP, default_timeout=60).run().switch_page("pages/about.py").run()
    assert not at.exception and not at.error
    table = at.dataframe[0].value.set_index("variable")
    assert {variable(cap.name) for cap in fields(Limits)} <= set(table.index)
    assert table.loc["ADARANK_MAX_STEPS", "at most"] == "77"
    assert table.loc["ADARANK_MAX_UPLOAD_TEXTS", "at most"] == "2,000"
    assert table.loc["ADARANK_MODELS", "at most"] == "embedded"


@pytest.mark.parametrize("mode", ["", "ADARANK_PRIVATE"])
def test_without_a_demo_there_is_no_such_page(mode, home, monkeypatch):
    if mode:
        monkeypatch.setenv(mode, "1")
    at = AppTest.from_file(APP, default_timeout=60).run()
    with pytest.raises(ValueError, match="about"):
        at.switch_page("pages/about.py").run()
        assert at.title[0].value.startswith("Your runs")
        raise ValueError("about is there")
