import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.comparison.judging import verdict_of
from adarank_core.errors import AdaRankError
from adarank_core.files import write_json
from adarank_core.lab.study import StudyResult
from adarank_core.runs import jobs
from pages.parts.runs import run_details

CONFIG = {
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0],
    "average_rank": 2.0,
    "settings": {"steps": 10, "batch_size": 32},
}


@contextmanager
def recorded(kind="compare", **changes):
    folder = jobs.new_run_folder(kind)
    (folder / "log.txt").touch()  # as those have that the app starts
    with jobs.open_run(folder, {"command": kind, **CONFIG, **changes}) as recorder:
        yield recorder


def evaluated(recorder, arm, loss):
    pair = {"arm": arm, "seed": 0}
    recorder.record({"event": "evaluation", **pair, "step": 5, "validation_loss": loss})


def drawn(*folders):
    """Draw one run or two, as the page does."""

    def script(folders):
        from pathlib import Path

        from adarank_core.runs.jobs import run_folder
        from pages.parts.runs import run_details

        runs = [run_folder(Path(folder)) for folder in folders]
        run_details.draw_run(runs[0], 2) if len(runs) == 1 else run_details.draw_pair(*runs)

    at = AppTest.from_function(script, args=([str(f) for f in folders],), default_timeout=60)
    at.run()
    assert not at.exception
    return at


def texts(at):
    return "\n".join(one.value for kind in (at.markdown, at.caption, at.info) for one in kind)


def test_a_failed_run_says_why_in_plain_words(home):
    with pytest.raises(AdaRankError), recorded() as recorder:
        raise AdaRankError("the model 'x_y' is <b>missing</b>")
    at = drawn(recorder.folder)
    assert at.error[0].value == r"The model 'x\_y' is \<b\>missing\</b\>"


@pytest.mark.parametrize(("kind", "how"), [("compare", "**Go on**"), ("finetune", "`--resume`")])
def test_an_interrupted_run_says_how_to_go_on(home, kind, how):
    with recorded(kind) as recorder:
        pass
    (recorder.folder / "events.jsonl").write_text('{"event": "started", "time": 1.0}\n')
    told = texts(drawn(recorder.folder))
    assert "ended without a word; what had finished is kept" in told
    assert how in told


def test_a_fine_tuning_shows_its_result_its_losses_and_its_command(home):
    with recorded("finetune") as recorder:
        recorder.record({"event": "step", "step": 1, "train_loss": 1.5})
        assert "no result" in texts(drawn(recorder.folder))
        numbers = {"test_loss": 0.51234, "test_accuracy": 0.8, "lora_parameters": 82944}
        write_json(recorder.folder / "result.json", {**numbers, "train_seconds": 41.6})
    write_json(recorder.folder / "command.json", {"command": ["python", "--task=my own"]})
    at = drawn(recorder.folder)
    assert [one.value for one in at.metric] == ["0.5123", "80.0%", "82,944", "42 s"]
    (figure,) = at.get("plotly_chart")
    assert json.loads(figure.proto.spec)["data"][0]["y"] == [1.5]
    assert at.code[0].value == "python '--task=my own'"


def test_a_fine_tuning_without_events_has_no_empty_chart(home):
    with recorded("finetune") as recorder:
        pass
    at = drawn(recorder.folder)
    assert "No curves are left" in texts(at) and not at.get("plotly_chart")


def test_a_study_says_its_answer_or_that_it_has_none(home):
    with recorded("lab", study="reset") as recorder:
        folder = recorder.folder
    result = StudyResult("reset", {}, {}, (), "")
    write_json(folder / "study.json", result.to_dict())
    assert drawn(folder).caption[0].value == "It has no answer, for not all is measured."
    write_json(folder / "study.json", replace(result, answer="It is $3$.").to_dict())
    assert drawn(folder).markdown[0].value == r"It is \$3\$."


def test_two_comparisons_lie_beside_each_other(home):
    with recorded(seeds=[0, 1]) as first:
        evaluated(first, "uniform", 0.75)
        arms = {
            arm: {
                "lora_parameters": 82944,
                "allocation_seconds": 0.0,
                "runs": [
                    {"seed": seed, "test_loss": loss + seed, "test_accuracy": 0.75}
                    for seed in (0, 1)
                ],
            }
            for arm, loss in {"uniform": 0.5, "adarank": 0.25}.items()
        }
        verdict = verdict_of("docstrings", "embedded", arms)
        write_json(first.folder / "verdict.json", verdict.to_dict())
    with recorded(task="trec") as second:
        evaluated(second, "uniform", 0.5)
        tested = {"arm": "uniform", "seed": 0, "test_loss": 0.125, "test_accuracy": 0.75}
        costs = {"lora_parameters": 41472, "allocation_seconds": 0.0}
        second.record({"event": "result", **tested, **costs})
    at = drawn(first.folder, second.folder)
    results, differing = (element.value for element in at.dataframe)
    assert list(zip(results["arm"], results["run"], strict=True)) == [
        ("uniform", "A"),
        ("uniform", "B"),
        ("adarank", "A"),
    ]
    assert list(results["mean test loss"]) == [1.0, 0.125, 0.75]
    assert list(results["LoRA parameters"]) == [82944, 41472, 82944]
    assert differing.values.tolist() == [["task", "docstrings", "trec"], ["seeds", "0, 1", "0"]]
    assert "adarank's test loss is lower than uniform's" in texts(at)
    assert "It has no verdict" in texts(at)
    assert "tasks differ" in at.warning[0].value
    figure = json.loads(at.get("plotly_chart")[0].proto.spec)
    assert [trace["name"] for trace in figure["data"]] == ["A: uniform", "B: uniform"]


def test_two_equal_ones_differ_in_nothing_and_may_have_no_results(home):
    with recorded() as first:
        pass
    with recorded() as second:
        pass
    told = texts(drawn(first.folder, second.folder))
    assert "Neither has a result yet" in told
    assert "asked for the same" in told


def test_a_damaged_verdict_is_one_sentence(home):
    with recorded() as recorder:
        (recorder.folder / "verdict.json").write_text("{")
    (error,) = drawn(recorder.folder).error
    assert "the verdict cannot be read" in error.value and "makes it anew" in error.value


def test_where_nobody_learned_it_is_said_before_the_differences():
    arms = {
        arm: {
            "runs": [{"seed": seed, "test_accuracy": 0.5, "test_loss": loss} for seed in range(3)]
        }
        for arm, loss in (("uniform", 0.69), ("adarank", 0.68))
    }
    verdict = verdict_of("docstrings", "embedded", arms, {})
    assert "nobody" not in run_details._sentences(verdict)[0]
    guessing = {"accuracy": 0.5, "loss": 0.69, "texts": 1000}
    why, *differences = run_details._sentences(replace(verdict, guessing=guessing))
    assert "nobody has learned yet" in why and len(differences) == 1
