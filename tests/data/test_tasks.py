"""Tasks: own files and folders, their splits, and the Hub (a small one of the tests' own)."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest

from adarank_core.data.task import normalised, split_of
from adarank_core.data.tasks import load_task, task_names
from adarank_core.errors import AdaRankError, quoted

SPLITS = ("train", "validation", "test")


def rows(count, labels=("no", "yes"), start=0):
    return [(f"text number {i}", labels[i % len(labels)]) for i in range(start, start + count)]


def write_csv(file, table):
    pd.DataFrame(table, columns=["text", "label"]).to_csv(file, index=False)
    return file


def refusal(name):
    with pytest.raises(AdaRankError) as caught:
        load_task(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def texts_of(task):
    return {split: getattr(task, split)["text"].tolist() for split in SPLITS}


# Splits


def test_a_single_file_is_split_by_hash(tmp_path):
    task = load_task(write_csv(tmp_path / "mine.csv", rows(200)))
    assert (task.name, task.label_names) == ("mine", ("no", "yes"))
    for split, texts in texts_of(task).items():
        assert texts and all(split_of(text) == split for text in texts)
    everything = pd.concat([task.train, task.validation, task.test])
    assert {(t, task.label_names[i]) for t, i in everything.to_numpy()} == set(rows(200))
    assert everything["label"].dtype == int and list(everything.columns) == ["text", "label"]


def test_more_rows_move_no_row_to_another_split(tmp_path):
    few = texts_of(load_task(write_csv(tmp_path / "few.csv", rows(100))))
    more = texts_of(load_task(write_csv(tmp_path / "more.csv", rows(300))))
    assert all(set(few[split]) <= set(more[split]) for split in SPLITS)


def test_a_folder_keeps_its_own_splits(tmp_path):
    write_csv(tmp_path / "train.csv", rows(10))
    lines = [json.dumps({"text": t, "label": y}) for t, y in rows(4, start=20)]
    (tmp_path / "validation.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pd.DataFrame(rows(6, start=40), columns=["text", "label"]).to_parquet(tmp_path / "test.parquet")
    task = load_task(tmp_path)
    assert task.name == tmp_path.name
    assert [len(texts) for texts in texts_of(task).values()] == [10, 4, 6]


@pytest.mark.parametrize("name", ["val.csv", "dev.csv"])
def test_validation_goes_by_its_short_names_too(tmp_path, name):
    write_csv(tmp_path / "train.csv", rows(200))
    write_csv(tmp_path / name, rows(4, start=900))
    task = load_task(tmp_path)
    assert task.validation["text"].tolist() == [text for text, _ in rows(4, start=900)]


def test_only_the_missing_split_is_taken_from_train(tmp_path):
    write_csv(tmp_path / "train.csv", rows(200))
    write_csv(tmp_path / "test.csv", rows(8, start=900))
    task = load_task(tmp_path)
    assert len(task.test) == 8 and len(task.train) + len(task.validation) == 200
    assert {split_of(text) for text in task.validation["text"]} == {"validation"}


def test_what_is_tested_is_not_trained_on(tmp_path):
    write_csv(tmp_path / "train.csv", [*rows(10), ("TEXT  number 30", "no"), ("Held", "no")])
    write_csv(tmp_path / "validation.csv", [*rows(2, start=20), ("held", "no"), ("Both", "no")])
    write_csv(tmp_path / "test.csv", [*rows(2, start=30), (" both ", "no")])
    task = load_task(tmp_path)
    keys = {split: set(map(normalised, texts)) for split, texts in texts_of(task).items()}
    assert keys["train"] == {text for text, _ in rows(10)}
    assert keys["validation"] == {"text number 20", "text number 21", "held"}
    assert len(task.test) == 3


# Labels


def test_numbers_become_names_in_their_own_order(tmp_path):
    task = load_task(write_csv(tmp_path / "a.csv", rows(90, labels=(10, 9, 2))))
    assert task.label_names == ("2", "9", "10")


def test_names_come_from_the_meta_file_beside_the_data(tmp_path):
    file = write_csv(tmp_path / "a.csv", rows(90, labels=(1, 0)))
    (tmp_path / "meta.json").write_text('{"label_names": ["zero", "one"]}')
    task = load_task(file)
    assert task.label_names == ("zero", "one")
    assert task.train.set_index("text")["label"]["text number 0"] == 1
    write_csv(file, rows(90, labels=("one", "zero")))
    assert load_task(file).train.equals(task.train)


@pytest.mark.parametrize("meta", ["", "[]", '{"label_names": "ab"}', '{"label_names": [1, 2]}'])
def test_a_meta_file_of_another_kind_is_passed_over(tmp_path, meta):
    (tmp_path / "meta.json").write_text(meta)
    assert load_task(write_csv(tmp_path / "a.csv", rows(90))).label_names == ("no", "yes")


def test_labels_beyond_the_meta_file_are_refused(tmp_path):
    (tmp_path / "meta.json").write_text('{"label_names": ["zero", "one"]}')
    file = write_csv(tmp_path / "a.csv", rows(90, labels=(0, 1, 2)))
    assert "'2'" in refusal(file) and "meta.json" in refusal(file)


# What cannot be used


def test_one_class_only_is_refused(tmp_path):
    assert "one class only, 'yes'" in refusal(write_csv(tmp_path / "a.csv", rows(90, ["yes"])))


def test_too_few_rows_are_refused_with_how_many_are_needed(tmp_path):
    message = refusal(write_csv(tmp_path / "a.csv", rows(4)))
    assert "4 rows" in message and "at least 50" in message


def test_a_split_that_is_tested_whole_is_named(tmp_path):
    write_csv(tmp_path / "train.csv", rows(90))
    for split in ("validation", "test"):
        write_csv(tmp_path / f"{split}.csv", rows(8, start=200))
    assert "has no text that is not in its test split too" in refusal(tmp_path)


def test_a_class_that_cannot_be_trained_on_is_refused(tmp_path):
    write_csv(tmp_path / "train.csv", rows(90))
    write_csv(tmp_path / "test.csv", [*rows(4, start=200), ("something else", "maybe")])
    assert "'maybe'" in refusal(tmp_path) and "train" in refusal(tmp_path)


def test_folders_without_train_or_with_two_are_refused(tmp_path):
    assert "holds no train file" in refusal(tmp_path)
    write_csv(tmp_path / "train.csv", rows(9))
    (tmp_path / "train.jsonl").touch()
    assert "train.csv and train.jsonl" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["trek", "no/such.csv", "missing.csv", "x" * 5000, "a\0b"])
def test_an_unknown_name_is_refused_with_what_would_be_right(name):
    message = refusal(name)
    assert quoted(name) in message and ", ".join(task_names()) in message


# The Hub


class SmallHub(http.server.BaseHTTPRequestHandler):
    """Datasets as `files`: ``{repository: {path: bytes}}``, with the few routes that are asked."""

    commit = "c0ffee" * 6 + "c0ff"
    files: dict

    def do_GET(self):
        status, body, headers = self.answer(unquote(urlparse(self.path).path).strip("/"))
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def answer(self, path):
        if not path:
            return 200, b"", {}
        path = path.removeprefix("api/")
        for repository, files in self.files.items():
            rest = path.removeprefix(f"datasets/{repository}/").split("/", 1)
            if rest[0] == "resolve":
                found = [name for name in files if rest[1].endswith("/" + name)]
                if not found:
                    return 404, b"", {"X-Error-Code": "EntryNotFound"}
                tag = {"ETag": f'"{len(files[found[0]])}"', "X-Repo-Commit": self.commit}
                return 200, files[found[0]], tag
            if rest[0] == "revision" or path == f"datasets/{repository}":
                return 200, json.dumps({"id": repository, "sha": self.commit}).encode(), {}
            if rest[0] == "tree":
                under = rest[1].removeprefix(self.commit).strip("/")
                return 200, json.dumps(self.tree(files, under)).encode(), {}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}

    @staticmethod
    def tree(files, under):
        below = [name for name in files if name.startswith(f"{under}/" if under else "")]
        folders = {name[:at] for name in below for at, sign in enumerate(name) if sign == "/"}
        folders = {folder for folder in folders if len(folder) > len(under)}
        listed = [{"type": "directory", "path": folder} for folder in sorted(folders)]
        listed += [{"type": "file", "path": name, "size": len(files[name])} for name in below]
        return [entry | {"oid": "0" * 40} for entry in listed]

    def log_message(self, *arguments):
        pass


def hub_parquet(**columns):
    import datasets

    kinds = {
        name: datasets.ClassLabel(names=["bad", "good"])
        if name.endswith("label")
        else datasets.Value("string")
        for name in columns
    }
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def small_hub():
    texts = [f"text number {i}" for i in range(100)]
    labels = [i % 2 for i in range(100)]
    sst2 = {
        f"data/{split}-00000-of-00001.parquet": hub_parquet(
            sentence=[f"{split} {text}" for text in texts], label=labels if known else [-1] * 100
        )
        for split, known in (("train", True), ("validation", True), ("test", False))
    }
    trec = {
        f"default/{split}/0000.parquet": hub_parquet(
            text=[f"{split} {text}" for text in texts], coarse_label=labels
        )
        for split in ("train", "test")
    }
    files = {"CogComp/trec": trec, "stanfordnlp/sst2": sst2}
    handler = type("Hub", (SmallHub,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ASK = """
import json, sys, time
from adarank_core import AdaRankError, load_task
start = time.monotonic()
try:
    task = load_task(sys.argv[1])
    told = {"names": task.label_names, "validation": len(task.validation)}
    told |= {"labels": sorted(set(task.test["label"])), "test": task.test["text"].tolist()}
except AdaRankError as error:
    told = {"error": str(error)}
print(json.dumps(told | {"seconds": time.monotonic() - start}))
"""


def asked(name, endpoint, folder):
    """Load a task in a process of its own: the Hub's address is read when datasets is imported."""
    surroundings = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder)}
    surroundings.pop("HF_HUB_OFFLINE", None)
    surroundings.pop("HF_DATASETS_OFFLINE", None)
    surroundings |= {"HF_HUB_DISABLE_XET": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, name], env=surroundings, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def test_a_hub_task_is_loaded_and_stays_when_the_hub_is_gone(small_hub, hub_folder):
    told = asked("trec", small_hub, hub_folder)
    assert told["names"] == ["bad", "good"] and told["labels"] == [0, 1]
    assert told["test"] == [f"test text number {i}" for i in range(100)] and told["validation"] > 0
    again = asked("trec", "http://127.0.0.1:9", hub_folder)
    assert again | {"seconds": 0} == told | {"seconds": 0}


def test_sst2_is_tested_on_the_split_with_published_labels(small_hub, hub_folder):
    told = asked("sst2", small_hub, hub_folder)
    assert told["test"][0] == "validation text number 0" and told["labels"] == [0, 1]


def test_a_hub_out_of_reach_is_said_at_once(tmp_path):
    told = asked("trec", "http://127.0.0.1:9", tmp_path)
    assert told["error"] == (
        "the task 'trec' needs the Hugging Face Hub, which cannot be reached; "
        "use 'docstrings' or your own file"
    )
    assert told["seconds"] < 15


def test_a_hub_without_the_dataset_is_told_apart(small_hub, tmp_path):
    told = asked("ag_news", small_hub, tmp_path)
    assert "'fancyzhx/ag_news'" in told["error"] and small_hub in told["error"]


def test_importing_tasks_waits_for_nothing_heavy():
    code = "import sys, adarank_core.data.tasks, adarank_core.data.docstrings; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert not {"torch", "transformers", "datasets"} & set(modules.decode().split())
