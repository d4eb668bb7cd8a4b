"""Every cap of a demo, tried from where work is started, and the names that are not offered."""

import http.server
import json
import os
import subprocess
import sys
import threading
from dataclasses import fields
from typing import ClassVar

import pandas as pd
import pytest

from adarank_core import AdaRankError, load_model, load_task, sentence
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.data.tables import read_table
from adarank_core.data.texts import texts_from_file
from adarank_core.limits import (
    Limits,
    check_limit,
    check_model_name,
    is_demo,
    is_walled,
    limit,
    limits,
    variable,
)
from adarank_core.scoring.options import ScoringOptions
from adarank_core.training.settings import Settings


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")


def request(**changes):
    asked = {"model": "embedded", "task": "docstrings", "arms": ("uniform",), **changes}
    return ComparisonRequest(**asked).check


def rows_of(kind, rows=2001, text="word"):
    def made(folder):
        frame = pd.DataFrame(
            {
                "text": [f"{text} {at}" for at in range(rows)],
                "label": [at % 2 for at in range(rows)],
            }
        )
        path = folder / f"texts{kind}"
        if kind == ".csv":
            frame.to_csv(path, index=False)
        elif kind == ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        elif kind == ".parquet":
            frame.to_parquet(path)
        else:
            path.write_text("\n".join(frame["text"]))
            return lambda: texts_from_file(path)
        return lambda: read_table(path)

    return made


def plain(call):
    return lambda folder: call


# What asks for too much; each is fine where there are no caps.
TOO_MUCH = {
    "steps": ("steps", plain(request(settings=Settings(steps=201)))),
    "a batch": ("batch_size", plain(request(settings=Settings(batch_size=65)))),
    "tokens": ("text_tokens", plain(request(settings=Settings(max_length=129)))),
    "trials": ("trials", plain(lambda: ScoringOptions(trials=33))),
    "trials of a comparison": ("trials", plain(request(trials=33))),
    "arms": (
        "arms",
        plain(request(arms=("uniform", "adarank", "permuted", "random", "inverse"))),
    ),
    "seeds": ("seeds", plain(request(seeds=(0, 1, 2, 3)))),
    "rates": ("learning_rates", plain(request(learning_rates=(1e-4, 1e-3, 1e-2, 1e-1)))),
    "processes": ("seeds_at_once", plain(request(side_by_side=2))),
    "a sentence": ("text_characters", plain(lambda: sentence("a" * 5001))),
    "a text of a file": ("text_characters", rows_of(".csv", 2, "a" * 5001)),
    "rows of CSV": ("upload_texts", rows_of(".csv")),
    "rows of JSON": ("upload_texts", rows_of(".jsonl")),
    "rows of Parquet": ("upload_texts", rows_of(".parquet")),
    "lines": ("upload_texts", rows_of(".txt")),
    "megabytes": ("upload_mb", rows_of(".csv", 1900, "a" * 2900)),
    "unpacked megabytes": ("upload_mb", rows_of(".parquet", 1900, "a" * 2900)),
}
# These are of the machine, and are tried in tests/runs, tests/pages and below.
ELSEWHERE = {"own_runs", "all_runs", "own_mb", "all_mb", "run_hours", "run_minutes"}
ELSEWHERE |= {"runs_at_once", "scorings", "model_mb", "file_mb"}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_is_over_a_cap_is_one_sentence_with_the_cap(name, monkeypatch, tmp_path):
    cap, made = TOO_MUCH[name]
    call = made(tmp_path)
    call()  # without a demo
    monkeypatch.setenv("ADARANK_DEMO", "1")
    with pytest.raises(AdaRankError) as refused:
        call()
    said = str(refused.value)
    assert said.endswith(f"allowed here ({variable(cap)})") and "\n" not in said
    assert f"{getattr(Limits(), cap):,} that are" in said
    monkeypatch.setenv(variable(cap), "1e9")
    if name != "unpacked megabytes":  # nor as they are packed
        call()


def test_no_cap_is_without_a_test():
    assert {cap for cap, _ in TOO_MUCH.values()} | ELSEWHERE == {cap.name for cap in fields(Limits)}


def test_without_a_demo_there_is_no_cap_but_one_that_was_set(monkeypatch):
    assert set(vars(limits()).values()) == {None}
    monkeypatch.setenv("ADARANK_MAX_STEPS", "7")
    with pytest.raises(AdaRankError, match=r"^8 optimizer steps .* the 7 that"):
        check_limit("steps", 8)
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    assert limits() == Limits(**{**dict.fromkeys(vars(Limits())), "steps": 7})


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf", "1e999", "0x10"])
def test_a_variable_that_is_no_number_lets_nothing_through(value, monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_STEPS", value)
    with pytest.raises(AdaRankError, match=r"ADARANK_MAX_STEPS is .*; it must be a number above 0"):
        limit("steps")


@pytest.mark.parametrize("value", ["0", "", "false", "No", " off "])
def test_a_demo_is_off_by_such_words_and_on_by_any_other(value, monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", value)
    assert not is_demo() and not is_walled()
    monkeypatch.setenv("ADARANK_DEMO", "please")
    assert is_demo() and is_walled()
    monkeypatch.delenv("ADARANK_DEMO")
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    assert is_walled() and not is_demo()


NAMES = (
    "/etc",
    "/",
    "..",
    "../x",
    "./pages",
    "~",
    "~root",
    "a/b/c",
    "a\\b",
    "C:\\x",
    "",
    "*",
    "a\n",
)


@pytest.mark.parametrize("mode", ["ADARANK_DEMO", "ADARANK_PRIVATE"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_folder_is_a_model(name, mode, monkeypatch):
    monkeypatch.setenv(mode, "1")
    with pytest.raises(AdaRankError, match="is not offered here; give 'embedded'"):
        load_model(name)


@pytest.mark.usefixtures("demo")
def test_whether_a_folder_exists_is_told_to_nobody(tiny_bert, tiny_file, monkeypatch):
    for load, there in ((load_model, tiny_bert), (load_task, tiny_file)):
        said = []
        for path in (there, f"{there}-missing"):
            with pytest.raises(AdaRankError) as refused:
                load(path)
            said.append(str(refused.value).replace(path, "…"))
        assert said[0] == said[1]
    with pytest.raises(AdaRankError, match="not offered"):
        load_task("pyproject.toml")
    with pytest.raises(AdaRankError, match="not offered"):
        request(arms=("uniform", f"{tiny_bert}/config.json"))()
    with pytest.raises(AdaRankError, match="'trec' is not offered here; give docstrings or"):
        load_task("trec")
    monkeypatch.setenv("ADARANK_MODELS", f"embedded, {tiny_bert}")
    assert load_model(tiny_bert).name == tiny_bert  # the operator says so


def test_a_private_machine_has_the_hubs_models(monkeypatch):
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    check_model_name("org/model-1.5")
    monkeypatch.setenv("ADARANK_DEMO", "1")
    with pytest.raises(AdaRankError, match="not offered"):
        check_model_name("org/model-1.5")
    monkeypatch.setenv("ADARANK_MODELS", "embedded,*")
    check_model_name("org/model-1.5")


class Hub(http.server.BaseHTTPRequestHandler):
    """A Hub whose one model is huge, and which keeps what it was told."""

    told: ClassVar[list] = []

    def do_GET(self):
        self.told.append(dict(self.headers))
        files = [{"rfilename": "model.safetensors", "size": 10**12}]
        answer = json.dumps({"id": "org/huge", "siblings": files}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_a_huge_model_is_refused_and_the_operators_token_stays_here(tmp_path):
    """In a process of its own: the Hub's client reads the environment when it is imported."""
    (tmp_path / "token").write_text("hf_stored")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        surroundings = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path),
            "HF_TOKEN": "hf_secret",
            "NO_PROXY": "*",
            "ADARANK_DEMO": "1",
            "ADARANK_MODELS": "org/huge",
        }
        surroundings.pop("HF_HUB_OFFLINE", None)
        words = [sys.executable, "-m", "adarank_core", "score", "--model", "org/huge"]
        done = subprocess.run(words, env=surroundings, capture_output=True, text=True, timeout=100)
        server.shutdown()
    assert done.returncode == 2
    assert "1,000,000 MB of weights" in done.stderr.replace(".0", "")
    assert Hub.told and not any("authorization" in map(str.lower, heads) for heads in Hub.told)
