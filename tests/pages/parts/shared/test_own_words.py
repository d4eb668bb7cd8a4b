import doctest
import re

import pytest

from pages.parts.shared import own_words


def test_examples():
    assert doctest.testmod(own_words).failed == 0


@pytest.mark.parametrize("text", ["docstrings", "8", "0.005", "1e-06", "uniform, permuted", "lab"])
def test_words_and_numbers_of_the_program_are_read(text):
    assert own_words.own_words(text) == text


@pytest.mark.parametrize("text", ["", "mine.csv", "uniform, mine", "a b", "8 seeds", "nan", "١"])
def test_names_that_somebody_gave_are_not(text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        own_words.own_words(text)
