import pytest
from streamlit.testing.v1 import AppTest


def drawn(metric, smallest, texts):
    """Draw a verdict on random losses of three arms and four seeds."""

    def script(metric, smallest, texts):
        import numpy as np

        from adarank_core.comparison.judging import Declared, verdict_of
        from pages.parts.compare import judgement
        from pages.parts.shared import link

        link.keep()
        draw = np.random.default_rng(0)
        kept = {
            arm: [{"test_loss": draw.normal(size=30), "test_accuracy": draw.random(30) < 0.5}
                  for _ in range(4)]
            for arm in ("uniform", "head-only", "my_plan.json")
        }  # fmt: skip
        for run in kept["head-only"]:
            run["test_loss"] = run["test_loss"] + 5
        arms = {
            arm: {
                "runs": [
                    {"seed": seed, **{m: float(v.mean()) for m, v in run.items()}}
                    for seed, run in enumerate(runs)
                ]
            }
            for arm, runs in kept.items()
        }
        declared = Declared(metric, smallest)
        verdict = verdict_of("t", "m", arms, declared=declared, texts=kept if texts else None)
        judgement.draw_comparisons(verdict)
        judgement.draw_differences(verdict, verdict.primary_metric)
        judgement.draw_numbers(verdict, verdict.primary_metric)
        judgement.draw_secondary(verdict)

    at = AppTest.from_function(script, args=(metric, smallest, texts), default_timeout=60).run()
    assert not at.exception
    return at


def said(at):
    return " ".join(one.value for kind in (at.markdown, at.caption) for one in kind)


@pytest.mark.parametrize(
    ("metric", "smallest", "told"),
    [
        ("test_loss", None, "a tenth of what uniform gains over the head alone"),
        ("test_loss", 0.25, "a difference below 0.25 is of no interest, as was given"),
        ("test_accuracy", None, "Judged by test accuracy, the primary metric"),
    ],
)
def test_the_primary_metric_stands_first_with_both_intervals(metric, smallest, told):
    at = drawn(metric, smallest, texts=True)
    assert told in said(at) and "for other texts too" in said(at)
    assert "the thin one for other test texts too" in said(at)
    table = at.dataframe[0].value
    assert {"interval over seeds", "over seeds and texts", "verdict"} <= set(table)
    assert r"own ranks \(my\_plan\)" in at.markdown[1].value
    assert len(at.get("plotly_chart")) == 1  # the secondary metrics are folded
    assert "may decide nothing either: 2 comparisons are read together" in said(at)


def test_without_results_of_every_text_there_is_one_interval():
    at = drawn("test_loss", None, texts=False)
    assert "over seeds and texts" not in at.dataframe[0].value
    assert "other texts" not in said(at) and "other test texts" not in said(at)


def verdict(seeds, *arms):
    from adarank_core.comparison.judging import verdict_of

    runs = [{"seed": seed, "test_loss": 0.5 + seed % 2} for seed in range(seeds)]
    return verdict_of("t", "m", {arm: {"runs": runs} for arm in arms})


@pytest.mark.parametrize(
    ("seeds", "arms", "told"),
    [
        (1, ("uniform", "adarank"), ""),
        (2, ("uniform", "adarank"), ""),
        (3, ("uniform", "adarank"), "Add the arm head-only, or set the smallest"),
        (3, ("ramp-up", "permuted"), "Add the arms uniform and head-only, or set"),
        (3, ("uniform", "head-only"), "gains nothing over head-only: set the smallest"),
    ],
)
def test_what_would_tell_the_smallest_of_interest_is_said_of_three_seeds_or_more(seeds, arms, told):
    from pages.parts.compare.judgement import _terms

    terms = _terms(verdict(seeds, *arms))
    assert told in terms and ("not known" in terms) == bool(told)
