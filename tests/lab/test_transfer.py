"""Do ranks from one task serve another?"""

import pandas as pd
import pytest

from adarank_core import AdaRankError, load_task
from adarank_core.lab.studies import study_iter
from adarank_core.lab.study import StudyRequest
from adarank_core.lab.transfer import STUDY, _part

SHORT = {"steps": 2, "batch_size": 4, "seeds": 2}


def test_a_half_has_its_classes_and_no_others():
    rows = pd.DataFrame({"text": list("abcdefgh"), "label": [0, 1, 2, 3] * 2})
    task = load_task("docstrings")
    task = type(task)("mine", ("n", "e", "s", "w"), rows, rows, rows)
    half = _part(task, 2, 4)
    assert half.label_names == ("s", "w")
    assert half.train["text"].tolist() == ["c", "d", "g", "h"]
    assert half.train["label"].tolist() == [0, 1, 0, 1]


def test_each_task_is_trained_with_both_tasks_ranks(tiny_bert, tiny_file, tmp_path):
    own = {**SHORT, "other_task": tiny_file}
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    with pytest.raises(AdaRankError, match="the same task"):
        list(study_iter(request, tmp_path))
    # Another task: the same rows with the labels' names the other way round.
    other = tmp_path / "other"
    other.mkdir()
    task = load_task(tiny_file)
    for split in ("train", "validation", "test"):
        rows = getattr(task, split)
        rows.assign(label=rows["label"].map({0: "z", 1: "a"}).fillna("b")).to_csv(
            other / f"{split}.csv", index=False
        )
    request = StudyRequest(
        STUDY, tiny_bert, tiny_file, settings={**SHORT, "other_task": str(other)}
    )
    result = list(study_iter(request, tmp_path / "run"))[-1].result
    differences = [row for row in result.rows if row["table"] == "differences"]
    assert len(differences) == 4 and all(row["seeds"] == 2 for row in differences)
    agreement = {(r["first"], r["second"]) for r in result.rows if r["table"] == "agreement"}
    assert len(agreement) == 4
    assert "less that with its own" in result.answer
