"""Seeds side by side: the numbers of one after another, and nobody left behind."""

import json
from pathlib import Path

import pytest

from adarank_core import AdaRankError
from adarank_core.__main__ import main
from adarank_core.commands import train
from adarank_core.comparison import parallel_seeds
from adarank_core.comparison.learning_rates import SEARCH_SEEDS
from adarank_core.files import read_json

ROOT = Path(parallel_seeds.__file__).resolve().parents[2]
TIMES = ("train_seconds", "allocation_seconds")


@pytest.fixture(scope="module")
def command(tiny_bert, tiny_file):
    """A comparison of two arms with two seeds, without its folder."""
    command = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", "2"]
    command += ["--batch-size", "4", "--average-rank", "3", "--trials", "2"]
    return [*command, "--arms", "uniform,adarank", "--seeds", "0,1"]


@pytest.fixture(scope="module")
def one_by_one(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-by-one") / "run"
    assert main([*command, "--learning-rates", "2e-3", "--output", str(folder)]) == 0
    return folder


def results(folder):
    """Read every result and adapter of a comparison, without times."""
    found = {}
    for path in folder.glob("runs/*/result.json"):
        result = {key: value for key, value in read_json(path).items() if key not in TIMES}
        adapter = path.parent / "adapter" / "adapter_model.safetensors"
        found[path.parent.name] = result, adapter.exists() and adapter.read_bytes()
    return found


def events_of(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def one_thread(monkeypatch):
    """Let every process have the threads that this one has."""
    import torch

    count = torch.get_num_threads()
    monkeypatch.setattr(parallel_seeds, "threads_each", lambda processes: count)


@pytest.mark.usefixtures("one_thread")
def test_seeds_side_by_side_give_the_numbers_of_one_after_another(
    command, one_by_one, tmp_path, monkeypatch
):
    from adarank_core.training import finetuning

    trained, real = [], finetuning.train

    def train(training, **options):
        trained.append(options["output"].name)
        return real(training, **options)

    monkeypatch.setattr(finetuning, "train", train)
    folder = tmp_path / "run"
    both = [*command, "--learning-rates", "2e-3", "--output", str(folder)]
    assert main([*both, "--side-by-side", "2"]) == 0
    # The search is done before any process starts, and nothing is left to do after them.
    assert trained == [
        f"{arm}-search-0.002-seed{at}" for arm in ("uniform", "adarank") for at in SEARCH_SEEDS
    ]
    assert results(folder) == results(one_by_one) and len(results(folder)) == 8
    ours, theirs = (read_json(f / "verdict.json") for f in (folder, one_by_one))
    assert ours["comparisons"] == theirs["comparisons"]
    told = {(e["arm"], e["seed"], e["step"]) for e in events_of(folder) if e["event"] == "step"}
    assert told >= {(a, s, n) for a in ("uniform", "adarank") for s in (0, 1) for n in (1, 2)}
    assert read_json(folder / "config.json")["side_by_side"] == 2
    # Going on with it asks for nothing and needs no processes.
    monkeypatch.setattr(finetuning, "train", lambda *a, **o: pytest.fail("trained again"))
    assert main([*both, "--resume"]) == 0


def test_what_the_processes_leave_undone_is_done_here(command, one_by_one, tmp_path, monkeypatch):
    started = []

    def run_workers(commands, on_event, should_stop, threads):
        started.extend(commands)
        return True  # as where every process was killed

    monkeypatch.setattr(parallel_seeds, "run_workers", run_workers)
    folder = tmp_path / "run"
    grid = ["--learning-rates", "2e-3", "--output", str(folder)]
    assert main([*command, *grid, "--seeds", "0,1", "--side-by-side", "9"]) == 0
    assert [[w for w in c if "--seeds" in w] for c in started] == [["--seeds=0"], ["--seeds=1"]]
    assert results(folder) == results(one_by_one)


def test_an_arm_that_failed_in_the_search_is_not_given_to_the_processes(
    tiny_bert, tiny_task, tmp_path, monkeypatch
):
    from adarank_core.comparison.compare import Comparison
    from adarank_core.comparison.request import ComparisonRequest
    from adarank_core.scoring import baselines
    from adarank_core.training.settings import Settings

    def inverse(scores):
        raise AdaRankError("the score of 'query' is 0, which has no inverse")

    commands = []
    monkeypatch.setattr(baselines, "inverse", inverse)
    monkeypatch.setattr(parallel_seeds, "run_workers", lambda given, *rest: commands.extend(given))
    request = ComparisonRequest(
        tiny_bert,
        "tiny",
        ("inverse", "uniform"),
        average_rank=2,
        seeds=(5, 6, 7),
        trials=2,
        settings=Settings(steps=1, batch_size=4),
        learning_rates=(1e-3,),
    )
    comparison = Comparison(request, tiny_task, output=tmp_path)
    parallel_seeds.train(comparison, "tiny", 2)
    assert all("--arms=uniform" in command for command in commands)
    assert ["--seeds=5,7" in command for command in commands] == [True, False]


def test_a_comparison_that_is_cancelled_is_not_judged(command, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def run_workers(commands, on_event, should_stop, threads):
        (folder / "cancel").touch()
        return not should_stop()

    monkeypatch.setattr(parallel_seeds, "run_workers", run_workers)
    assert main([*command, "--output", str(folder), "--side-by-side", "2"]) == 0
    assert events_of(folder)[-1]["event"] == "cancelled"
    assert not (folder / "verdict.json").exists()


def test_no_process_is_started_for_a_single_seed(command, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel_seeds, "run_workers", lambda *a: pytest.fail("started"))
    one = [*command, "--seeds", "3", "--arms", "uniform", "--side-by-side", "4"]
    assert main([*one, "--output", str(tmp_path / "run")]) == 0


def test_a_process_s_share_trains_and_does_not_judge(tiny_bert, tiny_file, tmp_path, monkeypatch):
    from adarank_core.comparison.compare import Comparison
    from adarank_core.comparison.request import ComparisonRequest
    from adarank_core.data.tasks import load_task
    from adarank_core.training.settings import Settings

    events, folder = [], tmp_path / "run"
    connection = events.append, lambda: False
    monkeypatch.setattr(train, "connect_to_parent", lambda: connection)
    # What no flag says is read from the folder.
    settings = Settings(steps=2, batch_size=4, learning_rate=1 / 3000, evaluations=2)
    arms, task = ("uniform", "adarank"), load_task(tiny_file)
    request = ComparisonRequest(tiny_bert, task.name, arms, 7 / 3, (0, 1), settings=settings)
    whole = Comparison(request, task, output=folder)
    (command,) = [parallel_seeds._command(whole.output, tiny_file, ["uniform"], [1])]
    assert len(command) == 9
    assert main(command[3:]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.json", "runs"]
    assert events[-1]["event"] == "result" and events[-1]["seed"] == 1
    assert [path.name for path in (folder / "runs").iterdir()] == ["uniform-seed1"]
    assert sum(event["event"] == "evaluation" for event in events) == 2
