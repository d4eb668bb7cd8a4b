import shutil
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from adarank_core.data.texts import sentence
from adarank_core.errors import AdaRankError
from adarank_core.runs import run_queue
from pages.parts.shared import cached


def test_a_model_is_loaded_once_for_all(tiny_bert):
    cached._model.clear()
    assert cached.model(tiny_bert, 3) is cached.model(tiny_bert, 3)
    assert cached.model(tiny_bert, 3).model.config.num_labels == 3
    assert cached.model(tiny_bert, 3) is not cached.model(tiny_bert, 2)


def test_a_folder_with_other_weights_is_another_model(tiny_bert, tmp_path):
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "mine"))
    first = cached.model(str(folder))
    weights = load_file(folder / "model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, folder / "model.safetensors")
    second = cached.model(str(folder))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert (second.model.state_dict()[name] == 2 * first.model.state_dict()[name]).all()


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
    assert cached._scores().get(key) is None
    assert cached.finished_scores(key) == made_up()  # from the disk
    assert cached.finished_scores((0,)) is not None


def test_a_task_that_is_dropped_at_once_is_returned_all_the_same(tiny_file, monkeypatch):
    cached._tasks.clear()
    monkeypatch.setattr(cached, "MOST_TASKS", 0)  # as where others fill it in the meantime
    assert cached.task(tiny_file).label_names == ("bad", "good")
    cached._tasks.clear()


def test_many_threads_put_and_get_at_once():
    store, errors = cached.Store(2), []

    def work(name):
        try:
            for at in range(2000):
                assert store.put((name, at), at) == at
                assert store.get((name, at)) in (at, None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert len(store._values) == 2


def test_a_closer_look_waits_in_the_queue_of_runs(home, monkeypatch):
    monkeypatch.setattr(run_queue, "at_once", lambda: 1)
    before = [run_queue.Turn() for _ in range(2)]
    assert [turn.place() for turn in before] == [0, 0]
    found = []
    look = threading.Thread(
        target=lambda: found.append(cached.looked_at("waits", lambda: 7)), daemon=True
    )
    look.start()
    look.join(0.5)
    assert found == []
    before[0].end()
    look.join(60)
    assert found == [7]


def test_a_closer_look_is_taken_once_and_an_error_is_not_kept():
    cached._looks().put("known", "seen")
    assert cached.looked_at("known", None) == "seen"

    def broken():
        raise AdaRankError("no such module")

    with pytest.raises(AdaRankError):
        cached.looked_at("new", broken)
    assert cached.looked_at("new", lambda: {}) == {}
    assert cached.looked_at("new", None) == {}
