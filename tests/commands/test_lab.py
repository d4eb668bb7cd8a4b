"""The command that does studies: a run like others, resumed, cancelled, refused."""

import json

import pytest

from adarank_core.__main__ import main
from adarank_core.files import read_json
from adarank_core.lab import studies
from adarank_core.lab.studies import STUDIES
from adarank_core.lab.study import Study, StudyResult
from adarank_core.runs.jobs import cancel, run_folder, runs

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def ask(tiny_bert, tiny_file):
    """The words that ask for the smallest study."""
    return ["lab", "counting", "--model", tiny_bert, "--task", tiny_file]


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    """A study that counts to a number; it tells what it measures."""
    calls = []

    def measure(bench, unit):
        yield 0.5
        calls.append(unit["number"])
        if bench.settings["word"] == "stop" and unit["number"] == 1:
            cancel(bench.folder)
        return {"double": 2 * unit["number"]}

    study = Study(
        "counting",
        "How far?",
        {"most": 3, "word": "go", "rates": [0.5]},
        lambda bench: [{"number": number} for number in range(bench.settings["most"])],
        measure,
        lambda measured, settings: [{"double": one["double"]} for one in measured],
        lambda rows: f"To {rows[-1]['double']}.",
    )
    monkeypatch.setattr(studies, "STUDIES", {**STUDIES, "counting": study})
    return calls


def test_a_study_is_a_run_and_says_its_answer(run, ask, tmp_path):
    assert run(*ask).strip() == "To 4."
    (made,) = runs()
    assert made.state == "finished" and made.folder.name.endswith("-lab")
    assert made.config["command"] == "lab" and made.config["study"] == "counting"
    told = [event for event in made.events if event["event"] == "study"]
    assert [event["done"] for event in told if event["total"]] == [0, 1, 1, 2, 2, 3]
    out = run(*ask, "--set", "most=2", "--json", "-")
    result = StudyResult.from_dict(json.loads(out))
    assert result.answer == "To 2." and result.settings["most"] == 2
    assert StudyResult.from_dict(read_json(runs()[0].folder / "study.json")) == result


def test_a_cancelled_study_keeps_its_rows_and_goes_on(run, refusal, ask, counting, tmp_path):
    ask += ["--output", tmp_path / "run"]
    stopped = [*ask, "--set", "word=stop"]
    assert run(*stopped, "--resume") == ""  # an empty folder starts
    assert run_folder(tmp_path / "run").state == "cancelled" and counting == [0, 1]
    assert len(read_json(tmp_path / "run" / "study.json")["rows"]) == 2
    assert "not empty" in refusal(*stopped)
    assert "word is 'go', but the run" in refusal(*ask, "--resume")
    assert "seed is 3, but the run" in refusal(*stopped, "--resume", "--seed", 3)
    assert run(*stopped, "--resume").strip() == "To 4."
    assert counting == [0, 1, 2] and run_folder(tmp_path / "run").state == "finished"
    assert run(*stopped, "--resume").strip() == "To 4."  # and says it again
    assert counting == [0, 1, 2]


def test_studies_are_listed_with_their_questions_and_each_with_its_settings(run, refusal):
    out = run("lab", "--list")
    assert run("lab") == out
    listed = json.loads(run("lab", "--list", "--json", "-"))["studies"]
    for name, study in STUDIES.items():
        assert name in out and listed[name]["question"] == study.question
        assert listed[name]["settings"] == study.defaults
    out = run("lab", "counting", "--list")
    assert "How far?" in out and ["rates", "[0.5]"] in [line.split() for line in out.splitlines()]
    (one,) = json.loads(run("lab", "counting", "--list", "--json", "-"))["studies"].values()
    assert one["settings"] == {"most": 3, "word": "go", "rates": [0.5]}
    assert "the study 'count' is unknown" in refusal("lab", "count", "--list")


def test_a_list_of_settings_is_read(run, ask):
    for said, rates in (("rates=0.1,2", [0.1, 2]), ("rates=[3]", [3])):
        result = json.loads(run(*ask, "--set", said, "--json", "-"))
        assert result["settings"]["rates"] == rates


def test_what_is_wrong_is_one_sentence(refusal, ask, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("text,label\n" + "".join(f"the cat {n},{n % 2}\n" for n in range(8)))
    same = tmp_path / "same.csv"
    same.write_text("text,label\n" + "".join(f"the cat {n},good\n" for n in range(99)))
    for words, message in (
        (["lab", "mine"], "the study 'mine' is unknown; choose from"),
        ([*ask, "--set", "lest=3"], "no setting 'lest'; it has 'most', 'word', 'rates'"),
        ([*ask, "--set", "most"], "give name=value"),
        ([*ask, "--set", "most=a"], "most is 'a'; it must be a whole number"),
        ([*ask, "--set", "most=NaN"], "most is nan"),
        ([*ask, "--seed", "-1"], "the seed is -1"),
        ([*ask, "--part", "x", "--output", tmp_path], "--part is 'x'"),
        ([*ask, "--part", "2/2", "--output", tmp_path], "--part is '2/2'"),
        ([*ask, "--part", "0/2"], "--part is '0/2'"),
        ([*ask, "--resume"], "--resume needs --output"),
        ([*ask, "--task", few], "8 rows"),
        ([*ask, "--task", same], "one class only"),
        ([*ask, "--task", "none.csv"], "there is no task, file or folder 'none.csv'"),
        ([*ask, "--model", tmp_path / "none"], "none"),
    ):
        assert message in refusal(*words), words


def test_a_study_that_fails_is_a_failed_run(ask, tmp_path, capsys):
    few = tmp_path / "few.csv"
    few.write_text("text,label\n" + "".join(f"the cat {n},{n % 2}\n" for n in range(8)))
    assert main([*map(str, ask), "--task", str(few)]) == 2
    assert runs()[0].state == "failed" and "8 rows" in runs()[0].message
