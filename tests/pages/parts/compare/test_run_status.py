from pathlib import Path

from adarank_core.runs.jobs import Run
from adarank_core.runs.progress import RunProgress
from pages.parts.compare.run_status import progress_line, run_label, runs_before

NAME = "20261124-230900-000000-compare"


def test_a_label_needs_no_more_than_a_folder():
    assert run_label(Run(Path(NAME), {}, "starting")) == "2026-11-24 23:09 UTC · starting"
    config = {"task": "/somewhere/mine.csv", "arms": ["uniform", "plans/mine.json"]}
    label = run_label(Run(Path(NAME), config, "failed"))
    assert label.endswith(" · mine.csv · uniform, own ranks (mine) · failed")
    assert run_label(Run(Path(NAME), {"task": "trec"}, "running")).endswith("trec · running")


def test_those_at_work_and_those_with_an_earlier_place_are_before_a_queued_run():
    def run(name, state, place=0):
        return Run(Path(name), {}, state, place=place)

    mine = run("mine", "queued", 2)
    others = [run("later", "queued", 3), run("next", "queued", 1), run("works", "running")]
    assert [one.folder.name for one in runs_before(mine, [mine, *others])] == ["works", "next"]


def test_what_is_not_known_is_not_said():
    assert progress_line(RunProgress("loading", 0.0, None, False)) == "loading"
    assert progress_line(RunProgress("x", 0.5, 60.0, True)) == "x · at least 1 min left"
    assert progress_line(RunProgress("x", 0.5, None, False, 85.4, 1540)) == (
        "x · 85 examples a second · 1.5 GB"
    )
