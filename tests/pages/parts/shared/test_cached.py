import pytest

from adarank_core.data.texts import sentence
from adarank_core.errors import AdaRankError
from pages.parts.shared import cached


def test_a_model_is_loaded_once_for_all(tiny_bert):
    cached.model.clear()
    assert cached.model(tiny_bert, 3) is cached.model(tiny_bert, 3)
    assert cached.model(tiny_bert, 3).model.config.num_labels == 3
    assert cached.model(tiny_bert, 3) is not cached.model(tiny_bert, 2)


def test_a_task_is_loaded_once_and_tells_its_progress(tiny_file):
    told = []
    task = cached.task(tiny_file, lambda message, share: told.append(share))
    assert told[-1] == 1.0
    told.clear()
    assert cached.task(tiny_file, lambda message, share: told.append(share)) is task
    assert told == []


def test_an_error_is_not_kept(tmp_path, tiny_task):
    path = tmp_path / "late.csv"
    with pytest.raises(AdaRankError):
        cached.task(str(path))
    tiny_task.train.to_csv(path, index=False)
    assert len(cached.task(str(path)).train) > 0


def test_finished_scores_are_kept_by_their_key_and_the_oldest_go(made_up):
    cached._scores.clear()
    key = cached.scores_key("embedded", 2, sentence("A rank."), 5, 0)
    assert cached.finished_scores(key) is None
    cached.keep_scores(key, made_up())
    assert cached.finished_scores(key) == made_up()
    for seed in range(cached.MOST_SCORES):
        cached.keep_scores((seed,), made_up())
    assert cached.finished_scores(key) is None
    assert cached.finished_scores((0,)) is not None
