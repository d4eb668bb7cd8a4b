"""What the tests of studies share."""

import pytest

from adarank_core.lab.studies import study_iter, study_named
from adarank_core.lab.study import StudyRequest


@pytest.fixture(scope="session")
def finished(tiny_bert, tiny_file, tmp_path_factory):
    """Do a study with the tiny BERT and the tiny task; give its result."""

    def finished(name, model=tiny_bert, **settings):
        request = StudyRequest(study_named(name), model, tiny_file, settings=settings)
        *_, last = study_iter(request, tmp_path_factory.mktemp("study"))
        return last.result

    return finished
