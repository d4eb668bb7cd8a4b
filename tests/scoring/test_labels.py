"""What models are called elsewhere: never a folder of this machine."""

import hashlib
import re

import pytest

from adarank_core.scoring.labels import UNNAMED_MODEL, public_name
from adarank_core.scoring.models import embedded_folder


@pytest.mark.parametrize(
    "model",
    ["/srv/models/mine", "./mine", "../mine", "~/mine", "models/deep/mine", r"C:\models\mine", ""],
)
def test_a_folder_has_no_name_elsewhere(model):
    assert public_name(model) == UNNAMED_MODEL


@pytest.mark.parametrize("model", ["bert-base-cased", "org/model-7B_v1.5", "0prodigy/axolotl"])
def test_a_hub_id_is_its_name_unless_a_folder_is_called_so(model, tmp_path, monkeypatch):
    assert public_name(model) == model
    monkeypatch.chdir(tmp_path)
    (tmp_path / model).mkdir(parents=True)
    assert public_name(model) == UNNAMED_MODEL


def test_the_embedded_model_is_what_its_own_card_says():
    """Its weights' digest, which is checked at load, is the Hub's for that repository."""
    name = public_name("embedded")
    card = (embedded_folder() / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"SentenceTransformer\('{name}'\)", card)
    weights = (embedded_folder() / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest().startswith("53aa51172d14")
