"""Turn a plan into what LoRA's users need: a ``LoraConfig``, a snippet, files."""

import json
import os
import re
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.ranks.plans import RankPlan
from adarank_core.ranks.report import ranks_csv, report_html
from adarank_core.scoring.scores import Scores

__all__ = ["export", "lora_config", "snippet", "write_json"]

TASK_TYPES = ("SEQ_CLS", "CAUSAL_LM", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS")


def lora_config(plan: RankPlan, task_type: str = "SEQ_CLS"):
    """Build the ``peft.LoraConfig`` of a plan.

    Every adapted module stands in ``rank_pattern`` and ``alpha_pattern`` with its full, escaped
    path: PEFT takes the first pattern that fits, and one path can fit no other module. A module
    of rank 0 is left out of ``target_modules``, which is how PEFT leaves it alone. ``use_rslora``
    is set where the plan's alpha policy says so.

    Parameters
    ----------
    plan : RankPlan
    task_type : str
        PEFT's name for the kind of task, such as ``"SEQ_CLS"`` or ``"CAUSAL_LM"``.

    Returns
    -------
    peft.LoraConfig

    Raises
    ------
    AdaRankError
        If the task type is unknown.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"query": 4, "key": 0}, {"query": 8, "key": 0})
    >>> lora_config(plan).target_modules
    {'query'}
    """
    from peft import LoraConfig

    return LoraConfig(**_arguments(plan, task_type))


def _arguments(plan: RankPlan, task_type: str) -> dict:
    if task_type not in TASK_TYPES:
        raise AdaRankError(f"task_type is {task_type!r}; it must be one of {', '.join(TASK_TYPES)}")
    ranks = {name: rank for name, rank in plan.ranks.items() if rank > 0}
    if not ranks:
        raise AdaRankError("every rank of the plan is 0; at least one must be above 0")
    # Every module has its own entry, so the common rank decides nothing; the median is for readers.
    middle = sorted(ranks, key=ranks.get)[len(ranks) // 2]
    return {
        "task_type": task_type,
        "r": ranks[middle],
        "lora_alpha": plan.alpha[middle],
        "target_modules": list(ranks),
        "rank_pattern": {re.escape(name): rank for name, rank in ranks.items()},
        "alpha_pattern": {re.escape(name): plan.alpha[name] for name in ranks},
        "use_rslora": plan.alpha_policy == "rslora",
    }


def snippet(plan: RankPlan, task_type: str = "SEQ_CLS") -> str:
    """Return Python source that builds the plan's ``LoraConfig`` as ``config``.

    Examples
    --------
    >>> names = {}
    >>> exec(snippet(RankPlan("tiny", {"query": 4}, {"query": 8})), names)
    >>> names["config"].r
    4
    """
    arguments = _arguments(plan, task_type)
    lines = [
        "from peft import LoraConfig",
        "",
        f"# AdaRank's ranks for {plan.model!r}; use: model = get_peft_model(model, config)",
        "ranks = {",
        *(f"    {key!r}: {rank!r}," for key, rank in arguments["rank_pattern"].items()),
        "}",
        "alpha = {",
        *(f"    {key!r}: {alpha!r}," for key, alpha in arguments["alpha_pattern"].items()),
        "}",
        "config = LoraConfig(",
        f"    task_type={task_type!r},",
        f"    r={arguments['r']},",
        f"    lora_alpha={arguments['lora_alpha']},",
        "    target_modules=[",
        *(f"        {name!r}," for name in arguments["target_modules"]),
        "    ],",
        "    rank_pattern=ranks,",
        "    alpha_pattern=alpha,",
        *(["    use_rslora=True,"] if arguments["use_rslora"] else []),
        ")",
    ]
    return "\n".join(lines) + "\n"


def export(
    plan: RankPlan,
    output: str | Path,
    task_type: str = "SEQ_CLS",
    scores: Scores | None = None,
) -> list[Path]:
    """Write a plan into a folder in every form that it has.

    Parameters
    ----------
    plan : RankPlan
    output : str or pathlib.Path
        Made if missing; files of these names are replaced.
    task_type : str
    scores : Scores, optional
        Where given, the table and the report tell every module's layer, family, size and score.

    Returns
    -------
    list of pathlib.Path
        The files written: ``ranks.json``, ``adapter_config.json`` (PEFT's), ``lora_config.py`` (to
        paste), ``ranks.csv`` and ``report.html`` (one page, which needs no network).

    Raises
    ------
    AdaRankError
        If the folder cannot be written or holds a trained adapter, or the scores are of other
        modules.

    Examples
    --------
    >>> import tempfile
    >>> files = export(RankPlan("tiny", {"query": 4}, {"query": 8}), tempfile.mkdtemp())
    >>> [file.name for file in files]
    ['ranks.json', 'adapter_config.json', 'lora_config.py', 'ranks.csv', 'report.html']
    """
    output = Path(output)
    texts = {
        "lora_config.py": snippet(plan, task_type),
        "ranks.csv": ranks_csv(plan, scores),
        "report.html": report_html(plan, scores),
    }
    config = lora_config(plan, task_type)
    config.base_model_name_or_path = plan.model
    config.inference_mode = True
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (output / name).exists():  # whose adapter_config.json would be lost
            raise AdaRankError(f"{str(output)!r} holds a trained adapter; give another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "ranks.json", plan.to_dict())
        config.save_pretrained(output)
        for name, text in texts.items():
            (output / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise AdaRankError(f"{str(output)!r} cannot be written ({error.strerror})") from None
    return [output / name for name in ("ranks.json", "adapter_config.json", *texts)]


def write_json(path: Path, data: dict) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.json"
    >>> write_json(path, {"rank": 8})
    >>> json.loads(path.read_text())
    {'rank': 8}
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
