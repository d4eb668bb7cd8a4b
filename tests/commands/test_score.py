"""``score``: its sources of texts, what it gives, and what it refuses."""

import json

import pytest

import adarank_core
from adarank_core import Scores, load_model, score
from adarank_core.__main__ import main
from adarank_core.files import read_json

pytestmark = pytest.mark.usefixtures("home")


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


def test_the_table_counts_layers_from_one_and_json_from_zero(run, tiny_bert, tmp_path):
    options = ("--trials", 2, "--modules", r"layer\.1.*value", "--json", tmp_path / "scores.json")
    out = run("score", "--model", tiny_bert, *options)
    assert [line.split()[:2] for line in out.splitlines() if "value" in line] == [["2", "value"]]
    (module,) = Scores.from_dict(read_json(tmp_path / "scores.json")).modules
    assert module.layer == 1
    (line,) = [line.split() for line in out.splitlines() if "value" in line]
    written, error = line[-2:]
    assert len(written) == len(error), "a score has as many decimals as its error"
    assert float(written) == pytest.approx(module.score, abs=module.standard_error / 10)


def test_score_says_what_was_not_scored(run, capsys, tiny_bert, tmp_path):
    import torch
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    sizes = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    torch.manual_seed(0)
    MixtralForCausalLM(MixtralConfig(**sizes, **heads, pad_token_id=0)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    for model, said in ((tmp_path, "2 × mlp.experts.gate_up_proj"), (tiny_bert, "")):
        options = ("--model", model, "--sentence", "the cat", "--trials", "2")
        assert main(["score", *map(str, options), "--json", str(tmp_path / "s.json")]) == 0
        error, written = capsys.readouterr().err, read_json(tmp_path / "s.json")
        assert ("not scored" in error) == ("not_scored" in written) == bool(said)
        assert said in error


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
    assert out.count("feed-forward in ") == 2 and "intermediate" not in out  # as pages say it


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


@pytest.mark.parametrize("sentence", ["", "   ", "\n\t"])
def test_a_sentence_without_words(refusal, sentence):
    assert "has no words" in refusal("score", "--sentence", sentence)


def test_a_sentence_far_past_the_model_s_length(refusal, tiny_bert):
    line = refusal("score", "--model", tiny_bert, "--sentence", "cat " * 5000)
    assert "5,002 tokens" in line and "at most 160" in line and len(line) < 200


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
        (["--modules", "("], "not a regular expression"),
        (["--modules", "a{99999999999999}"], "not a regular expression"),
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


def test_a_wrong_json_place_is_said_before_anything_is_computed(refusal, tiny_bert, monkeypatch):
    from adarank_core.scoring import score

    monkeypatch.setattr(score, "score_iter", lambda *a, **o: pytest.fail("computed"))
    arguments = ["--model", tiny_bert, "--sentence", "cat", "--json", "no/such/folder/x.json"]
    assert "cannot be written" in refusal("score", *arguments)
