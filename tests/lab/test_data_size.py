"""Does AdaRank help where there is little data?"""

import pytest

from adarank_core import AdaRankError, load_task
from adarank_core.lab.data_size import STUDY
from adarank_core.lab.studies import study_iter
from adarank_core.lab.study import StudyRequest


def test_a_size_is_what_is_trained_with(tiny_bert, tiny_file, tmp_path, monkeypatch):
    from adarank_core.training import finetuning

    seen = []
    real = finetuning.train

    def train(training, **more):
        seen.append(training.task.train)
        return real(training, **more)

    monkeypatch.setattr(finetuning, "train", train)
    rows = len(load_task(tiny_file).train)
    own = {"steps": 2, "batch_size": 4, "seeds": 1, "sizes": [16, 10**6]}
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    result = list(study_iter(request, tmp_path))[-1].result
    assert [len(table) for table in seen] == [16, 16, rows, rows]
    assert seen[0]["text"].tolist() == seen[1]["text"].tolist()  # both arms have the same
    sizes = [row["size"] for row in result.rows if row["table"] == "differences"]
    assert sizes == [16, rows] and "one seed decides nothing" in result.answer


@pytest.mark.parametrize(("sizes", "said"), [([10**6], "two to compare"), ([1], "two texts a")])
def test_sizes_that_tell_nothing_are_refused(tiny_bert, tiny_file, tmp_path, sizes, said):
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings={"sizes": sizes})
    with pytest.raises(AdaRankError, match=said):
        list(study_iter(request, tmp_path))
