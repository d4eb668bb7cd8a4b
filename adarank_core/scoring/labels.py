"""What people call models, layers, families and modules, and the families' colours."""

import re
from collections.abc import Iterable
from pathlib import Path

from adarank_core.scoring.scores import ModuleScore

__all__ = [
    "FAMILY_COLOURS",
    "UNNAMED_MODEL",
    "family_colours",
    "family_label",
    "layer_label",
    "module_label",
    "of_texts",
    "public_name",
]

# Okabe and Ito's hues, which colour-blind people can tell apart too; these six can be read on
# light and dark.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2")
FAMILY_COLOURS = dict(
    zip(
        ("query", "key", "value", "attention.output", "intermediate", "output"),
        OKABE_ITO,
        strict=True,
    )
)
# What is written in a paper's figure rather than in a checkpoint.
FAMILY_LABELS = {
    "attention.output": "attention output",
    "intermediate": "feed-forward in",
    "output": "feed-forward out",
}
#: What a model that came with AdaRank is called on the Hub: its weights are that one's, to the
#: byte.
HUB_NAMES = {"embedded": "sentence-transformers/all-MiniLM-L6-v2"}
#: Stands where a file for other programs would name a folder of this machine.
UNNAMED_MODEL = "<path or id of the base model>"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")


def public_name(model: str) -> str:
    """Return what other programs and other machines know a model by.

    A Hub id is what it is. A local folder has no name elsewhere, and gives ``UNNAMED_MODEL``.

    Parameters
    ----------
    model : str
        As given to `adarank_core.load_model`.

    Examples
    --------
    >>> public_name("embedded"), public_name("org/model"), public_name("/srv/models/mine")
    ('sentence-transformers/all-MiniLM-L6-v2', 'org/model', '<path or id of the base model>')
    """
    if model in HUB_NAMES:
        return HUB_NAMES[model]
    if not HUB_ID.fullmatch(model):
        return UNNAMED_MODEL
    try:
        return UNNAMED_MODEL if Path(model).exists() else model
    except OSError:  # a name that is too long for a folder
        return model


def family_label(family: str) -> str:
    """Return what people call a family of modules.

    Examples
    --------
    >>> family_label("intermediate"), family_label("c_attn")
    ('feed-forward in', 'c_attn')
    """
    return FAMILY_LABELS.get(family, family)


def layer_label(layer: int) -> str:
    """Return a layer's name for people, who count from 1.

    Examples
    --------
    >>> layer_label(0)
    'layer 1'
    """
    return f"layer {layer + 1}"


def module_label(module: ModuleScore) -> str:
    """Return a module's short name for people.

    Examples
    --------
    >>> module_label(ModuleScore("block.4.query", 4, "query", 8, 8, 0.5, 0.1))
    'layer 5 · query'
    """
    return f"{layer_label(module.layer)} · {family_label(module.family)}"


def of_texts(source: str, count: int | str) -> str:
    """Say what kind of texts these are, and how many.

    Examples
    --------
    >>> of_texts("generic", 16), of_texts("sentence", 1)
    ('16 generic texts', 'one sentence')
    """
    return "one sentence" if source == "sentence" else f"{count} {source} texts"


def family_colours(families: Iterable[str]) -> dict[str, str]:
    """Give every family its colour; families of other models take the hues in their order.

    Examples
    --------
    >>> family_colours(["value", "c_attn"]) == {"value": "#009E73", "c_attn": "#56B4E9"}
    True
    """
    return {
        family: FAMILY_COLOURS.get(family, OKABE_ITO[at % len(OKABE_ITO)])
        for at, family in enumerate(families)
    }
