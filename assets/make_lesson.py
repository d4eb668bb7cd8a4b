"""Compute what the Learn page shows before anything is computed there.

Run it from the repository's root: ``python assets/make_lesson.py``. It takes a minute or two on two
cores and writes only into ``assets/lesson``.
"""

import json
import sys
from pathlib import Path

from make_example import SENTENCE

ROOT = Path(__file__).resolve().parent.parent
LESSON = ROOT / "assets" / "lesson"
# A feed-forward module: its two sides differ, which makes the counting of parameters instructive.
RANK_MODULE = "bert.encoder.layer.5.intermediate.dense"
VALUES = r"attention\.self\.value"
SCANS = {
    "forward": ("notebook-accumulating", "forward"),
    "reversed": ("notebook-accumulating", "reversed"),
    "reset": ("notebook", "forward"),
}


def main() -> None:
    """Keep noisy models' logits for one sentence, a weight's singular values, and three scans."""
    sys.path.insert(0, str(ROOT))
    import torch

    from adarank_core.scoring.lesson import noisy_logits
    from adarank_core.scoring.models import adaptable_modules, load_model

    bundle = load_model("embedded")
    names = [module.name for module in adaptable_modules(bundle.model)]
    drawn = noisy_logits(bundle, SENTENCE, names).to_dict()
    weight = bundle.model.get_submodule(RANK_MODULE).weight.detach()
    spectrum = {
        "model": bundle.name,
        "module": RANK_MODULE,
        "in_features": weight.shape[1],
        "out_features": weight.shape[0],
        "singular_values": torch.linalg.svdvals(weight.double()).tolist(),
    }
    LESSON.mkdir(parents=True, exist_ok=True)
    for name, data in {
        "noisy-logits": drawn,
        "spectrum": spectrum,
        "reset": reset_curves(bundle),
    }.items():
        text = json.dumps(_short(data), separators=(",", ":"), allow_nan=False)
        (LESSON / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def reset_curves(bundle) -> dict:
    """Score the value modules as the notebook does: two scans without a reset, and one with it."""
    from adarank_core import generic_texts, score

    texts, curves = generic_texts(), {}
    for name, (mode, scan) in SCANS.items():
        scores = score(bundle, texts, mode=mode, scan=scan, trials=5, modules=VALUES, seed=0)
        curves[name] = [[module.score, module.standard_error] for module in scores.modules]
    return {"model": bundle.name, "texts": len(texts), "trials": 5, "seed": 0, "curves": curves}


def _short(value):
    """Round every fraction to six significant digits: float32 has seven."""
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
