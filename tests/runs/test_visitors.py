import os
import time
from contextlib import ExitStack

import pytest

from adarank_core import AdaRankError
from adarank_core.files import visitors_folder
from adarank_core.runs import jobs, visitors
from adarank_core.runs.visitors import check_room, home_of, start, sweep


@pytest.fixture(autouse=True)
def demo(home, monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")
    # What is started does nothing here: it only says that it is about to.
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **__: None)
    monkeypatch.setattr(jobs, "versions", dict)


def refused(*given, **asked):
    with pytest.raises(AdaRankError) as error:
        start(["compare"], *given, **asked)
    return str(error.value)


def aged(folder, hours):
    then = time.time() - 3600 * hours
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))


def test_a_folder_does_not_tell_whose_it_is():
    assert home_of("one") != home_of("other") and home_of("one") == home_of("one")
    assert "one" not in str(home_of("one")) and home_of("one").is_dir()


def test_a_visitor_starts_two_runs_and_all_start_twelve():
    one = home_of("one")
    first = start(["compare"], one)
    start(["compare"], one)
    assert refused(one) == (
        "3 runs of one visitor that are at work or wait are more than the 2 that are allowed here "
        "(ADARANK_MAX_OWN_RUNS)"
    )
    assert len(jobs.run_folders(one)) == 2  # nothing is left of what was refused
    with jobs.open_run(first, {}):
        pass  # it has finished
    start(["compare"], one, folder=first)  # to go on counts as well
    assert "ADARANK_MAX_OWN_RUNS" in refused(one)
    for number in range(5):
        start(["compare"], home_of(f"other {number}"))
        start(["compare"], home_of(f"other {number}"))
    assert "ADARANK_MAX_ALL_RUNS" in refused(home_of("late"))


def test_the_disk_is_shared_out(monkeypatch):
    one = home_of("one")
    (one / "file").write_bytes(b"0" * 1_500_000)
    monkeypatch.setenv("ADARANK_MAX_OWN_MB", "2")
    check_room(one, megabytes=0.4)
    with pytest.raises(AdaRankError, match=r"^2\.1 MB .* the 2 that .*ADARANK_MAX_OWN_MB"):
        check_room(one, megabytes=0.6)
    monkeypatch.setenv("ADARANK_MAX_ALL_MB", "1")
    assert "ADARANK_MAX_ALL_MB" in refused(home_of("other"))


def test_without_a_demo_nobody_is_counted(monkeypatch, home):
    monkeypatch.delenv("ADARANK_DEMO")
    folders = {start(["compare"], home / "runs") for _ in range(20)}
    assert len(folders) == 20


def test_a_file_of_another_is_none_of_ones_own(tmp_path):
    one, other = home_of("one"), home_of("other")
    (other / ".uploads").mkdir()
    file = other / ".uploads" / "x.csv"
    file.touch()
    for name in (str(file), f"{one}/../{other.name}/.uploads/x.csv", "/etc/passwd", "README.md"):
        assert "you did not upload" in refused(one, inputs=[name])
    (one / "link").symlink_to(file)
    assert "you did not upload" in refused(one, inputs=[str(one / "link")])
    start(["compare"], one, inputs=["docstrings", str(one / "mine.csv")])


def test_what_is_old_is_swept_and_what_is_at_work_stays(monkeypatch):
    one = home_of("one")
    gone, young, alive, binned = (jobs.new_run_folder(name, one) for name in "abcd")
    for folder in (gone, young, alive, binned):
        (folder / "config.json").write_text("{}")
    upload, bin_ = one / ".uploads" / "0123", one / ".deleted" / "1"
    for folder in (upload, bin_):
        folder.mkdir(parents=True)
    binned.rename(bin_ / "run")
    empty = home_of("nobody")
    for folder in (upload, bin_, gone):
        aged(folder, 25)
    aged(empty, 1)
    with ExitStack() as stack:
        stack.enter_context(jobs.open_run(alive, {}))
        aged(alive, 25)
        sweep()
        left = {path for path in one.iterdir() if not path.name.startswith(".")}
        assert left == {young, alive}
        assert not upload.exists() and not bin_.exists() and not empty.exists()
    aged(young, 25)
    sweep()  # looked a moment ago
    assert young.exists()
    aged(visitors_folder() / "swept", 1)
    sweep()
    assert not young.exists() and one.is_dir()
    monkeypatch.setattr(visitors, "BETWEEN_SWEEPS", -1)
    monkeypatch.setenv("ADARANK_DEMO", "0")
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    kept = jobs.new_run_folder("x", one)
    aged(kept, 1000)
    sweep()
    assert kept.exists()  # a private machine has no such cap
