import doctest

import pytest

from adarank_core.comparison.verdicts import METRIC_NAMES
from pages.parts.shared import glossary
from pages.parts.shared.curves import CURVES


def test_examples():
    assert doctest.testmod(glossary).failed == 0


@pytest.mark.parametrize(
    "words", [*METRIC_NAMES.values(), *(title for title, _ in CURVES.values())]
)
def test_every_metric_is_explained(words):
    assert glossary.explained_in(words), words
    assert "nats" not in words or "**Nats**" in glossary.explained_in(words)


def test_only_whole_words_are_explained():
    found = glossary.explained_in("16 generic texts · 20 trials · averaged over all random heads")
    assert [line.partition("**:")[0] for line in found.split("\n\n")] == [
        "**Trials",
        "**Heads",
    ]
    assert glossary.explained_in("testing the unranked") is None
