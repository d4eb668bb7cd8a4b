"""Turn a plan into what LoRA's users need: a ``LoraConfig``, a snippet, files."""

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.files import write_json, write_text
from adarank_core.ranks.card import model_card
from adarank_core.ranks.plans import WITH_HEAD, RankPlan
from adarank_core.ranks.report import ranks_csv, report_html
from adarank_core.ranks.starter import WEIGHTS, starter_weights, write_weights
from adarank_core.scoring.labels import public_name
from adarank_core.scoring.scores import Scores

__all__ = ["adapter_config", "export", "snippet", "starter_zip"]

STARTER = "starter-adapter"  # the folder in the archive


def snippet(plan: RankPlan, task_type: str | None = None) -> str:
    """Return Python source that builds the plan's ``LoraConfig`` as ``config``.

    Examples
    --------
    >>> names = {}
    >>> exec(snippet(RankPlan("tiny", {"query": 4}, {"query": 8})), names)
    >>> names["config"].r
    4
    """
    arguments, model = plan.lora_arguments(task_type), public_name(plan.model)
    lines = [
        "from peft import LoraConfig",
        "",
        f"# AdaRank's ranks for {model!r}; use: model = get_peft_model(model, config)",
        "ranks = {",
        *(f"    {key!r}: {rank!r}," for key, rank in arguments["rank_pattern"].items()),
        "}",
        "alpha = {",
        *(f"    {key!r}: {alpha!r}," for key, alpha in arguments["alpha_pattern"].items()),
        "}",
        "config = LoraConfig(",
        f"    task_type={arguments['task_type']!r},",
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


def adapter_config(plan: RankPlan, task_type: str | None = None, head: bool = True) -> str:
    """Return the text of PEFT's ``adapter_config.json`` for a plan; imports peft.

    Parameters
    ----------
    plan : RankPlan
    task_type : str, optional
        The plan's own if not given.
    head : bool
        Whether PEFT is to look for a head beside LoRA where the task type has one. For weights
        without it no task type is named, for PEFT would not load them.

    Examples
    --------
    >>> '"peft_type": "LORA"' in adapter_config(RankPlan("tiny", {"query": 4}, {"query": 8}))
    True
    """
    config = plan.lora_config(task_type)
    config.base_model_name_or_path = public_name(plan.model)
    config.inference_mode = True
    if not head and config.task_type in WITH_HEAD:
        config.task_type = None
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=sorted) + "\n"


def export(
    plan: RankPlan,
    output: str | Path,
    task_type: str | None = None,
    scores: Scores | None = None,
    starter: Mapping[str, tuple[int, int]] | None = None,
) -> list[Path]:
    """Write a plan into a folder in every form that it has.

    Parameters
    ----------
    plan : RankPlan
    output : str or pathlib.Path
        Made if missing; files of these names are replaced.
    task_type : str, optional
        The plan's own if not given.
    scores : Scores, optional
        Where given, the table and the report tell every module's layer, family, size and score.
    starter : mapping of str to (int, int), optional
        in_features and out_features of every module. Where given, the weights of an untrained
        adapter are written too, from which other programs go on
        (`adarank_core.ranks.starter.starter_weights`).

    Returns
    -------
    list of pathlib.Path
        The files written: ``ranks.json``, ``adapter_config.json`` (PEFT's), ``lora_config.py`` (to
        paste), ``ranks.csv``, ``report.html`` (one page, which needs no network), ``README.md``
        (a model card), and the starter's ``adapter_model.safetensors``.

    Raises
    ------
    AdaRankError
        If the folder cannot be written or holds an adapter's weights, or the scores or sizes are
        of other modules.

    Examples
    --------
    >>> import tempfile
    >>> files = export(RankPlan("tiny", {"query": 4}, {"query": 8}), tempfile.mkdtemp())
    >>> [file.name for file in files]
    ['ranks.json', 'adapter_config.json', 'lora_config.py', 'ranks.csv', 'report.html', 'README.md']
    """
    output = Path(output)
    texts = {
        "adapter_config.json": adapter_config(plan, task_type, head=starter is None),
        "lora_config.py": snippet(plan, task_type),
        "ranks.csv": ranks_csv(plan, scores),
        "report.html": report_html(plan, scores),
        "README.md": model_card(plan, scores, starter=starter is not None),
    }
    weights = None if starter is None else starter_weights(plan, starter)
    for name in (WEIGHTS, "adapter_model.bin"):
        if (output / name).exists():  # whose adapter_config.json would be lost
            raise AdaRankError(f"{str(output)!r} holds an adapter's weights; give another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "ranks.json", plan.to_dict())
        for name, text in texts.items():
            write_text(output / name, text)
        if weights is not None:
            write_weights(weights, output / WEIGHTS)
    except OSError as error:
        reason = error.strerror or error
        raise AdaRankError(f"{str(output)!r} cannot be written ({reason})") from None
    return [output / name for name in ("ranks.json", *texts, *([WEIGHTS] if weights else ()))]


def starter_zip(plan: RankPlan, scores: Scores) -> bytes:
    """Return all of `export`, with an untrained adapter, as a zip archive of one folder.

    Parameters
    ----------
    plan : RankPlan
    scores : Scores
        Tell the modules' sizes.

    Raises
    ------
    AdaRankError
        As `export` does.

    Examples
    --------
    >>> from adarank_core.ranks.allocation import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("0.query", 0, "query", 64, 64, 1.0, 0.0)
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,))
    >>> archive = io.BytesIO(starter_zip(allocate(scores, 8), scores))
    >>> zipfile.ZipFile(archive).namelist()[-1]
    'starter-adapter/adapter_model.safetensors'
    """
    sizes = {module.name: (module.in_features, module.out_features) for module in scores.modules}
    content = io.BytesIO()
    with (
        tempfile.TemporaryDirectory(prefix="adarank-") as folder,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in export(plan, folder, scores=scores, starter=sizes):
            archive.write(path, f"{STARTER}/{path.name}")
    return content.getvalue()
