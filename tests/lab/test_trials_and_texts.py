"""For a fixed cost, how many instances and how many texts?"""

import pytest
from scipy.stats import spearmanr

from adarank_core import AdaRankError, load_model, load_task, score
from adarank_core.data.texts import Texts
from adarank_core.lab import trials_and_texts

GRID = {"trials": [2, 8], "texts": [2, 8], "repeats": 3}


@pytest.fixture(scope="module")
def result(finished):
    return finished("trials-and-texts", wanted=0.5, **GRID)


def test_a_cell_is_the_agreement_of_disjoint_draws(result, tiny_bert, tiny_file):
    """As scored by hand with the draws that the study's order of rows gives."""
    import numpy as np

    rows = load_task(tiny_file).train["text"]
    order = np.random.default_rng(0).permutation(len(rows))
    bundle, drawn = load_model(tiny_bert), []
    for repeat in range(3):
        items = tuple(rows.iloc[order[8 * repeat : 8 * repeat + 8]])
        scores = score(bundle, Texts("tiny", items, True), trials=2, seed=repeat)
        drawn.append([module.score for module in scores.modules])
    pairs = [(0, 1), (0, 2), (1, 2)]
    by_hand = np.mean([spearmanr(drawn[a], drawn[b]).statistic for a, b in pairs])
    cell = next(row for row in result.rows if (row["trials"], row["texts"]) == (2, 8))
    assert cell["spearman"] == pytest.approx(by_hand) and cell["draws"] == 3


def test_the_cheapest_stable_cell_is_marked(result):
    stable = [row for row in result.rows if row["spearman"] >= 0.5]
    (marked,) = [row for row in result.rows if row["cheapest"]]
    assert marked["seconds"] == min(row["seconds"] for row in stable)
    assert f"{marked['trials']} trials of {marked['texts']} texts" in result.answer


def row(trials, texts, spearman, error=0.01, seconds=1.0, cheapest=False):
    about = {"trials": trials, "texts": texts, "spearman": spearman, "standard_error": error}
    return {**about, "seconds": seconds, "draws": 4, "wanted": 0.95, "cheapest": cheapest}


def test_the_answer_says_what_it_can_and_no_more():
    answer, details = trials_and_texts.STUDY.answer, trials_and_texts.STUDY.details
    rows = [row(2, 16, 0.97, cheapest=True), row(8, 4, 0.90)]
    assert answer(rows).startswith("The cheapest scoring with Spearman 0.95")
    assert "Texts are worth more" in details(rows)
    assert "Trials are worth more" in details([row(2, 16, 0.80), row(8, 4, 0.90)])
    rows = [row(2, 16, 0.90), row(8, 4, 0.91, error=0.1)]
    assert "No cell reaches Spearman 0.95" in answer(rows) and "cannot be told" in details(rows)
    assert "No two cells" in details([row(2, 16, 0.9), row(2, 4, 0.9)])
    assert "Nothing can be told" in answer([row(2, 16, None, None)])
    assert details([row(2, 16, None, None)]) == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": [1]}, "trials is 1; an error bar needs at least 2"),
        ({"texts": [40]}, "compares 3 samples of 40 training texts, but the task 'tiny' has 96"),
        ({"repeats": 1}, "repeats is 1"),
        ({"wanted": 1.5}, "a correlation is at most 1"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(finished, settings, message):
    with pytest.raises(AdaRankError, match=message):
        finished("trials-and-texts", **{**GRID, **settings})
