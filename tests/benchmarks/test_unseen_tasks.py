"""Tasks to confirm on are not those that were tried on."""

import pandas as pd

from adarank_core.data.docstrings import SUBJECTS
from benchmarks.unseen_tasks import SCIENCES, restaurant_prices


def test_the_docstrings_are_of_libraries_that_the_embedded_task_does_not_read():
    read = {name for packages, _ in SUBJECTS.values() for name in packages.split()}
    unseen = {name for packages, _ in SCIENCES.values() for name in packages.split()}
    assert not read & unseen


def test_a_sentence_has_the_price_that_it_was_asked_to_speak_of():
    prompts = ["name[A], priceRange[more than £30], area[riverside]", "name[B], area[city centre]"]
    rows = pd.DataFrame({"prompt": prompts, "response": ["A is dear.", "B is central."]})
    assert restaurant_prices(rows).values.tolist() == [["A is dear.", "more than £30"]]
