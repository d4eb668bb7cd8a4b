"""The command line: what each command gives, and one line for everything that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import adarank_core
from adarank_core import AdaRankError, RankPlan, Scores, allocate, load_model, score
from adarank_core.__main__ import main
from adarank_core.files import read_json, write_json
from adarank_core.runs.jobs import runs

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def files(tiny_bert, tmp_path_factory):
    """A scores.json and a ranks.json of the tiny model."""
    folder = tmp_path_factory.mktemp("files")
    scores = score(load_model(tiny_bert), ["the cat sat", "a red dog"], trials=2)
    write_json(folder / "scores.json", scores.to_dict())
    write_json(folder / "ranks.json", allocate(scores, 4).to_dict())
    return folder


@pytest.fixture
def run(capsys):
    """Run a command in this process; give what it wrote on standard output."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def refusal(capsys):
    """Run a command that must be refused in one line; give that line."""

    def refusal(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 2
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert out == "" and "Traceback" not in err
        return err

    return refusal


# What is right


def test_score_writes_scores_of_each_kind_of_text(run, tiny_bert, tiny_file, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("the cat\n\na red dog\n")
    sources = {
        ("--generic",): ("generic", 16),
        (): ("generic", 16),
        ("--sentence", " the cat "): ("sentence", 1),
        ("--texts", lines): ("lines.txt", 2),
        ("--task", tiny_file): ("tiny", 16),
    }
    for arguments, (source, count) in sources.items():
        options = ("--trials", 2, "--modules", r"layer\.1.*value", "--seed", 7)
        out = run("score", "--model", tiny_bert, *arguments, *options, "--json", "-")
        scores = Scores.from_dict(json.loads(out))
        assert (scores.texts["source"], scores.texts["count"]) == (source, count)
        assert [module.family for module in scores.modules] == ["value"] and scores.seed == 7


@pytest.mark.parametrize("estimator", ["paired", "fast"])
def test_score_gives_what_python_gives(run, tiny_bert, tmp_path, estimator):
    options = ["--trials", 3, "--noise-scale", 0.5, "--seed", 2, "--max-length", 4]
    run(
        "score", "--model", tiny_bert, "--sentence", "the cat sat on the dog",
        *options, "--estimator", estimator, "--json", tmp_path / "scores.json",
    )  # fmt: skip
    expected = score(
        load_model(tiny_bert),
        adarank_core.sentence("the cat sat on the dog"),
        trials=3,
        noise_scale=0.5,
        seed=2,
        max_length=4,
        estimator=estimator,
    )
    assert Scores.from_dict(read_json(tmp_path / "scores.json")) == expected


def test_score_without_json_is_a_table(run, tiny_bert):
    out = run("score", "--model", tiny_bert, "--sentence", "the cat", "--trials", 2)
    assert "disagreement" in out and out.count("value") == 2


def test_score_with_a_task_has_as_many_labels_as_the_task(run, tiny_bert, tmp_path, monkeypatch):
    from adarank_core.scoring import models

    seen, real = [], models.load_model
    monkeypatch.setattr(
        models, "load_model", lambda *a, **options: seen.append(options) or real(*a, **options)
    )
    rows = [f"the cat {n} {label},{label}" for n in range(60) for label in "abc"]
    (tmp_path / "three.csv").write_text("\n".join(["text,label", *rows]))
    run("score", "--model", tiny_bert, "--task", tmp_path / "three.csv", "--trials", 2)
    assert seen[0]["labels"] == 3


def test_allocate_gives_what_python_gives(run, files):
    scores = Scores.from_dict(read_json(files / "scores.json"))
    one, two = (module.name for module in scores.modules[:2])
    for options, expected in {
        (): allocate(scores),
        ("--average-rank", "2.5"): allocate(scores, 2.5),
        ("--parameters", "9000"): allocate(scores, parameters=9000),
        ("--average-rank", "3", "--budget-by", "parameters"): allocate(
            scores, 3, budget_by="parameters"
        ),
        ("--group-by", "family", "--min-rank", "0"): allocate(
            scores, group_by="family", min_rank=0
        ),
        ("--rounding", "floor", "--max-rank", "9"): allocate(scores, rounding="floor", max_rank=9),
        ("--share", "0.3"): allocate(scores, share=0.3),
        ("--adaptive", "--alpha-policy", "rslora"): allocate(
            scores, adaptive=True, alpha_policy="rslora"
        ),
        ("--pin", f"{one}=5", "--pin", f"{two}=0", "--temperature", "0.5"): allocate(
            scores, pinned={one: 5, two: 0}, temperature=0.5
        ),
        ("--exclude", "query", "--exclude", "layer.0.*key"): allocate(
            scores,
            excluded=[
                m.name
                for m in scores.modules
                if m.family == "query" or "0.attention.self.key" in m.name
            ],
        ),
    }.items():
        out = run("allocate", "--scores", files / "scores.json", *options, "--json", "-")
        assert RankPlan.from_dict(json.loads(out)) == expected
    assert "residual 0" in run("allocate", "--scores", files / "scores.json")


def test_export_writes_the_plan_in_every_form(run, files, tmp_path):
    out = run("export", "--ranks", files / "ranks.json", "--output", tmp_path, "--json", "-")
    written = json.loads(out)["files"]
    names = ["ranks.json", "adapter_config.json", "lora_config.py", "ranks.csv", "report.html"]
    assert [Path(file).name for file in written] == names
    assert run("export", "--ranks", files / "ranks.json", "--output", tmp_path).split() == written
    assert "family" not in (tmp_path / "ranks.csv").read_text()
    both = ("--ranks", files / "ranks.json", "--scores", files / "scores.json")
    run("export", *both, "--output", tmp_path)
    assert "family" in (tmp_path / "ranks.csv").read_text()


def test_export_reads_an_adapter_and_makes_it_portable(
    run, refusal, files, tiny_bert, tiny_gpt2, tmp_path
):
    from peft import LoraConfig, get_peft_model

    patterns = {"rank_pattern": {"key": 2, "value": 5}, "r": 3, "lora_alpha": 6}
    config = LoraConfig(target_modules=["key", "value"], **patterns)
    get_peft_model(load_model(tiny_bert).model, config).save_pretrained(tmp_path / "adapter")
    ranks = ("--ranks", tmp_path / "adapter" / "adapter_config.json", "--output", tmp_path / "out")
    options = ("--model", tiny_bert, "--adapter", tmp_path / "adapter", "--json", "-")
    result = json.loads(run("export", *ranks, *options))
    plan = RankPlan.from_dict(read_json(tmp_path / "out" / "ranks.json"))
    assert sorted(plan.ranks.values()) == [2, 2, 5, 5] and all(".layer." in n for n in plan.ranks)
    assert all(Path(file).is_file() for file in result["files"]) and len(result["files"]) == 7
    sizes = [result["compact_bytes"], result["portable_bytes"]]
    weights = "adapter_model.safetensors"
    folders = (tmp_path / "adapter", tmp_path / "out" / "portable")
    assert sizes == [(folder / weights).stat().st_size for folder in folders]
    assert sizes[0] < sizes[1]
    wrong = ("--ranks", files / "ranks.json", "--output", tmp_path, "--adapter", tmp_path)
    assert "has no adapter_model.safetensors" in refusal("export", *wrong)
    others = ("--ranks", files / "ranks.json", "--output", tmp_path, "--model", tiny_gpt2)
    assert "use ranks made for this model" in refusal("export", *others)


def test_help_is_given_without_a_command(run):
    assert run() == run("--help")
    for command in ("score", "allocate", "finetune", "compare", "export"):
        assert command in run("--help") and "--json" in run(command, "--help")


def test_a_real_process_keeps_its_streams_and_exit_codes_apart(tiny_bert, tmp_path):
    def process(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "adarank_core", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=Path(adarank_core.__file__).parent.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )

    done = process(
        "score", "--model", tiny_bert, "--sentence", "the cat", "--trials", 2, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert Scores.from_dict(json.loads(done.stdout)).texts["source"] == "sentence"
    done = process("score", "--sentence", "  ")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1 and "write at least one word" in done.stderr


# What is wrong


@pytest.mark.parametrize("sentence", ["", "   ", "\n\t"])
def test_a_sentence_without_words(refusal, sentence):
    assert "has no words" in refusal("score", "--sentence", sentence)


def test_a_sentence_far_past_the_model_s_length(refusal, tiny_bert):
    line = refusal("score", "--model", tiny_bert, "--sentence", "cat " * 5000)
    assert "5,002 tokens" in line and "at most 160" in line and len(line) < 200


BAD_TABLES = {
    "no columns": (b"", "is empty"),
    "other columns": (b"a,b\n1,2\n", "columns"),
    "header only": (b"text,label\n", "no rows"),
    "one class": (b"text,label\n" + b"".join(b"cat %d,x\n" % n for n in range(99)), "one class"),
    "empty rows": (b"text,label\ncat,x\n ,y\n", "lacks a text or a label in row 2"),
    "not UTF-8": (b"text,label\n\xff\xfe,x\n", "is not UTF-8"),
    "too few": (b"text,label\ncat,x\ndog,y\n", "at least 50"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
@pytest.mark.parametrize("command", ["score", "finetune", "compare"])
def test_a_bad_table(refusal, tiny_bert, tmp_path, kind, command):
    content, message = BAD_TABLES[kind]
    (tmp_path / "bad.csv").write_bytes(content)
    arguments = [command, "--model", tiny_bert, "--task", tmp_path / "bad.csv"]
    if command == "finetune":
        arguments += ["--uniform-rank", 2]
    assert message in refusal(*arguments)


@pytest.mark.parametrize("command", ["score", "finetune", "compare"])
def test_an_unknown_model_without_network(refusal, tiny_file, command):
    arguments = [command, "--model", "no-such/model", "--task", tiny_file]
    if command == "finetune":
        arguments += ["--uniform-rank", 2]
    assert "'no-such/model' cannot be loaded" in refusal(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--average-rank", "0"], "average_rank is 0"),
        (["--average-rank", "-3"], "average_rank is -3"),
        (["--average-rank", "nan"], "average_rank is nan"),
        (["--average-rank", "inf"], "average_rank is inf"),
        (["--average-rank", "1e308"], "average_rank is 1e+308"),
        (["--average-rank", "33"], "above"),
        (["--average-rank", "x"], "average-rank"),
        (["--parameters", "-5"], "parameters is -5"),
        (["--parameters", "0"], "parameters is 0"),
        (["--parameters", "9" * 40], "above"),
        (["--parameters", "1.5"], "parameters"),
        (["--average-rank", "4", "--parameters", "9000"], "both given"),
        (["--adaptive", "--average-rank", "4"], "adaptive conflicts with average_rank"),
        (["--share", "0.1", "--average-rank", "4"], "both given"),
        (["--share", "nan"], "share is nan"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--alpha-policy", "x"], "alpha_policy is 'x'"),
        (["--pin", "x"], "must be NAME=RANK"),
        (["--pin", "x=2.5"], "must be NAME=RANK"),
        (["--pin", "x=2"], "pinned names 'x'"),
        (["--pin", "x=2", "--pin", "x=3"], "names 'x' twice"),
        (["--exclude", "zork"], "fits none of the"),
        (["--exclude", "("], "not a regular expression"),
        (["--exclude", ""], "all 12 modules are excluded"),
        (["--budget-by", "x"], "budget_by is 'x'"),
        (["--group-by", "x"], "group_by is 'x'"),
        (["--rounding", "x"], "rounding is 'x'"),
        (["--min-rank", "-1"], "min_rank is -1"),
        (["--max-rank", "0"], "max_rank is 0"),
        (["--zork"], "--zork"),
    ],
    ids=str,
)
def test_a_budget_that_cannot_be(refusal, files, options, message):
    assert message in refusal("allocate", "--scores", files / "scores.json", *options)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"format": "adarank-scores/1"}',
        b'{"format": "adarank-scores/1", "modules": "x\\n"}',
        b"[" * 100_000,
        "other score",
        "no modules",
    ],
    ids=range(10),
)
@pytest.mark.parametrize("command", ["allocate", "export", "finetune", "compare"])
def test_a_corrupt_file(refusal, files, tmp_path, tiny_bert, tiny_file, content, command):
    data = read_json(files / "scores.json")
    if content == "other score":
        data["modules"][2]["score"] = float("nan")
        content = json.dumps(data).encode()
    elif content == "no modules":
        content = json.dumps({**data, "modules": []}).encode()
    (tmp_path / "bad.json").write_bytes(content)
    bad, common = tmp_path / "bad.json", ["--model", tiny_bert, "--task", tiny_file]
    arguments = {
        "allocate": ["--scores", bad],
        "export": ["--ranks", bad, "--output", tmp_path / "out"],
        "finetune": ["--ranks", bad, *common],
        "compare": ["--arms", f"uniform,{bad}", *common],
    }
    refusal(command, *arguments[command])
    assert not runs() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "trials is 0"),
        (["--trials", "1"], "trials is 1"),
        (["--trials", "-2"], "trials is -2"),
        (["--trials", "many"], "trials"),
        (["--max-length", "0"], "max_length is 0"),
        (["--max-length", "-1"], "max_length is -1"),
        (["--noise-scale", "0"], "noise_scale is 0"),
        (["--noise-scale", "nan"], "noise_scale is nan"),
        (["--noise-scale", "inf"], "noise_scale is inf"),
        (["--seed", "9" * 30], "64 bits"),
        (["--seed", "1.5"], "seed"),
        (["--modules", "("], "no regular expression"),
        (["--modules", "a{99999999999999}"], "no regular expression"),
        (["--modules", "zork"], "matches none"),
        (["--estimator", "x"], "estimator is 'x'"),
        (["--logits", "first"], "logits is 'first'"),
        (["--logits", "all"], "has a classification head"),
        (["--mode", "notebooks"], "'notebooks'"),
        (["--tolerance", "0"], "tolerance is 0"),
        (["--tolerance", "1", "--trials", "4"], "in place of trials"),
        (["--scan", "sideways"], "'sideways'"),
        (["--generic"], "more than one text source"),
        (["--texts", "missing.txt", "--trials", "2"], "more than one text source"),
    ],
    ids=str,
)
def test_scoring_that_cannot_be(refusal, tiny_bert, options, message):
    line = refusal("score", "--model", tiny_bert, "--sentence", "the cat", *options)
    assert message in line


def test_a_negative_seed_draws_noise_but_no_texts(run, refusal, tiny_bert, tiny_file):
    options = ("--trials", 2, "--modules", "value", "--seed", -1, "--model", tiny_bert)
    run("score", "--sentence", "the cat", *options)
    assert "seed is -1" in refusal("score", "--task", tiny_file, *options)


def test_texts_that_cannot_be_read(refusal, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "blank.txt").write_bytes(b"\n \n")
    assert "is not UTF-8" in refusal("score", "--texts", tmp_path / "bad.txt")
    assert "holds no text" in refusal("score", "--texts", tmp_path / "blank.txt")
    assert "cannot be read" in refusal("score", "--texts", tmp_path / "missing.txt")


def test_noise_that_no_number_can_hold_is_told(capsys, tiny_bert):
    arguments = ["--model", tiny_bert, "--sentence", "cat", "--noise-scale", "1e30"]
    assert main(["score", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the logits are not finite")


def test_an_unknown_command_or_no_value(refusal):
    assert "zork" in refusal("zork")
    assert "--scores" in refusal("allocate")
    assert "--sentence" in refusal("score", "--sentence")


def test_a_place_that_cannot_be_written(refusal, files, tiny_bert, tiny_file, tmp_path):
    (tmp_path / "file").touch()
    scores, place = files / "scores.json", tmp_path / "file" / "x.json"
    assert "cannot be written" in refusal("allocate", "--scores", scores, "--json", place)
    ranks = files / "ranks.json"
    assert "cannot be written" in refusal("export", "--ranks", ranks, "--output", place)
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--uniform-rank", 2, "--output", place]
    assert "cannot be written" in refusal("finetune", *arguments)


def test_a_wrong_json_place_is_said_before_anything_is_computed(refusal, tiny_bert, monkeypatch):
    from adarank_core.scoring import score

    monkeypatch.setattr(score, "score_iter", lambda *a, **o: pytest.fail("computed"))
    arguments = ["--model", tiny_bert, "--sentence", "cat", "--json", "no/such/folder/x.json"]
    assert "cannot be written" in refusal("score", *arguments)


def test_stopping_by_hand_is_no_error_of_the_user(monkeypatch, capsys):
    from adarank_core.data import texts

    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(texts, "sentence", interrupt)
    assert main(["score", "--sentence", "cat"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_of_several_lines_is_said_in_one(monkeypatch, refusal):
    from adarank_core.data import texts

    def refuse(text):
        raise AdaRankError("one [red]\n  two")

    monkeypatch.setattr(texts, "sentence", refuse)
    assert refusal("score", "--sentence", "cat") == "error: one [red] two\n"
