"""Tasks to confirm on are not those that were tried on."""

from adarank_core.data.docstrings import SUBJECTS
from benchmarks.unseen_tasks import SCIENCES


def test_the_docstrings_are_of_libraries_that_the_embedded_task_does_not_read():
    read = {name for packages, _ in SUBJECTS.values() for name in packages.split()}
    unseen = {name for packages, _ in SCIENCES.values() for name in packages.split()}
    assert not read & unseen
