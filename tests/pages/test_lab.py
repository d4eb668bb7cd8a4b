import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.files import write_json
from adarank_core.lab.studies import STUDIES
from adarank_core.lab.study import StudyRequest, StudyResult
from adarank_core.runs import jobs
from pages.parts.lab import panel

APP = str(Path(__file__).resolve().parents[2] / "app.py")
NAMES = list(STUDIES)
# A few rows of each table that is drawn, as the studies write them.
LOSS = {"table": "losses", "loss": 0.5, "standard_error": 0.1, "seeds": 2}
AGREEMENT = {"first": "a", "second": "b", "spearman": 0.5, "standard_error": 0.1}
ROWS = {
    "trials-and-texts": {"trials": 2, "texts": 4, "seconds": 1.5, "spearman": 0.9},
    "text-source": {"table": "agreement", **AGREEMENT},
    "noise": {"kind": "gaussian", "scale": 1.0, "response": 0.9}
    | {"spearman_usual": 0.9, "spearman_linearised": 0.8},
    "transfer": {**LOSS, "task": "one", "ranks": "uniform"},
    "learning-rate": {**LOSS, "arm": "uniform", "learning_rate": 0.01, "best": True},
    "rank-binds": {**LOSS, "arm": "uniform", "average_rank": 4, "lora_parameters": 100},
    "data-size": {"table": "differences", "size": 100, "difference": -0.1, "seeds": 2}
    | {"ci_low": -0.2, "ci_high": 0.1, "p_value": 0.2},
    "generalisation": {"table": "modules", "module": "0.query", "family": "query", "loss": 0.5}
    | {"score of adarank": 1.5},
    "reset": {"table": "curves", "curve": "real reset", "family": "query", "layer": 0, "score": 1},
    "which-score": AGREEMENT,
}


@pytest.fixture
def started(home, monkeypatch):
    """What the page starts is written down here instead."""
    calls = []

    def start(arguments, folder):
        calls.append((arguments, folder))
        (folder / "events.jsonl").touch()  # by which a folder is a run's

    monkeypatch.setattr(jobs, "start", start)
    return calls


def opened(**address):
    at = AppTest.from_file(APP, default_timeout=60)
    at.switch_page("pages/lab.py")
    at.query_params |= address
    at.run()
    assert not at.exception
    return at


@contextmanager
def recorded(name, answer="It is a half (0.5).", **more):
    """Record a run of a study; it is alive inside the block."""
    folder, request = jobs.new_run_folder("lab"), StudyRequest(STUDIES[name], **more)
    with jobs.open_run(folder, request.config()) as recorder:
        recorder.record({"event": "study", "done": 1, "total": 4, "now": "uniform, 3"})
        settings = request.to_dict()["settings"]
        result = StudyResult(name, settings, {}, (ROWS[name],), answer)
        write_json(folder / "study.json", result.to_dict())
        yield recorder


def interrupted(name, **more):
    with recorded(name, "", **more) as recorder:
        pass
    events = recorder.folder / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:-1]))
    return recorder.folder


def texts(at):
    kinds = (at.markdown, at.caption, at.title, at.header, at.info, at.warning, at.error)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def button(at, label):
    return next((one for one in at.button if one.label == label), None)


def test_every_study_is_drawn_from_its_stored_example(home, tmp_path, monkeypatch):
    monkeypatch.setattr(panel, "EXAMPLES", tmp_path)
    for name in NAMES:
        told = (f"{name}: a half.", f"More of {name}.")
        result = StudyResult(name, {"model": "embedded"}, {}, (ROWS[name],), *told)
        write_json(tmp_path / f"{name}.json", result.to_dict())
    at = opened()
    for name in NAMES:
        at.radio(key="study").set_value(name).run()
        assert not at.exception
        assert at.query_params == ({} if name == NAMES[0] else {"study": name})
        assert at.title[0].value.replace("\\", "") == STUDIES[name].question
        assert next(one.value.replace("\\", "") for one in at.header) == f"{name}: a half."
        assert f"More of {name}." in [one.value.replace("\\", "") for one in at.markdown]
        assert "stored example" in texts(at)
        assert len(at.get("plotly_chart")) == 1


def test_a_study_without_an_example_shows_its_question_and_its_cost(home, tmp_path, monkeypatch):
    monkeypatch.setattr(panel, "EXAMPLES", tmp_path)
    at = opened(study="rank-binds")
    assert at.title[0].value.replace("\\", "") == STUDIES["rank-binds"].question
    assert "no stored example" in texts(at) and "two minutes" in texts(at)
    assert button(at, "Start") is not None and not at.get("plotly_chart")


def test_start_passes_what_was_chosen(started):
    at = opened(study="noise")
    at.text_input(key="noise.scales").set_value("0.5, 1")
    at.number_input(key="noise.repeats").set_value(2)
    at.number_input(key="seed").set_value(7)
    at.button(key="lab_start").click().run()
    assert not at.exception
    ((arguments, folder),) = started
    assert arguments == [
        *("lab", "noise", "--model=embedded", "--task=docstrings", "--seed=7"),
        *("--set=scales=[0.5,1.0]", "--set=repeats=2", "--queue"),
    ]
    assert folder.name.endswith("-lab")


def test_a_wrong_setting_is_told_and_nothing_is_started(started):
    at = opened(study="noise")
    at.text_input(key="noise.scales").set_value("0.5, x")
    at.button(key="lab_start").click().run()
    assert "An entry of scales is 'x'; it must be a number above 0" in texts(at)
    assert not started


def test_a_run_at_work_has_progress_and_can_be_cancelled(home):
    with recorded("rank-binds", "") as recorder:
        at = opened(study_run=recorder.folder.name)
        assert "study" in at.query_params
        (progress,) = at.get("progress")
        assert "1 of 4 measured: uniform, 3" in progress.proto.text.replace("\\", "")
        assert len(at.get("plotly_chart")) == 1
        button(at, "Cancel").click().run()
        assert (recorder.folder / "cancel").exists()


def test_an_interrupted_run_keeps_its_rows_and_goes_on(started):
    folder = interrupted("data-size", seed=3)
    at = opened(study="data-size", study_run=folder.name)
    assert len(at.get("plotly_chart")) == 1
    button(at, "Go on").click().run()
    ((arguments, where),) = started
    assert where == folder and arguments[-2:] == ["--queue", "--resume"]
    assert arguments[:2] == ["lab", "data-size"] and "--seed=3" in arguments


def test_earlier_runs_of_the_study_can_be_opened(home):
    with recorded("reset", "It was mine (1.0).") as mine, recorded("noise") as other:
        pass
    at = opened(study="reset")
    box = at.selectbox(key="lab_open_reset")
    assert len(box.options) == 2
    box.set_value(mine.folder.name).run()
    assert "It was mine (1.0)." in texts(at) and "your run" in texts(at)
    at = opened(study="reset", study_run=other.folder.name)  # the run is what is shown
    assert at.title[0].value.replace("\\", "") == STUDIES["noise"].question


@pytest.mark.parametrize("content", ["[]", "{", json.dumps({"format": "adarank-study/1"})])
def test_a_damaged_result_is_told_and_can_be_made_anew(started, content):
    with recorded("reset") as recorder:
        pass
    (recorder.folder / "study.json").write_text(content)
    at = opened(study_run=recorder.folder.name)
    assert "folder is damaged: the study's rows cannot be read" in texts(at)
    button(at, "Go on").click().run()
    assert len(started) == 1


def test_an_address_of_nothing_is_told(home):
    at = opened(study_run="20261124-230929-000001-lab")
    assert "no study on this machine" in texts(at) and at.query_params == {}
    at = opened(study_run="../../etc")
    assert "in the address cannot be chosen" in texts(at) and at.query_params == {}
    at = opened(study="zork")
    assert "study='zork' in the address cannot be chosen" in texts(at)


def test_a_link_has_the_study_and_its_settings():
    at = opened(study="reset", **{"reset.trials": "7"})
    assert at.number_input(key="reset.trials").value == 7
    at.radio(key="study").set_value("noise").run()
    at.text_input(key="noise.scales").set_value("0.1, 1").run()
    assert not at.exception
    wanted = {"study": "noise", "reset.trials": "7", "noise.scales": "0.1, 1"}
    assert at.query_params == wanted


def test_another_study_is_shown_without_the_run(home):
    with recorded("reset") as recorder:
        pass
    at = opened(study_run=recorder.folder.name)
    assert at.query_params == {"study": "reset", "study_run": recorder.folder.name}
    at.radio(key="study").set_value("noise").run()
    assert not at.exception and at.query_params == {"study": "noise"}
