"""Does it matter on which text modules are scored?"""

import numpy as np
import pytest

from adarank_core import AdaRankError, generic_texts, load_model, score
from adarank_core.lab.bench import Bench
from adarank_core.lab.studies import study_iter, study_named
from adarank_core.lab.study import StudyRequest

SOURCES = ["task", "generic", "sentence", "another task", "another language", "random tokens"]


def asked(tiny_bert, tiny_file, **settings):
    return StudyRequest(study_named("text-source"), tiny_bert, tiny_file, settings=settings)


@pytest.fixture(scope="module")
def result(tiny_bert, tiny_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    *_, last = study_iter(asked(tiny_bert, tiny_file, repeats=3, other_task=tiny_file), folder)
    return last.result


def test_what_the_tokenizer_cannot_read_is_left_out(result):
    out = [row for row in result.rows if row["table"] == "left out"]
    assert [row["source"] for row in out] == ["another language"]
    assert "knows no word" in out[0]["why"] or "token" in out[0]["why"]


def test_every_pair_of_sources_has_an_agreement(result):
    rows = [row for row in result.rows if row["table"] == "agreement"]
    read = [source for source in SOURCES if source != "another language"]
    table = {(row["first"], row["second"]): row for row in rows}
    assert set(table) == {(a, b) for a in read for b in read}
    for (first, second), row in table.items():
        assert -1 <= row["spearman"] <= 1 and row["standard_error"] >= 0
        assert row["spearman"] == pytest.approx(table[second, first]["spearman"])
    own = table["task", "task"]
    assert own["below_own"] == 0
    other = table["task", "generic"]
    assert other["below_own"] == pytest.approx(own["spearman"] - other["spearman"])
    assert "another draw of it" in result.answer and "generic" in result.details


def test_scores_and_ranks_are_those_of_the_library(result, tiny_bert):
    texts, bundle = generic_texts(), load_model(tiny_bert)
    by_hand = [
        [module.score for module in score(bundle, texts, seed=seed).modules] for seed in range(3)
    ]
    rows = [row for row in result.rows if row["table"] == "ranks" and row["source"] == "generic"]
    assert [row["score"] for row in rows] == pytest.approx(np.mean(by_hand, axis=0))
    assert sum(row["rank"] for row in rows) == 8 * len(rows)


def test_random_tokens_are_as_long_as_the_tasks_texts(tiny_bert, tiny_file, tmp_path):
    from adarank_core.lab.text_source import _texts

    bench = Bench(asked(tiny_bert, tiny_file, repeats=3), tmp_path)
    random, again = (_texts(bench, "random tokens", repeat) for repeat in (0, 1))
    lengths = [len(text.split()) for text in _texts(bench, "task", 0).items]
    assert [len(text.split()) for text in random.items] == lengths
    assert random.items != again.items
    draws = [set(_texts(bench, "task", repeat).items) for repeat in range(3)]
    assert not draws[0] & draws[1] and not draws[1] & draws[2]


def test_a_task_too_small_for_disjoint_draws_is_refused(tiny_bert, tiny_file, tmp_path):
    with pytest.raises(AdaRankError, match="compares 7 samples of 16 training texts, but the task"):
        list(study_iter(asked(tiny_bert, tiny_file, repeats=7), tmp_path))
    with pytest.raises(AdaRankError, match="repeats is 1"):
        list(study_iter(asked(tiny_bert, tiny_file, repeats=1), tmp_path))
