"""The README's evidence is what the script prints, and says what the results say."""

import shutil

from adarank_core.comparison.arms import ARMS
from benchmarks import report
from benchmarks.report import END, README, START, main

MACHINE = {
    **{"system": "Linux", "processor": "x86_64", "device": "cpu", "threads": 1},
    **{"bfloat16 is native": True, "python": "3.11.2", "torch": "2.13.0"},
}

SETTINGS = {"steps": 100, "batch_size": 16, "max_length": 128}


def arm(rate: float, *losses: float, **more) -> dict:
    runs = [{"seed": n, "test_loss": v, "test_accuracy": 0.75} for n, v in enumerate(losses)]
    return {"learning_rate": rate, "lora_parameters": 1024, "runs": runs, **more}


def compared(arm: str, against: str, difference: float, verdict: str) -> dict:
    about = {"arm": arm, "against": against, "seeds": 2, "verdict": verdict}
    ends = {"ci_low": difference - 0.01, "ci_high": difference + 0.01}
    if against == "permuted":
        ends |= {"ci_low_texts": difference - 0.05, "ci_high_texts": difference + 0.05}
    return {**about, "difference": difference, **ends}


def example() -> dict:
    """A result in which adarank is worse than uniform."""
    best = {
        "arms": {
            "uniform": arm(0.01, 0.5, 0.6, validation_loss={"0.005": 0.7, "0.01": 0.6}),
            "adarank": arm(0.02, 0.6, 0.7, learning_rate_at_edge=True),
            "permuted": arm(0.01, 0.5, 0.6),
        },
        "failed": {"inverse": "seed 0: a score is 0"},
        "missing": ["ramp-up"],
        "comparisons": [
            compared("adarank", "uniform", 0.1, "worse"),
            compared("permuted", "uniform", 0.0, "no detectable difference"),
            compared("adarank", "permuted", 0.1, "worse"),
        ],
    }
    low = {"arms": {"uniform": arm(0.002, 0.9, 0.9)}, "failed": {}, "missing": []}
    return {
        **{"format": report.FORMAT, "task": "tiny", "labels": 2, "model": "embedded"},
        **{"average_rank": 2, "settings": SETTINGS, "machines": [MACHINE]},
        "rows": {"train": 2000, "validation": 500, "test": 1000},
        "guessing": {"accuracy": 0.75, "loss": 0.75, "texts": 1000},
        "best_rate": best,
        "low_rate": {**low, "comparisons": []},
    }


def test_the_readme_has_what_the_script_prints():
    assert main(["--check"]) == 0, "run python benchmarks/report.py"


def test_without_results_it_says_so(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"Before.\n\n{START}\nold\n{END}\n\nAfter.\n", encoding="utf-8")
    given = [f"--readme={readme}", f"--results={tmp_path}"]
    assert main([*given, "--check"]) == 1
    assert main(given) == 0 and main([*given, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert report.NOTHING in text and "old" not in text
    assert text.startswith("Before.\n") and text.endswith("After.\n")


def test_a_readme_that_somebody_has_changed_is_found(tmp_path, capsys):
    copy = tmp_path / "README.md"
    shutil.copy(README, copy)
    text = copy.read_text(encoding="utf-8")
    copy.write_text(text.replace(END, f"a number typed by hand\n{END}"), encoding="utf-8")
    assert main([f"--readme={copy}", "--check"]) == 1
    copy.write_text(text.replace(END, ""), encoding="utf-8")
    assert main([f"--readme={copy}"]) == 2
    assert "end of evidence" in capsys.readouterr().err


def test_losses_ties_and_what_is_missing_stand_there():
    text = report.report([example()])
    assert "| tiny | adarank | 0.02 (at the end of the grid) | 2 | 0.650 | 75.0% |" in text
    assert "| +0.100 (+0.090 to +0.110) | worse |" in text
    assert "| +0.000 (−0.010 to +0.010) | no detectable difference |" in text
    assert (
        "| tiny | adarank | permuted | 2 | +0.100 (+0.090 to +0.110); +0.050 to +0.150 | worse |"
        in text
    )
    assert "| adarank − permuted | **+0.100 ± 0.010** |" in text
    assert "| permuted − uniform | +0.000 ± 0.010 |" in text
    assert "| tiny | uniform | 0.002 | 2 | 0.900 | 75.0% |  |  |" in text
    assert "Not finished on tiny: ramp-up." in text
    assert "inverse failed on tiny: seed 0: a score is 0." in text
    assert f"| permuted | {ARMS['permuted'].question} |" in text and "| inverse |" not in text


def test_trainings_that_end_at_guessing_are_counted():
    one = example()
    one["best_rate"]["arms"]["permuted"] = arm(0.01, 0.5, 0.72)
    text = report.report([one])
    assert "Trainings that end at guessing on tiny: 1 of 2 of permuted." in text


def test_the_margin_of_every_task_is_named():
    one, other = example(), {**example(), "task": "other"}
    other["best_rate"] = {**other["best_rate"], "smallest_of_interest": 0.0125}
    assert "Margins" not in report.report([one])
    assert "Margins: other 0.013." in report.report([one, other])
    _, _, confirmed = report.report([one], confirmed=[other]).partition(report.CONFIRMED)
    assert "Margins: other 0.013." in confirmed


def test_the_time_of_all_trainings_is_summed_up():
    one = example()
    uniform = one["best_rate"]["arms"]["uniform"]
    uniform["search_seconds"], uniform["runs"][0]["train_seconds"] = 1800.0, 3600.0
    assert "one after the other, would take 1.5 hours." in report.report([one])


def test_a_task_s_own_machine_and_length_are_named():
    text = report.report([example()])
    assert "tokens" not in text and "Machine: Linux, x86_64, cpu with native" in text
    own = {"machines": [{**MACHINE, "bfloat16 is native": False}]}
    own["settings"] = {**SETTINGS, "max_length": 32}
    text = report.report([example(), {**example(), **own, "task": "long"}])
    assert "long 2,000, 500 and 1,000 in 2 classes, of each text 32 tokens." in text
    assert "tiny 2,000, 500 and 1,000 in 2 classes;" in text
    assert "torch 2.13.0 (tiny); Linux, x86_64, cpu without native" in text
    assert "torch 2.13.0 (long)." in text
    alone = report.report([example()], [{**example(), **own}]).partition(report.ONE_RATE)[2]
    assert "in 2 classes, of each text 32 tokens." in alone


def test_what_was_tried_and_confirmed_stands_below_with_its_mean_over_tasks():
    other = {**example(), "task": "other"}
    best = other["best_rate"] = {**other["best_rate"]}
    best["comparisons"] = [compared("adarank", "uniform", -0.3, "better")]
    text = report.report([example()], [], [example(), other], [other])
    head, tried, confirmed = text.partition(report.TRIED)
    tried, _, confirmed = confirmed.partition(report.CONFIRMED)
    assert "| permuted |" not in tried  # which is no variant
    assert "| test loss of | tiny | other | mean |" in tried and "| mean |" not in head
    assert "| adarank − uniform | **+0.100 ± 0.010** | **−0.300 ± 0.010** | −0.100 |" in tried
    assert "| permuted − uniform | +0.000 ± 0.010 |  | +0.000 |" in tried
    assert "| adarank − uniform | **−0.300 ± 0.010** |" in confirmed and "tiny" not in confirmed


def test_what_was_asked_at_one_rate_stands_apart():
    asked, plain = {**example(), "task": "asked"}, report.report([example()])
    head, mark, table = report.report([example()], [asked]).partition(report.ONE_RATE)
    assert mark and "asked" not in head and plain.startswith(head)
    assert "| test loss of | asked |" in table.partition("<details>")[0]


def test_plots_are_one_page_with_their_script(tmp_path, monkeypatch):
    page = report.plots([{**example(), "task": "<b>tiny</b>"}])
    assert "<b>tiny" not in page and "adarank minus permuted" in page
