"""The order of the data and a batch's parts: every example once, little padding, all classes."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertForSequenceClassification, TrainingArguments

from adarank_core.scoring.models import load_model
from adarank_core.training.batches import LengthGroupedOrder, PartsTrainer, parts_of_like_length
from adarank_core.training.callbacks import Stopped


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=300),
    st.integers(1, 12),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
)
def test_the_order_has_every_example_once_a_pass(examples, batch_size, steps, seed):
    lengths, labels = zip(*examples, strict=True)
    order = list(LengthGroupedOrder(lengths, labels, batch_size, steps, seed))
    assert len(order) == steps * batch_size
    assert all(type(at) is int and 0 <= at < len(lengths) for at in order)
    assert order == list(LengthGroupedOrder(lengths, labels, batch_size, steps, seed))
    # More steps only add to the order, so that a longer run begins as a shorter one.
    longer = list(LengthGroupedOrder(lengths, labels, batch_size, steps + 7, seed))
    assert longer[: len(order)] == order
    # What does not fill a batch waits, so that no example is ever two passes ahead of another.
    counts = Counter(order)
    passes = len(order) / len(lengths)
    assert max(counts.values()) <= passes + 2 + batch_size / len(lengths)
    whole = list(LengthGroupedOrder(lengths, labels, len(lengths), 3, seed))
    for start in range(0, 3 * len(lengths), len(lengths)):
        assert sorted(whole[start : start + len(lengths)]) == list(range(len(lengths)))


def test_an_example_is_seen_once_before_any_is_seen_twice_when_batches_fill_a_pass():
    order = list(LengthGroupedOrder([5, 9, 2, 7] * 8, [0, 1] * 16, batch_size=4, steps=16, seed=0))
    assert sorted(order[:32]) == sorted(order[32:]) == list(range(32))


def test_the_order_is_drawn_while_it_is_asked_for():
    lengths, labels = [5, 9, 2, 7] * 256, [0, 1] * 512
    order = LengthGroupedOrder(lengths, labels, batch_size=1024, steps=10**7, seed=0)
    assert len(order) == 1024 * 10**7
    short = LengthGroupedOrder(lengths, labels, batch_size=1024, steps=2, seed=0)
    assert list(itertools.islice(order, 2048)) == list(short)


def test_a_cancel_is_heard_while_the_steps_trained_before_are_passed_over():
    order, asked = LengthGroupedOrder([5, 9, 2, 7], [0, 1, 0, 1], 2, steps=10, seed=0), []

    def should_stop():
        asked.append(True)
        return len(asked) > 3

    order.pass_over(3, should_stop)
    assert len(list(order)) == 20 and len(asked) == 3
    order.pass_over(4, should_stop)
    with pytest.raises(Stopped):
        list(order)


def test_batches_hold_texts_of_like_length_in_no_order_of_length():
    lengths = np.random.default_rng(0).integers(3, 90, size=2000)
    order = np.array(list(LengthGroupedOrder(lengths, np.zeros(2000), 20, 100, seed=0)))
    batches = lengths[order].reshape(100, 20)
    plain = lengths[np.random.default_rng(1).permutation(2000)].reshape(100, 20)
    spread = (batches.max(axis=1) - batches.min(axis=1)).mean()
    assert spread < 0.15 * (plain.max(axis=1) - plain.min(axis=1)).mean()
    assert abs(np.corrcoef(np.arange(100), batches.mean(axis=1))[0, 1]) < 0.3


def test_batches_have_all_classes_even_where_length_tells_the_class():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, size=2000)
    lengths = 10 * labels + draw.integers(3, 40, size=2000)
    order = np.array(list(LengthGroupedOrder(lengths, labels, 20, 100, seed=0)))
    counts = np.array([np.bincount(batch, minlength=4) for batch in labels[order].reshape(100, 20)])
    # Of random batches of 20 the deviation is 1.9; of those sorted by length alone 3.6 to 5.5.
    assert counts.std(axis=0).max() < 1.0
    spread = np.ptp(lengths[order].reshape(100, 20), axis=1).mean()
    assert spread < 0.65 * np.ptp(lengths[draw.permutation(2000)].reshape(100, 20), axis=1).mean()


# A batch in parts


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.floats(0, 200))
def test_parts_hold_every_text_once_by_length(lengths, cost):
    parts = parts_of_like_length(lengths, cost)
    order = [at for part in parts for at in part]
    assert sorted(order) == list(range(len(lengths))) and all(parts)
    assert [lengths[at] for at in order] == sorted(lengths)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.floats(0, 200))
def test_no_other_cut_of_the_sorted_texts_takes_less(lengths, cost):
    ordered, count = sorted(lengths), len(lengths)

    def takes(ends):
        cuts = itertools.pairwise((0, *ends, count))
        return sum((end - start) * ordered[end - 1] + cost for start, end in cuts)

    least = min(
        takes(ends)
        for cuts in range(count)
        for ends in itertools.combinations(range(1, count), cuts)
    )
    parts = parts_of_like_length(lengths, cost)
    found = sum(len(part) * max(lengths[at] for at in part) + cost for part in parts)
    assert found == pytest.approx(least)


@pytest.fixture
def without_dropout(tiny_bert):
    """A model whose training step draws nothing, and a batch of texts of unlike lengths."""
    model = BertForSequenceClassification.from_pretrained(
        tiny_bert, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    texts = [
        "the cat sat",
        "a dog",
        "the old bird sang on the red sun " * 8,
        "rain",
        "the sun " * 30,
    ]
    batch = load_model(tiny_bert).tokenizer(texts, padding=True, return_tensors="pt")
    return model, {**batch, "labels": torch.tensor([0, 1, 1, 0, 1])}


def trainer_of(model, folder):
    trainer = PartsTrainer(model, TrainingArguments(folder, use_cpu=True, report_to="none"))
    trainer.current_gradient_accumulation_steps = 1  # as train() sets it
    return trainer


def test_the_parts_gradients_add_up_to_the_batch_s(without_dropout, tmp_path):
    model, batch = without_dropout
    whole = model(**batch).loss
    whole.backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    sizes = []
    model.register_forward_pre_hook(
        lambda _model, _args, options: sizes.append(tuple(options["input_ids"].shape)),
        with_kwargs=True,
    )
    loss = trainer_of(model, tmp_path).training_step(model, batch, torch.tensor(5))
    torch.testing.assert_close(loss, whole.detach())
    assert len(sizes) == 2 and sizes[0] == (3, 5) and sizes[1][0] == 2
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-4, atol=1e-6)


def test_a_gpu_gets_its_batches_whole(without_dropout, tmp_path):
    model, batch = without_dropout
    trainer, sizes = trainer_of(model, tmp_path), []
    trainer.args.use_cpu = False
    model.register_forward_pre_hook(
        lambda _model, _args, options: sizes.append(tuple(options["input_ids"].shape)),
        with_kwargs=True,
    )
    trainer.training_step(model, batch)
    assert sizes == [tuple(batch["input_ids"].shape)]


def test_evaluation_is_not_scaled(without_dropout, tmp_path):
    model, batch = without_dropout
    trainer = trainer_of(model, tmp_path)
    trainer.training_step(model, batch)
    loss, _ = trainer.compute_loss(model, batch, return_outputs=True)
    torch.testing.assert_close(loss, model(**batch).loss)
