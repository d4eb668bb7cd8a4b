"""A task: which split a text belongs to, what its tables may hold, and texts drawn from it."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core.data.task import Task, normalised, split_of
from adarank_core.errors import AdaRankError

SPLITS = ("train", "validation", "test")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_split_depends_on_the_words_alone(text):
    assert split_of(text) in SPLITS
    assert split_of(text) == split_of(f"  {text}\n") == split_of(normalised(text))


def test_splits_are_eighty_ten_and_ten():
    found = pd.Series([split_of(f"text number {i}") for i in range(5000)]).value_counts() / 5000
    assert found["train"] == pytest.approx(0.8, abs=0.02)
    assert found["validation"] == pytest.approx(0.1, abs=0.015)


def test_texts_and_labels_of_a_task_are_checked():
    good = pd.DataFrame({"text": ["good", "bad"], "label": [0, 1]})
    bad = pd.DataFrame({"text": ["good", "caf\udce9"], "label": [0, 1]}, dtype=object)
    with pytest.raises(AdaRankError, match=r"text 2 of the validation split is .* not UTF-8"):
        Task("mine", ("a", "b"), good, bad, good)
    for name, labels in (("caf\udce9", ("a", "b")), ("mine", ("a", "caf\udce9"))):
        with pytest.raises(AdaRankError, match=r"the name of .* is not UTF-8"):
            Task(name, labels, good, good, good)


@pytest.fixture
def tiny():
    table = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": 0})
    return Task("tiny", ("a", "b"), table, table, table)


def test_sampled_texts_are_train_texts_drawn_by_the_seed(tiny):
    texts = tiny.sample_texts(16, seed=3)
    assert texts.source == "tiny" and len(set(texts.items)) == 16
    assert set(texts.items) <= set(tiny.train["text"])
    assert tiny.sample_texts(16, seed=3) == texts != tiny.sample_texts(16, seed=4)


def test_all_texts_are_sampled_when_there_are_no_more(tiny):
    assert sorted(tiny.sample_texts(999).items) == sorted(tiny.train["text"])


def test_impossible_samples_are_refused(tiny):
    with pytest.raises(AdaRankError, match="is 0; it must be at least 1"):
        tiny.sample_texts(0)
    with pytest.raises(AdaRankError, match="seed is -1"):
        tiny.sample_texts(1, seed=-1)
