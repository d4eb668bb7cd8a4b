from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.files import write_json
from adarank_core.lab.studies import STUDIES
from adarank_core.runs import jobs

APP = str(Path(__file__).resolve().parents[2] / "app.py")


def opened(**link):
    at = AppTest.from_file(APP, default_timeout=60)
    at.query_params |= link
    at.run()
    at.switch_page("pages/lab.py").run()
    assert not at.exception
    return at


def test_a_link_has_the_study_and_its_settings():
    at = opened(study="reset", **{"reset.trials": "7"})
    assert at.title[0].value == STUDIES["reset"].question
    assert at.number_input(key="reset.trials").value == 7
    at.radio(key="study").set_value("noise").run()
    assert not at.exception and at.title[0].value == STUDIES["noise"].question
    at.text_input(key="noise.scales").set_value("0.1, 1").run()
    wanted = {"study": "noise", "reset.trials": "7", "noise.scales": "0.1, 1"}
    assert at.query_params == wanted


def test_a_run_in_the_link_is_shown_as_long_as_it_is_there(home, monkeypatch):
    monkeypatch.setattr(jobs, "versions", dict)
    folder = jobs.new_run_folder("lab")
    config = {"command": "lab", "study": "reset", "model": "embedded", "task": "docstrings"}
    with jobs.open_run(folder, {**config, "seed": 0, "study_settings": {}}):
        pass
    write_json(folder / "study.json", {})
    at = opened(study_run=folder.name)
    assert at.title[0].value == STUDIES["reset"].question
    assert at.query_params == {"study": "reset", "study_run": folder.name}
    at.radio(key="study").set_value("noise").run()
    assert not at.exception and at.query_params == {"study": "noise"}


@pytest.mark.parametrize("name", ["20261124-230929-000001-lab", "nothing"])
def test_a_run_that_is_not_there_is_said(home, name):
    at = opened(study_run=name)
    assert "no study on this machine" in at.warning[0].value
    assert at.query_params == {}
