import json

from adarank_core.runs.progress import ComparisonWork
from pages.parts.compare.event_follower import Follower

CONFIG = {"arms": ["uniform"], "seeds": [0], "settings": {"steps": 10}}


def step(number):
    about = {"event": "step", "arm": "uniform", "seed": 0, "train_loss": 1.0}
    return {**about, "step": number, "time": float(number)}


def write(folder, *events, end="\n"):
    with (folder / "events.jsonl").open("a") as file:
        file.write("\n".join(map(json.dumps, events)) + end)


def test_each_line_is_read_once_and_only_when_it_is_whole(tmp_path):
    follower = Follower(tmp_path)
    follower.read_new()  # nothing there yet
    write(tmp_path, step(1), step(2), end="")
    follower.read_new()
    assert [event["step"] for event in follower.events] == [1]
    write(tmp_path, end="\n")
    follower.read_new()
    follower.read_new()
    assert [event["step"] for event in follower.events] == [1, 2]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write("torn\n[1]\n")
    write(tmp_path, step(3))
    follower.read_new()
    assert [event["step"] for event in follower.events] == [1, 2, 3]


def test_progress_goes_on_x_and_begins_again_with_more_seeds(tmp_path):
    follower = Follower(tmp_path)
    assert follower.progress({}).now.startswith("starting")
    for until in (4, 6):
        write(tmp_path, *map(step, range(until - 3, until + 1)))
        follower.read_new()
    assert follower.progress(CONFIG).share == 0.6
    assert follower.progress(CONFIG).share == 0.6
    assert follower.progress({**CONFIG, "seeds": [0, 1]}).share == 0.3


def test_a_drawing_is_kept_until_something_new_is_recorded(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    follower, drawings = Follower(tmp_path), []

    def draw():
        now[0] += 0.5  # it takes half a second
        drawings.append(len(follower.events))
        return (drawings[-1],)

    assert follower.cached_drawing(("loss",), draw) == (0,)
    assert follower.cached_drawing(("loss",), draw) == (0,)
    write(tmp_path, step(1))
    follower.read_new()
    now[0] += 10
    assert follower.cached_drawing(("loss",), draw) == (0,)  # too soon after one that took so long
    now[0] += 50
    assert follower.cached_drawing(("loss",), draw) == (1,)
    assert follower.cached_drawing(("accuracy",), draw) == (1,)  # another one at once
    assert drawings == [0, 1, 1]


def test_no_event_is_counted_twice(tmp_path, monkeypatch):
    added = []
    add = ComparisonWork.add
    monkeypatch.setattr(
        ComparisonWork, "add", lambda self, event: (added.append(event), add(self, event))
    )
    follower = Follower(tmp_path)
    for number in (1, 2, 3):
        write(tmp_path, step(number))
        follower.read_new()
        follower.progress(CONFIG)
    assert [event["step"] for event in added] == [1, 2, 3]
