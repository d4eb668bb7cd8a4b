"""What the tests share: tiny models and a tiny task, the embedded model, a home of their own."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from adarank_core.files import cache_folder, write_json

# The same examples each time: a red test is about the change at hand. No time limits: machines
# differ.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Runs go to a folder that the tests throw away. The cache is the machine's own: what is in it can
# be rebuilt, and reading the docstrings of all libraries again would take longer than all tests.
_HOME = Path(tempfile.mkdtemp(prefix="adarank-tests-"))
(_HOME / "cache").symlink_to(cache_folder().resolve(), target_is_directory=True)
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["ADARANK_HOME"] = str(_HOME)
# Nothing asks the network: who tests the Hub's code starts a Hub of his own.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# The models are tiny: a second thread only waits, and keeps the other test process from working.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = ["the", "a", "cat", "dog", "bird", "sun", "rain", "sat", "ran", "sang", "on", "under"]
WORDS += ["red", "old", "new", "good", "bad", "very", "not", "and"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give a test a home of its own, which starts without runs."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "cache").symlink_to(_HOME / "cache", target_is_directory=True)
    monkeypatch.setenv("ADARANK_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_known(tmp_path_factory, monkeypatch):
    """Give every test no scores that others computed, which would be shown again."""
    from adarank_core.scoring import known_scores

    folder = []

    def scores_folder():
        if not folder:
            folder.append(tmp_path_factory.mktemp("scores"))
        return folder[0]

    monkeypatch.setattr(known_scores, "scores_folder", scores_folder)
    if (cached := sys.modules.get("pages.parts.shared.cached")) is not None:
        cached._scores.clear()


@pytest.fixture(scope="session")
def embedded():
    """The embedded model, with two labels."""
    from adarank_core.scoring.models import load_model

    return load_model("embedded")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A folder with a random BERT: 2 layers, hidden size 32, feed-forward size 64."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=160,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    model = BertForSequenceClassification(config)
    body = {key: value for key, value in model.state_dict().items() if "classifier" not in key}
    model.save_pretrained(folder, state_dict=body)  # a head is not pretrained
    _tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory):
    """A folder with a random GPT-2 language model: 2 layers, hidden size 32, Conv1D modules."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS) + 4,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=160,
        initializer_range=0.2,
        bos_token_id=2,
        eos_token_id=3,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    _tokenizer(classifier=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_task():
    """96 texts to train on, 32 to validate and 48 to test: is the animal good or bad?"""
    import random

    import pandas as pd

    from adarank_core.data.task import Task

    draw = random.Random(0)
    neutral = [word for word in WORDS if word not in ("good", "bad")]
    rows = {}
    while len(rows) < 176:
        words = draw.choices(neutral, k=draw.randint(2, 12))
        label = len(rows) % 2
        words.insert(draw.randrange(len(words) + 1), ("bad", "good")[label])
        rows[" ".join(words)] = label
    table = pd.DataFrame({"text": list(rows), "label": list(rows.values())})
    cuts = [table[start:end].reset_index(drop=True) for start, end in ((0, 96), (96, 128))]
    return Task("tiny", ("bad", "good"), *cuts, table[128:].reset_index(drop=True))


@pytest.fixture(scope="session")
def tiny_file(tiny_task, tmp_path_factory):
    """The tiny task as a folder of three CSV files."""
    folder = tmp_path_factory.mktemp("tasks") / "tiny"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        table = getattr(tiny_task, split)
        names = table["label"].map(dict(enumerate(tiny_task.label_names)))
        table.assign(label=names).to_csv(folder / f"{split}.csv", index=False)
    return str(folder)


@pytest.fixture
def texts():
    """Twenty texts of unlike lengths: more than one batch to score."""
    return [" ".join(WORDS[at % 7 : at % 7 + 1 + at % 9]) for at in range(20)]


@pytest.fixture(scope="session")
def made_up():
    """Make scores of the embedded model's shape: 6 layers, hidden size 384, from a seed."""
    import random

    from adarank_core.scoring.scores import ModuleScore, Scores

    sizes = {
        "attention.self.query": (384, 384),
        "attention.self.key": (384, 384),
        "attention.self.value": (384, 384),
        "attention.output.dense": (384, 384),
        "intermediate.dense": (384, 1536),
        "output.dense": (1536, 384),
    }

    def make(seed=0, spread=1.0):
        draw = random.Random(seed)
        return Scores(
            "embedded",
            "paper",
            "paired",
            1.0,
            seed,
            {"source": "list", "count": 1, "sha256": "00"},
            tuple(
                ModuleScore(
                    f"bert.encoder.layer.{layer}.{path}",
                    layer,
                    path.removesuffix(".dense").removeprefix("attention.self."),
                    *size,
                    draw.lognormvariate(0, spread),
                    0.01,
                )
                for layer in range(6)
                for path, size in sizes.items()
            ),
        )

    return make


def _tokenizer(classifier=True):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: at for at, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if classifier:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=160,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
    )


@pytest.fixture(scope="session")
def files(tiny_bert, tmp_path_factory):
    """A folder with a scores.json and a ranks.json of the tiny BERT; the command line's input."""
    from adarank_core import allocate, load_model, score

    folder = tmp_path_factory.mktemp("files")
    scores = score(load_model(tiny_bert), ["the cat sat", "a red dog"], trials=2)
    write_json(folder / "scores.json", scores.to_dict())
    write_json(folder / "ranks.json", allocate(scores, 4).to_dict())
    return folder


@pytest.fixture
def run(capsys):
    """Run a command in this process; give what it wrote on standard output."""
    from adarank_core.__main__ import main

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
    from adarank_core.__main__ import main

    def refusal(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 2
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert out == "" and "Traceback" not in err
        return err

    return refusal
