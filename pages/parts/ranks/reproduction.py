"""The plan on screen again, elsewhere: in a shell and in Python, each correct when pasted."""

import re
import shlex
from pprint import pformat

from pages.parts.shared import phrases

__all__ = ["python_lines", "shell_lines"]

FLAGS = {
    "average_rank": "--average-rank",
    "parameters": "--parameters",
    "budget_by": "--budget-by",
    "group_by": "--group-by",
    "min_rank": "--min-rank",
    "max_rank": "--max-rank",
    "temperature": "--temperature",
    "alpha_policy": "--alpha-policy",
}
DEFAULTS = {"group_by": "none", "min_rank": 1, "max_rank": None, "temperature": 1.0}
DEFAULTS |= {"alpha_policy": "proportional", "adaptive": False, "pinned": {}, "excluded": []}
OWN_FILE = "scores.json"


def shell_lines(shown, options: dict) -> str:
    """Return the shell commands that score, plan and export again.

    Parameters
    ----------
    shown : pages.parts.shared.state.Shown
        Where these are scores of a file, the lines begin with it: the person has it.
    options : dict
        Keyword arguments of `allocate`.
    """
    words = ["python", "-m", "adarank_core", "allocate", "--scores", OWN_FILE]
    asked = _asked(options)
    if asked.get("adaptive"):
        words.append("--adaptive")
    for option, flag in FLAGS.items():
        if option in asked:
            words += [flag, str(asked[option])]
    for name, rank in asked.get("pinned", {}).items():
        words += ["--pin", f"{name}={rank}"]
    for name in asked.get("excluded", []):
        words += ["--exclude", f"^{re.escape(name)}$"]
    export = "python -m adarank_core export --ranks ranks.json --scores scores.json"
    lines = [shlex.join([*words, "--json", "ranks.json"]), f"{export} --starter --output export"]
    if _is_known(shown):
        lines.insert(0, phrases.command(shown))
    return "\n".join(lines)


def python_lines(shown, options: dict) -> str:
    """Return Python source that plans again, as ``plan``, and its ``LoraConfig`` as ``config``.

    Parameters
    ----------
    shown, options
        As in `shell_lines`.
    """
    if _is_known(shown):
        source = phrases.snippet(shown)
    else:
        source = (
            "import json\n\nimport adarank_core as ar\n\n"
            f"with open({OWN_FILE!r}) as file:\n"
            "    scores = ar.Scores.from_dict(json.load(file))\n"
        )
    arguments = [f"    {name}={_literal(value)}," for name, value in _asked(options).items()]
    call = ["plan = ar.allocate(", "    scores,", *arguments, ")", "config = plan.lora_config()"]
    return source + "\n".join(call) + "\n"


def _is_known(shown) -> bool:
    """Tell whether it is known how the scores came about, which a file does not say."""
    return shown.kind != "your file"


def _asked(options: dict) -> dict:
    """Return the options that are not as they are by default."""
    return {
        name: value
        for name, value in options.items()
        if name not in DEFAULTS or value != DEFAULTS[name]
    }


def _literal(value) -> str:
    return pformat(value, width=88, sort_dicts=False).replace("\n", "\n    ")
