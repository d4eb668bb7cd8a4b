"""What the tests of scoring share: a model to change, and models of other kinds saved to disk."""

import pytest
from transformers import AutoTokenizer

from adarank_core import load_model


@pytest.fixture
def bert(tiny_bert):
    """The tiny BERT, loaded anew."""
    return load_model(tiny_bert)


@pytest.fixture
def saved(tiny_bert, tmp_path):
    """Save a model with the tiny tokenizer; return its folder."""

    def save(model, **tokenizer):
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_bert, **tokenizer).save_pretrained(folder)
        return folder

    return save
