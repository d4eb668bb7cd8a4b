import json
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.comparison.arms import ARMS, GROUPS
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.files import write_json
from adarank_core.runs import jobs
from pages.parts.shared import state

APP = str(Path(__file__).resolve().parents[2] / "app.py")
CONFIG = {
    "command": "compare",
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0],
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


@pytest.fixture
def started(home, monkeypatch):
    """What the page starts is written down here instead."""
    calls = []

    def start(arguments, folder):
        calls.append((arguments, folder))
        (folder / "events.jsonl").touch()  # by which a folder is a run's

    monkeypatch.setattr(jobs, "start", start)
    return calls


def opened(run=None):
    at = AppTest.from_file(APP, default_timeout=60).run()
    if run is not None:
        at.session_state["compare_run"] = run
    at.switch_page("pages/compare.py").run()
    assert not at.exception
    assert not [one for one in at.sidebar.button_group if one.key == "text"]  # without effect
    return at


@contextmanager
def recorded(**changes):
    """Record the beginning of a run; it is alive inside the block."""
    folder = jobs.new_run_folder("compare")
    (folder / "log.txt").touch()  # as those have that the app starts
    with jobs.open_run(folder, {**CONFIG, **changes}) as recorder:
        pair = {"arm": "uniform", "seed": 0}
        budget = {"lora_parameters": 82944}
        recorder.record({"event": "plan", **pair, "budget": budget})
        for step in range(1, 5):
            recorder.record({"event": "step", **pair, "step": step, "steps": 10, "train_loss": 1.5})
        recorder.record(
            {
                "event": "evaluation",
                **pair,
                "step": 4,
                "steps": 10,
                "validation_loss": 1.25,
                "validation_accuracy": 0.5,
            }
        )
        yield recorder


def result(arm, seed, loss):
    return {
        "event": "result",
        "arm": arm,
        "seed": seed,
        "test_loss": loss,
        "test_accuracy": 0.75,
        "lora_parameters": 82944,
        "allocation_seconds": 4.0,
    }


def finished(losses, seeds=(0,), **declared):
    """Record a whole run with these test losses of uniform and adarank."""
    with recorded(seeds=list(seeds)) as recorder:
        arms = {}
        for arm, values in losses.items():
            runs = [
                {"seed": seed, "test_loss": loss, "test_accuracy": 0.75}
                for seed, loss in zip(seeds, values, strict=True)
            ]
            arms[arm] = {"lora_parameters": 82944, "allocation_seconds": 4.0, "runs": runs}
        verdict = verdict_of("docstrings", "embedded", arms, declared=Declared(**declared))
        write_json(recorder.folder / "verdict.json", verdict.to_dict())
    return recorder.folder


def figure(at, number=0):
    return json.loads(at.get("plotly_chart")[number].proto.spec)


def curves(at):
    """The lines of the curves, by arm; they have an axis of steps."""
    drawn = [figure(at, number) for number in range(len(at.get("plotly_chart")))]
    (one,) = [one for one in drawn if one["layout"]["xaxis"]["title"]["text"] == "optimizer step"]
    return one["data"]


def texts(at):
    kinds = (at.markdown, at.caption, at.title, at.info, at.warning, at.error)
    return "\n".join(element.value for kind in kinds for element in kind)


def choose_arms(at, *wanted):
    for arm in {"uniform", "adarank", *wanted}:
        if at.checkbox(key=f"compare_arm_{arm}").value != (arm in wanted):
            at.checkbox(key=f"compare_arm_{arm}").set_value(arm in wanted).run()


def button(at, label):
    return next((one for one in at.button if one.label == label), None)


def test_the_stored_example_is_shown_before_anything_was_started(home):
    at = opened()
    assert "stored example" in texts(at)
    names = {trace.get("name") for trace in curves(at)}
    assert set(state.example_run().config["arms"]) <= names
    assert at.header[-1].value == "Verdict" or "Verdict" in [s.value for s in at.header]
    assert "run" not in at.query_params
    assert button(at, "Cancel") is None


def test_start_passes_all_that_was_chosen_as_arguments(started):
    at = opened()
    choose_arms(at, "uniform", "ramp-up")
    permuted = at.checkbox(key="compare_arm_permuted").label  # its question is read where it is
    assert permuted.startswith("**permuted**: AdaRank's ranks shuffled among modules of equal size")
    assert at.query_params["arms"] in ("uniform,ramp-up", ["uniform,ramp-up"])
    at.text_input(key="compare_seeds").set_value("3, 4")
    at.number_input(key="compare_steps").set_value(12)
    at.number_input(key="compare_batch").set_value(8)
    at.number_input(key="compare_trials").set_value(3)
    at.selectbox(key="compare_primary").set_value("macro_f1")
    at.number_input(key="compare_smallest").set_value(0.015)
    at.slider(key="rank").set_value(2)
    at.selectbox(key="task").set_value("trec")
    at.button(key="compare_start").click().run()
    assert not at.exception
    ((arguments, folder),) = started
    assert arguments[0] == "compare"
    assert set(arguments[1:]) == {
        "--model=embedded",
        "--task=trec",
        "--arms=uniform,ramp-up",
        "--average-rank=2",
        "--seeds=3,4",
        "--trials=3",
        "--steps=12",
        "--batch-size=8",
        "--learning-rate=0.005",
        "--max-length=128",
        "--metric=macro_f1",
        "--smallest-of-interest=0.015",
        "--queue",
    }
    assert at.query_params["run"] in (folder.name, [folder.name])


@pytest.mark.parametrize("seeds", ["one", "-1", "0,0"])
def test_bad_seeds_are_one_sentence_and_start_nothing(started, seeds):
    at = opened()
    at.text_input(key="compare_seeds").set_value(seeds)
    at.button(key="compare_start").click().run()
    assert len(at.error) == 1
    assert "seed" in at.error[0].value.lower()
    assert not started
    assert at.get("plotly_chart")  # the example is still there


def test_no_arms_are_refused(started):
    at = opened()
    choose_arms(at)
    at.button(key="compare_start").click().run()
    assert "No arms" in at.error[0].value
    assert not started


def test_a_file_that_is_no_plan_is_refused(started):
    at = opened()
    at.file_uploader(key="compare_own").set_value(("ranks.json", b"{", "application/json"))
    at.button(key="compare_start").click().run()
    assert len(at.error) == 1
    assert tempfile.gettempdir() not in at.error[0].value  # not where it is kept
    assert not started


def test_a_running_comparison_tells_how_far_it_is_and_can_be_cancelled(home):
    with recorded() as recorder:
        at = opened(recorder.folder.name)
        assert at.query_params["run"] in (recorder.folder.name, [recorder.folder.name])
        progress = at.get("progress")[0]
        assert progress.proto.text.startswith(state.plain("uniform seed 0: step 4 of 10"))
        values = [trace["y"] for trace in figure(at)["data"] if trace.get("name") == "uniform"]
        assert 1.25 in values[0]
        assert not at.button(key="compare_start").disabled  # another one waits for its turn
        assert button(at, "Cancel all 2 runs") is None
        button(at, "Cancel").click().run()
        assert recorder.should_stop()
        assert "cancelling" in at.get("progress")[0].proto.text
        assert button(at, "Cancel").disabled


def test_the_curve_can_be_switched(home):
    with recorded() as recorder:
        at = opened(recorder.folder.name)
        at.segmented_control(key="compare_curve").set_value("train_loss").run()
        assert at.slider(key="compare_smoothing").value > 0
        assert len(figure(at)["data"]) == 4  # what was measured is under each smooth line
        at.slider(key="compare_smoothing").set_value(0.0).run()
        lines = {trace.get("name"): trace["y"] for trace in figure(at)["data"]}
        assert lines == {"uniform": [None, 1.5, 1.5, 1.5, 1.5], "adarank": [None]}


def test_a_cancelled_run_keeps_what_had_finished_and_goes_on(started):
    with recorded() as recorder:
        recorder.record(result("uniform", 0, 0.5))
        jobs.cancel(recorder.folder)
        assert recorder.should_stop()
    at = opened(recorder.folder.name)
    assert "Cancelled; what had finished is kept" in texts(at)
    assert len(figure(at)["data"]) >= 2
    assert list(at.dataframe[-1].value["mean test loss"]) == [0.5]
    button(at, "Go on").click().run()
    ((arguments, folder),) = started
    assert folder == recorder.folder
    assert arguments[-1] == "--resume"
    assert "--learning-rate=0.001" in arguments  # resuming refuses other settings


def test_a_failed_run_says_why_in_one_sentence(home):
    from adarank_core.errors import AdaRankError

    with pytest.raises(AdaRankError), recorded() as recorder:
        raise AdaRankError("the model 'x_y' cannot be loaded")
    at = opened(recorder.folder.name)
    assert at.error[0].value == "The model 'x\\_y' cannot be loaded"
    assert button(at, "Try again")


def test_where_no_events_are_there_is_no_empty_chart(home):
    folder = finished({"uniform": [0.5]})
    before = len(opened(folder.name).get("plotly_chart"))
    (folder / "events.jsonl").unlink()
    at = opened(folder.name)
    assert "No curves are left" in texts(at) and len(at.get("plotly_chart")) == before - 1


def test_a_run_whose_process_went_away_is_called_so(started):
    with recorded() as recorder:
        pass
    lines = (recorder.folder / "events.jsonl").read_text().splitlines(keepends=True)
    (recorder.folder / "events.jsonl").write_text("".join(lines[:-1]))
    at = opened(recorder.folder.name)
    assert "ended without a word" in texts(at)
    assert button(at, "Go on")


def test_a_run_that_starts_is_waited_for(home):
    folder = jobs.new_run_folder("compare")
    write_json(folder / "command.json", {"command": ["python", "-m", "adarank_core", "compare"]})
    at = opened(folder.name)
    assert at.title[0].value == "A comparison is starting"
    assert button(at, "Cancel")
    old = time.time() - 1000
    os.utime(folder / "command.json", (old, old))
    at.run()
    assert "ended without a word" in texts(at)
    assert button(at, "Go on") is None  # nothing is known of what was asked


def test_one_seed_decides_nothing_and_four_more_are_offered(started):
    folder = finished({"uniform": [0.5], "adarank": [0.4]})
    at = opened(folder.name)
    assert "one seed cannot tell adarank from uniform" in at.title[0].value
    assert texts(at).count("one seed decides nothing") == 1 and not at.info  # and no box besides
    assert "by 0.100 with this seed." in texts(at)
    two = opened(finished({"uniform": [0.5, 0.6], "adarank": [0.4, 0.5]}, seeds=(0, 1)).name)
    for of_several in ("Thin lines are seeds", "A small point is a seed"):
        assert of_several not in texts(at) and of_several in texts(two)
    button(at, "Run four more").click().run()
    ((arguments, again),) = started
    assert again == folder
    assert "--seeds=0,1,2,3,4" in arguments
    assert arguments[-1] == "--resume"


def test_the_verdict_is_a_sentence_a_picture_and_a_table(home):
    losses = {"uniform": [0.5, 0.6, 0.7], "adarank": [0.4, 0.51, 0.6]}
    at = opened(finished(losses, seeds=(0, 1, 2)).name)
    assert at.title[0].value == "On docstrings, adarank is better than uniform over 3 seeds"
    assert "3 seeds\\): **better**." in texts(at)
    assert "compare with the arm **permuted** too" in texts(at)
    assert button(at, "Run four more") is None
    assert figure(at)["layout"]["shapes"][0]["x0"] == 0  # before the curves
    assert figure(at, 1)["layout"]["xaxis"]["title"]["text"] == "optimizer step"
    (shown,) = at.dataframe[0].value.to_dict("records")
    assert (shown["pair"], shown["verdict"]) == ("adarank − uniform", "better")
    found = at.dataframe[2].value.set_index("arm")
    assert found.loc["adarank", "mean test loss"] == pytest.approx(1.51 / 3)
    assert "82,944 in every arm" in texts(at)
    for kept_equal in ("Head", "Data", "Learning rate", "Schedule", "Alpha", "Dropout", "Test"):
        assert f"**{kept_equal}" in texts(at)
    assert len(at.get("plotly_chart")) == 3  # differences, curves, costs
    assert "adarank_core compare" in at.code[0].value and "ar.compare(" in at.code[1].value


def test_a_later_look_is_marked_and_secondary_metrics_are_folded(home):
    losses = {"uniform": [0.5, 0.6, 0.7], "adarank": [0.4, 0.51, 0.6]}
    look = {"arms": list(losses), "seeds": [0, 1]}
    declared = {"planned_seeds": (0, 1), "looks": [look, {**look, "seeds": [0, 1, 2]}]}
    declared["smallest_of_interest"] = 0.02
    at = opened(finished(losses, seeds=(0, 1, 2), **declared).name)
    assert at.title[0].value.endswith(r"is better than uniform over 3 seeds \(exploratory\)")
    said = texts(at).replace("\\", "")
    assert "look 2 at the comparison, which was planned with 2 seeds" in said
    assert "with its 99% interval" in said and "Nothing is claimed" not in said
    assert "a difference below 0.02 is of no interest, as was given" in said
    at.button_group(key="compare_metric").set_value("test_accuracy").run()
    assert at.query_params["secondary"] in ("test_accuracy", ["test_accuracy"])
    said = texts(at).replace("\\", "")
    assert "Nothing is claimed about it" in said
    assert "adarank's test accuracy is the same as uniform's with each of 3 seeds." in said


def test_one_arm_alone_says_why_there_is_no_verdict(home):
    at = opened(finished({"uniform": [0.5, 0.6]}, seeds=(0, 1)).name)
    assert at.title[0].value == r"One arm alone on docstrings\: nothing to compare"
    assert "add another arm" in at.info[0].value


def test_better_than_uniform_is_no_finding_where_shuffled_ranks_do_as_well(home):
    losses = {"uniform": [0.5, 0.6, 0.7], "adarank": [0.4, 0.51, 0.6]}
    losses["permuted"] = [0.41, 0.5, 0.6]
    at = opened(finished(losses, seeds=(0, 1, 2)).name)
    assert "so may be any shuffling" in at.title[0].value


@pytest.mark.parametrize("name", ["../runs", "..", "/etc", "nothing-compare", "a\x00b"])
def test_a_run_is_a_name_and_never_a_path(home, name):
    at = opened(name)
    assert "not on this machine any more" in at.warning[0].value
    assert "stored example" in texts(at)
    assert "run" not in at.query_params


def test_a_run_that_is_no_comparison_is_said_to_be_on_the_page_runs(home):
    folder = jobs.new_run_folder("finetune")
    write_json(folder / "config.json", {"command": "finetune"})
    (warning,) = opened(folder.name).warning
    assert "no comparison" in warning.value and "**Runs**" in warning.value


def test_recent_runs_can_be_opened_again(home):
    first, second = finished({"uniform": [0.5]}), finished({"uniform": [0.25]})
    (first.parent / "20260101-000000-000000-finetune").mkdir()
    at = opened()
    box = at.selectbox(key="compare_open")
    assert len(box.options) == 3  # the example and two comparisons
    box.set_value(first.name).run()
    assert at.query_params["run"] in (first.name, [first.name])
    assert "One arm alone" in at.title[0].value
    at.selectbox(key="compare_open").set_value("").run()
    assert "run" not in at.query_params
    assert "stored example" in texts(at)
    assert second.exists()


def test_a_damaged_verdict_is_one_sentence(home):
    folder = finished({"uniform": [0.5]})
    verdict = folder / "verdict.json"
    verdict.write_text(verdict.read_text()[:200])
    at = opened(folder.name)
    (error,) = at.error
    assert "the verdict cannot be read" in error.value and "makes it anew" in error.value
    assert at.title[0].value == "The comparison's folder is damaged"
    assert any(label.endswith("damaged") for label in at.selectbox(key="compare_open").options)
    assert at.button(key="compare_go_on").label == "Go on"


def test_a_queued_run_tells_its_place_and_what_is_before_it(home):
    with recorded() as first, recorded(arms=["uniform"]) as second:
        second.record({"event": "queued", "place": 1})
        at = opened(second.folder.name)
        assert at.title[0].value == "A comparison waits for its turn"
        assert at.get("progress")[0].proto.text == "Place 1 in the queue"
        link = at.button(key=f"compare_before_{first.folder.name}")
        assert "docstrings" in link.label and "running" in link.label
        button(at, "Cancel all 2 runs").click().run()
        assert first.should_stop() and second.should_stop()
        link = at.button(key=f"compare_before_{first.folder.name}")
        link.click().run()
        assert at.query_params["run"] in (first.folder.name, [first.folder.name])


def test_speed_memory_and_seeds_side_by_side_are_told(home):
    with recorded(seeds=[0, 1], side_by_side=2) as recorder:
        for seed in (0, 1):
            recorder.record(
                {
                    "event": "step",
                    "arm": "uniform",
                    "seed": seed,
                    "step": 5,
                    "train_loss": 1.0,
                    "examples_per_second": 40.0,
                    "memory_mb": 600,
                }
            )
        at = opened(recorder.folder.name)
        now = at.get("progress")[0].proto.text.replace("\\", "")
        assert "uniform seed 0: step 5 of 10 · uniform seed 1: step 5 of 10" in now
        assert "80 examples a second · 1.2 GB" in now


def test_an_arm_that_failed_is_named_while_it_runs_and_under_the_verdict(home):
    failed = {"event": "arm-failed", "arm": "adarank", "seed": 0, "message": "a *loss* of NaN"}
    with recorded() as recorder:
        recorder.record(failed)
        assert "given up: seed 0: a *loss* of NaN" in texts(opened(recorder.folder.name)).replace(
            "\\", ""
        )
    folder = finished({"uniform": [0.5]})
    data = json.loads((folder / "verdict.json").read_text())
    write_json(folder / "verdict.json", {**data, "failed": {"adarank": "seed 0: a *loss*"}})
    assert "**adarank** is not compared: seed 0\\: a \\*loss\\*" in texts(opened(folder.name))


def test_a_learning_rate_a_grid_and_seeds_side_by_side_are_asked_for(started, monkeypatch):
    monkeypatch.setattr("pages.parts.compare.launcher.cores", lambda: 8)
    at = opened()
    at.number_input(key="compare_rate").set_value(0.001)
    at.number_input(key="compare_side_by_side").set_value(5)
    at.button(key="compare_start").click().run()
    assert "--learning-rate=0.001" in started[-1][0]
    assert "--side-by-side=3" in started[-1][0]  # no more than there are seeds
    at.segmented_control(key="compare_rate_how").set_value("best of a grid").run()
    at.text_input(key="compare_rates").set_value("1e-3, 0.02")
    at.button(key="compare_start").click().run()
    assert "--learning-rates=0.001,0.02" in started[-1][0]
    assert "--learning-rate=0.005" in started[-1][0]
    at.segmented_control(key="compare_rate_how").set_value("growing grid").run()
    at.selectbox(key="compare_alpha").set_value("rslora")
    at.button(key="compare_start").click().run()
    assert {"--learning-rates=auto", "--alpha=rslora"} <= set(started[-1][0])


def test_a_best_rate_at_the_end_of_its_grid_is_a_warning_beside_the_curve():
    folder = finished({"uniform": [0.5]})
    data = json.loads((folder / "verdict.json").read_text())
    data["arms"]["uniform"] |= {
        "learning_rate": 0.01,
        "learning_rate_at_edge": True,
        "search_seconds": 3.0,
        "validation_loss": {"0.005": 0.7, "0.01": 0.6},
        "validation_loss_by_seed": {"0.005": {"7": 0.7}, "0.01": {"7": 0.6}},
    }
    write_json(folder / "verdict.json", data)
    at = opened(folder.name)
    assert "uniform's best learning rate is at the end" in at.warning[0].value
    drawn = [figure(at, number) for number in range(len(at.get("plotly_chart")))]
    titles = [one["layout"]["xaxis"]["title"]["text"] for one in drawn]
    assert titles.count("learning rate (logarithmic)") == 1


@pytest.mark.parametrize("rates", ["", "fast", "0", "-1e-3", "nan", "1e-3,1e-3"])
def test_bad_learning_rates_are_one_sentence_and_start_nothing(started, rates):
    at = opened()
    at.segmented_control(key="compare_rate_how").set_value("best of a grid").run()
    at.text_input(key="compare_rates").set_value(rates)
    at.button(key="compare_start").click().run()
    assert len(at.error) == 1
    assert "learning" in at.error[0].value
    assert not started


def test_the_plan_of_the_page_ranks_is_an_arm_until_it_is_dropped(started, tmp_path):
    from adarank_core.ranks.plans import RankPlan

    plan = RankPlan("embedded", {"a": 1}, {"a": 2}, {}, "")
    path = tmp_path / "my_ranks.json"
    write_json(path, plan.to_dict())
    at = opened()
    assert button(at, "Drop") is None
    at.session_state["compare_own_plan"] = str(path)
    at.run()
    assert "own ranks \\(my\\_ranks\\)" in texts(at)
    at.button(key="compare_start").click().run()
    assert f"--arms=uniform,adarank,{path}" in started[-1][0]
    button(at, "Drop").click().run()
    at.button(key="compare_start").click().run()
    assert "--arms=uniform,adarank" in started[-1][0]
    at.session_state["compare_own_plan"] = str(tmp_path / "gone.json")
    at.run()
    assert not at.exception and button(at, "Drop") is None


def test_arms_are_listed_by_their_groups(home):
    at = opened()
    boxes = [one.key.removeprefix("compare_arm_") for one in at.checkbox]
    assert sorted(boxes) == sorted(ARMS)
    places = [GROUPS.index(ARMS[arm].group) for arm in boxes]
    assert places == sorted(places) and set(places) == set(range(len(GROUPS)))
    assert all(ARMS[arm].question in at.checkbox(key=f"compare_arm_{arm}").label for arm in ARMS)


def test_how_long_it_takes_is_foretold_from_an_earlier_one(home):
    folder = finished({"uniform": [0.5]})
    about = {"arm": "uniform", "seed": 0}
    told = [{"event": "plan", "budget": {}, "time": 100.0}]
    told += [{"event": "step", "step": at, "time": 100.0 + 2 * at} for at in range(11)]
    sizes = {"lora_parameters": 9, "allocation_seconds": 4.0, "test_loss": 0.5, "steps": 10}
    told += [{"event": "result", "time": 120.0, **sizes}]
    lines = "".join(json.dumps({**about, **event}) + "\n" for event in told)
    events = folder / "events.jsonl"
    events.write_text(lines + events.read_text().splitlines(keepends=True)[-1])
    at = opened()
    # Two arms with three seeds, 150 steps of 2 seconds, and 4 seconds a seed for ranks.
    assert "It takes about 30 min" in texts(at)
    at.number_input(key="compare_batch").set_value(64).run()
    assert "It takes about" not in texts(at)


def test_quality_is_drawn_over_parameters_and_seconds(home):
    folder = finished({"uniform": [0.5], "adarank": [0.4]})
    data = json.loads((folder / "verdict.json").read_text())
    for arm in data["arms"].values():
        arm["runs"][0] |= {"train_seconds": 20.0}
    write_json(folder / "verdict.json", data)
    at = opened(folder.name)
    means = {trace.get("name"): trace["x"] for trace in figure(at, 2)["data"]}
    assert means["adarank"] == [24.0]
    at.segmented_control(key="compare_cost").set_value("parameters").run()
    assert "LoRA parameters" in figure(at, 2)["layout"]["xaxis"]["title"]["text"]


def test_the_table_of_a_curve_is_sent_only_while_it_is_open(home):
    with recorded() as recorder:
        at = opened(recorder.folder.name)
        assert not at.dataframe
        at.session_state["compare_curves_data"] = True
        at.run()
        assert list(at.dataframe[0].value["value"]) == [1.25]


def test_a_home_that_cannot_be_made_is_said_on_the_page(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADARANK_HOME", str(tmp_path / "file"))
    page = AppTest.from_file(APP, default_timeout=60).run().switch_page("pages/compare.py").run()
    assert not page.exception
    assert [error for error in page.error if "cannot be used" in error.value]


def test_before_the_first_point_a_line_says_what_comes_and_no_chart_is_empty(home):
    folder = jobs.new_run_folder("compare")
    with jobs.open_run(folder, CONFIG) as recorder:
        at = opened(folder.name)
        assert not at.get("plotly_chart")
        assert "Before it the task and the model are loaded" in texts(at)
        pair = {"arm": "uniform", "seed": 0}
        recorder.record({"event": "plan", **pair, "budget": {}})
        recorder.record({"event": "step", **pair, "step": 1, "train_loss": 1.5})
        at.run()
        # 8 evaluations in 10 steps: every second one.
        assert "for the first time after step 2" in texts(at) and not at.get("plotly_chart")
        at.segmented_control(key="compare_curve").set_value("train_loss").run()
        assert at.get("plotly_chart")


def test_a_run_at_work_is_shown_to_who_comes_back_until_another_is_chosen(home):
    finished({"uniform": [0.5]})
    with recorded() as recorder:
        at = opened()
        assert at.query_params["run"] in (recorder.folder.name, [recorder.folder.name])
        at.selectbox(key="compare_open").set_value("").run()
        assert "stored example" in texts(at)
        at.switch_page("pages/learn.py").run()
        at.switch_page("pages/compare.py").run()
        assert "stored example" in texts(at)  # it was seen, and left
    assert "stored example" in texts(opened())  # nothing is at work, and it has no verdict


def test_a_run_that_ended_within_a_day_is_shown_to_who_comes_back(home):
    older, newest = finished({"uniform": [0.5]}), finished({"uniform": [0.25]})
    at = opened()
    assert at.query_params["run"] in (newest.name, [newest.name])
    at.selectbox(key="compare_open").set_value("").run()
    at.switch_page("pages/learn.py").run()
    at.switch_page("pages/compare.py").run()
    assert "stored example" in texts(at)  # it was seen, and the older one is of no news
    with recorded() as at_work:
        at = opened()
        assert at.query_params["run"] in (at_work.folder.name, [at_work.folder.name])
    old = time.time() - 25 * 3600
    for folder in (older, newest):
        os.utime(folder / "verdict.json", (old, old))
    assert "stored example" in texts(opened())


def test_where_nobody_has_learned_the_title_says_so_and_no_word_is_told(home):
    losses = {"uniform": [0.5, 0.6, 0.7], "adarank": [0.4, 0.51, 0.6]}
    folder = finished(losses, seeds=(0, 1, 2))
    data = json.loads((folder / "verdict.json").read_text())
    data["guessing"] = {"accuracy": 0.75, "loss": 0.4, "texts": 500}
    write_json(folder / "verdict.json", data)
    at = opened(folder.name)
    said = "nobody has learned yet: no arm is clearly better than guessing over 3 seeds"
    assert at.title[0].value.replace("\\", "") == f"On docstrings, {said}"
    assert "right for 75.0% of the test texts" in at.info[0].value.replace("\\", "")
    assert "better**" not in texts(at)
