"""Results of every text: small, whole or not there at all."""

import io
import zipfile

import numpy as np
import pytest

from adarank_core.training.text_results import TEXTS_FILE, read_text_results, write_text_results

LOSSES = np.random.default_rng(0).exponential(size=1000).astype(np.float32)
RIGHT = LOSSES < 0.7
RESULT = {"test_loss": float(LOSSES.mean()), "test_accuracy": float(RIGHT.mean()), "auc": None}


@pytest.fixture
def folder(tmp_path):
    write_text_results(tmp_path, {"test_loss": LOSSES, "test_accuracy": RIGHT})
    return tmp_path


def test_what_was_written_is_read(folder):
    found = read_text_results(folder, RESULT)
    assert list(found) == ["test_loss", "test_accuracy"]
    assert (found["test_loss"] == LOSSES).all() and (found["test_accuracy"] == RIGHT).all()
    assert (folder / TEXTS_FILE).stat().st_size < 5 * 1000


def test_those_of_another_training_are_not_taken_for_this_one_s(folder):
    assert read_text_results(folder, {**RESULT, "test_loss": RESULT["test_loss"] + 0.01}) == {}
    assert read_text_results(folder, {}) == {}


def packed(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def bomb():
    """A hundred megabytes of zeros in a few kilobytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test_loss.npy", bytes(100_000_000))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        packed(test_loss=LOSSES)[:-30],
        packed(test_loss=LOSSES)[:100] + b"zork" + packed(test_loss=LOSSES)[104:],
        packed(test_loss=LOSSES.reshape(10, 100)),
        packed(test_loss=np.full(1000, np.nan)),
        packed(test_loss=np.array(["a"])),
        packed(test_loss=np.array([])),
        packed(test_loss=np.array([{"a": 1}], dtype=object)),
        packed(auc=LOSSES),
        bomb(),
    ],
    ids=["empty", "half", "cut", "changed", "matrix", "nan", "words", "none", "pickled", "other",
         "bomb"],
)  # fmt: skip
def test_damaged_ones_are_as_good_as_none(tmp_path, content):
    (tmp_path / TEXTS_FILE).write_bytes(content)
    assert read_text_results(tmp_path, RESULT) == {}
