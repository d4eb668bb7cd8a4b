"""AdaRank: which LoRA rank each module of a pretrained model deserves, before any training.

Names are imported on first use, so that ``import adarank_core`` (and the app's first page) does
not wait for torch.

Examples
--------
>>> import adarank_core as ar
>>> bundle = ar.load_model("embedded")
>>> scores = ar.score(bundle, ar.sentence("What is a rank?"), trials=2, seed=0)
>>> plan = ar.allocate(scores, average_rank=8)
>>> sum(plan.ranks.values()) == 8 * len(plan.ranks)
True
"""

from importlib import import_module

_MODULE_OF = {
    "AdaRankError": "errors",
    "Texts": "data.texts",
    "generic_texts": "data.texts",
    "sentence": "data.texts",
    "texts_from_file": "data.texts",
    "Task": "data.task",
    "load_task": "data.tasks",
    "ModelBundle": "scoring.models",
    "load_model": "scoring.models",
    "adaptable_modules": "scoring.models",
    "ModuleScore": "scoring.scores",
    "Scores": "scoring.scores",
    "score": "scoring.score",
    "score_iter": "scoring.score",
    "RankPlan": "ranks.plans",
    "read_plan": "ranks.plan_files",
    "allocate": "ranks.allocation",
    "uniform_plan": "ranks.allocation",
    "rank_intervals": "ranks.intervals",
    "finetune": "training.finetuning",
    "Verdict": "comparison.verdicts",
    "compare": "comparison.compare",
}

__all__ = sorted(_MODULE_OF)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *__all__])
