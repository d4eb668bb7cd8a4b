import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from adarank_core.comparison.judging import verdict_of
from adarank_core.errors import AdaRankError
from adarank_core.files import runs_folder, write_json
from adarank_core.lab.studies import STUDIES
from adarank_core.lab.study import StudyRequest, StudyResult
from adarank_core.runs import jobs, store
from pages.parts.shared import state

APP = str(Path(__file__).resolve().parents[2] / "app.py")
CONFIG = {
    "command": "compare",
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0, 1],
    "average_rank": 2.0,
    "trials": 8,
    "settings": {
        "steps": 10,
        "batch_size": 32,
        "learning_rate": 0.001,
        "max_length": 128,
        "evaluations": 8,
    },
}


@contextmanager
def recorded(kind="compare", **changes):
    """Record the beginning of a run; it is alive inside the block."""
    folder = jobs.new_run_folder(kind)
    with jobs.open_run(folder, {**CONFIG, "command": kind, **changes}) as recorder:
        yield recorder


def finished(**changes):
    with recorded(**changes) as recorder:
        arms = {}
        for arm, losses in {"uniform": (0.5, 0.6), "adarank": (0.4, 0.501)}.items():
            runs = [
                {"seed": seed, "test_loss": loss, "test_accuracy": 0.75}
                for seed, loss in enumerate(losses)
            ]
            arms[arm] = {"lora_parameters": 82944, "allocation_seconds": 4.0, "runs": runs}
        verdict = verdict_of("docstrings", "embedded", arms)
        write_json(recorder.folder / "verdict.json", verdict.to_dict())
    return recorder.folder


def interrupted(**changes):
    with recorded(**changes) as recorder:
        pass
    events = recorder.folder / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:-1]))
    return recorder.folder


def opened():
    at = AppTest.from_file(APP, default_timeout=60).run()
    at.switch_page("pages/runs.py").run()
    assert not at.exception
    return at


def select(at, *folders):
    """Tick these runs' rows, as the browser tells it."""
    drawn = at.session_state["runs_drawn"]
    rows = [drawn.index(folder.name) for folder in folders]
    at.session_state["runs_table"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    at.run()
    assert not at.exception
    return at


def texts(at):
    kinds = (at.title, at.header, at.markdown, at.caption, at.info, at.warning, at.error)
    return "\n".join(element.value for kind in kinds for element in kind)


def button(at, label):
    return next((one for one in at.button if one.label == label), None)


def table(at):
    return at.dataframe[0].value


def test_without_runs_the_way_to_compare_is_shown(home):
    at = opened()
    assert at.title[0].value == "No runs yet"
    assert "**Compare**" in texts(at)
    assert not at.dataframe


def test_all_runs_are_listed_the_newest_first(home):
    finished()
    own = interrupted(task="uploads/mine.csv", model="tiny")
    store.set_tags(own, ["draft", "<b>bold</b>"])
    plan = {"ranks": {"query": 4, "key": 4}}
    with recorded("finetune", plan=plan, seed=7):
        at = opened()
    assert at.title[0].value == "3 runs: 1 at work, 1 interrupted"
    found = table(at)
    assert list(found["kind"]) == ["finetune", "compare", "compare"]
    assert list(found["state"]) == ["running", "interrupted", "finished"]
    assert list(found["task"]) == ["docstrings", "mine.csv", "docstrings"]
    assert list(found["arms"]) == ["uniform rank 4", "uniform, adarank", "uniform, adarank"]
    assert list(found["verdict"]) == ["", "", "too few seeds to tell"]
    assert found["tags"][1] == "draft, <b>bold</b>"
    assert list(found["effect"])[2] == "−0.099 (−0.106 to −0.093)"
    assert list(found["steps"]) == [10, 10, 10] and list(found["rank"]) == [2, 2, 2]
    assert found["when"][0] == time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def test_times_are_those_of_the_browser(home, monkeypatch):
    old = runs_folder() / "20260701-223000-000000-compare"
    finished().rename(old)
    monkeypatch.setattr(type(st.context), "timezone", "Asia/Kolkata")
    at = select(opened(), old)
    assert list(table(at)["when"]) == ["2026-07-02 04:00"]
    assert at.header[0].value.startswith(r"2026\-07\-02 04\:00 ·")
    at.session_state["compare_run"] = old.name
    at.switch_page("pages/compare.py").run()
    assert at.selectbox(key="compare_open").options[1].startswith("2026-07-02 04:00 ·")


def test_a_folder_with_nothing_in_it_is_no_error(home):
    (runs_folder() / "by-hand").mkdir()
    (runs_folder() / "by-hand" / "events.jsonl").touch()
    folder = jobs.new_run_folder("compare")
    write_json(folder / "config.json", {"arms": 3, "seeds": None, "plan": [], "settings": "x"})
    at = opened()
    assert at.title[0].value == "2 runs: 2 damaged"
    for path in (runs_folder() / "by-hand", folder):
        select(at, path)
    select(at, runs_folder() / "by-hand", folder)


def test_text_and_state_filter_the_table(home):
    first, second, third = finished(), interrupted(task="trec"), finished(model="tiny")
    store.set_tags(first, ["Thesis"])
    at = opened()
    at.text_input(key="runs_text").set_value("thesis unif").run()
    assert at.session_state["runs_drawn"] == [first.name]
    assert "1 of 3" in texts(at)
    at.text_input(key="runs_text").set_value("").run()
    at.button_group(key="runs_only").set_value("interrupted").run()
    assert at.session_state["runs_drawn"] == [second.name]
    assert at.query_params["only"] in ("interrupted", ["interrupted"])
    store.delete(second)
    at.run()  # no run is in that state any more
    assert at.session_state["runs_drawn"] == [third.name, first.name]


def test_runs_of_equal_settings_stand_together_and_one_group_can_be_chosen(home):
    first, second = finished(average_rank=16.0), finished(average_rank=2.0, task="own/mine.csv")
    third = finished(average_rank=16.0)
    at = opened()
    at.selectbox(key="runs_group").set_value("rank").run()
    assert at.session_state["runs_drawn"] == [second.name, third.name, first.name]
    assert list(table(at).columns[:1]) == ["when"]  # the order of columns is the browser's
    at.button_group(key="runs_only").set_value("16").run()
    assert at.session_state["runs_drawn"] == [third.name, first.name]
    assert at.query_params["group"] in ("rank", ["rank"])
    at.selectbox(key="runs_group").set_value("task").run()
    assert len(at.session_state["runs_drawn"]) == 3  # there is no task of that name
    at.button_group(key="runs_only").set_value("mine.csv").run()
    assert at.session_state["runs_drawn"] == [second.name]
    assert "only" not in at.query_params  # the name of somebody's file


def test_the_selection_is_of_runs_and_not_of_rows(home):
    first, second = finished(), finished(task="trec")
    at = select(opened(), first)
    label = at.header[0].value
    assert "docstrings" in label
    finished()
    at.run()
    assert at.header[0].value == label
    assert at.session_state["runs_table"]["selection"]["rows"] == [2]
    at.text_input(key="runs_text").set_value("trec").run()
    assert not at.header  # what is not in the table is not selected
    at.text_input(key="runs_text").set_value("").run()
    at = select(at, second)
    at.switch_page("pages/learn.py").run()
    at.switch_page("pages/runs.py").run()
    assert "trec" in at.header[0].value


def test_a_comparison_is_opened_on_compare(home):
    folder = finished()
    at = opened()
    assert not at.sidebar.children  # nothing there would have an effect
    at.session_state["seed"] = 5
    at = select(at, folder)
    button(at, "Open").click().run()
    assert not at.exception
    assert at.query_params["run"] in (folder.name, [folder.name])
    assert at.number_input(key="seed").value == 5
    assert button(at, "Delete") is None


def test_a_deleted_run_can_be_taken_back_at_once_and_later(home):
    first, second, third = finished(), finished(), finished()
    at = select(opened(), first, second, third)
    button(at, "Delete 3").click().run()
    assert at.title[0].value == "No runs yet"
    assert "Deleted 3 runs." in texts(at)
    button(at, "Undo").click().run()
    assert at.title[0].value == "3 runs, and nothing is at work"
    assert button(at, "Undo") is None
    button(select(at, second), "Delete").click().run()
    assert not second.exists()
    assert [one.label for one in at.expander] == ["Deleted (1)"]
    button(at, "Restore").click().run()
    assert second.exists()
    assert "Deleted" not in texts(at)
    assert not at.expander


def test_deleted_runs_can_be_deleted_for_good(home):
    first, second = finished(), finished()
    at = select(opened(), first)
    button(at, "Delete").click().run()
    button(at, "Delete it").click().run()
    assert store.deleted() == [] and second.exists()
    assert not at.expander and button(at, "Undo") is None


def test_undo_is_of_the_last_deletion(home):
    first, second = finished(), finished()
    at = select(opened(), first)
    button(at, "Delete").click().run()
    button(select(at, second), "Delete").click().run()
    button(at, "Undo").click().run()
    assert second.exists() and not first.exists()


def test_what_is_at_work_can_be_cancelled_and_not_deleted(home):
    with recorded() as recorder:
        at = select(opened(), recorder.folder)
        assert button(at, "Delete").disabled
        button(at, "Cancel").click().run()
        assert recorder.should_stop()
        assert list(table(at)["state"]) == ["stopping"]
        assert button(at, "Cancel").disabled
    at.run()
    assert list(table(at)["state"]) == ["cancelled"]
    assert button(at, "Cancel") is None
    assert not button(at, "Delete").disabled


def test_all_are_cancelled_at_once(home):
    ended = finished()
    with recorded() as one, recorded("finetune") as other:
        other.record({"event": "queued", "place": 2})
        at = opened()
        assert at.title[0].value == "3 runs: 1 at work, 1 queued"
        assert table(at)["state"][0] == "queued (2)"
        button(at, "Cancel all 2").click().run()
        assert one.should_stop() and other.should_stop()
    assert not (ended / "cancel").exists()
    assert button(at.run(), "Cancel all 2") is None


def test_tags_are_kept_and_a_bad_one_is_one_sentence(home):
    folder, other = finished(), finished()
    store.set_tags(other, ["thesis"])
    at = select(opened(), folder)
    tags = at.button_group(key=f"runs_tags_{folder.name}")
    assert tags.options == ["thesis"] and not tags.value
    tags.set_value(["thesis"]).run()
    assert store.tags(folder) == ("thesis",)
    assert list(table(at)["tags"]) == ["thesis", "thesis"]
    with pytest.MonkeyPatch.context() as patch:

        def refused(folder, tags):
            raise AdaRankError("the tag '*x*' is too long")

        patch.setattr(store, "set_tags", refused)
        at.button_group(key=f"runs_tags_{folder.name}").set_value([]).run()
    assert at.error[0].value == state.plain("The tag '*x*' is too long")
    assert at.button_group(key=f"runs_tags_{folder.name}").value == ["thesis"]
    at.run()
    assert not at.error
    new = at.text_input(key=f"runs_new_tag_{folder.name}")
    at = new.set_value(" chapter 2 ").run()
    assert store.tags(folder) == ("thesis", "chapter 2")
    assert at.text_input(key=f"runs_new_tag_{folder.name}").value == ""


def test_a_run_is_downloaded_under_its_name(home):
    folder, other = finished(), finished()
    at = select(opened(), folder)
    assert [one.label for one in at.get("download_button")] == ["Zip"]
    assert not select(at, folder, other).get("download_button")


def test_nothing_is_polled_when_nothing_is_at_work(home, monkeypatch):
    every, fragment = [], st.fragment

    def noted(*arguments, run_every=None):
        every.append(run_every)
        return fragment(*arguments, run_every=run_every)

    monkeypatch.setattr(st, "fragment", noted)
    finished()
    at = opened()
    assert every == [None]
    with recorded():
        at.run()
        assert every[-1] == 2


def test_a_home_that_cannot_be_made_is_said_on_the_page(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADARANK_HOME", str(tmp_path / "file"))
    page = AppTest.from_file(APP, default_timeout=60).run().switch_page("pages/runs.py").run()
    assert not page.exception
    assert [error for error in page.error if "cannot be used" in error.value]


def test_a_study_has_its_name_and_answer_and_opens_on_the_page_lab(home):
    request = StudyRequest(STUDIES["reset"])
    folder = jobs.new_run_folder("lab")
    with jobs.open_run(folder, request.config()):
        result = StudyResult("reset", request.to_dict()["settings"], {}, (), "It is half (0.5).")
        write_json(folder / "study.json", result.to_dict())
    at = opened()
    (row,) = at.dataframe[0].value.to_dict("records")
    assert (row["kind"], row["arms"], row["state"]) == ("lab", "reset", "finished")
    assert row["verdict"] == "It is half (0.5)."
    select(at, folder)
    assert "It is half (0.5)" in texts(at).replace("\\", "")
    at.button(key="runs_open").click().run()
    assert not at.exception
    assert at.title[0].value.replace("\\", "") == STUDIES["reset"].question


def test_a_studys_damaged_configuration_is_told(home):
    folder = jobs.new_run_folder("lab")
    with jobs.open_run(folder, StudyRequest(STUDIES["reset"]).config()):
        pass
    write_json(folder / "config.json", {"command": "lab", "study": 3})
    at = opened()
    assert at.dataframe[0].value["state"].tolist() == ["damaged"]
