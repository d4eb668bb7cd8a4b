"""What a comparison was asked for, in words that several parts of the page use."""

from adarank_core.comparison.learning_rates import AUTO
from adarank_core.training.settings import Settings

__all__ = ["ALPHAS", "alpha_sentence", "rate_of", "rate_phrase", "rates_sentence"]

#: Alpha policy → what it is called.
ALPHAS = {
    "proportional": "alpha twice the rank",
    "constant": "one alpha for all",
    "rslora": "one alpha for all, by rsLoRA",
}


def rate_phrase(config: dict) -> str:
    """Say in a few words which learning rate a run's arms have.

    Examples
    --------
    >>> rate_phrase({"settings": {}}), rate_phrase({"settings": {}, "learning_rates": [0.1, 0.2]})
    ('learning rate 0.005', 'best learning rate of 0.1, 0.2')
    >>> rate_phrase({"settings": {}, "learning_rates": "auto"})
    'best learning rate from about 0.005 on'
    """
    rates, own = config.get("learning_rates"), f"{rate_of(config):g}"
    if rates == AUTO:
        return f"best learning rate from about {own} on"
    return f"best learning rate of {_listed(rates)}" if rates else f"learning rate {own}"


def rates_sentence(config: dict) -> str:
    """Say how a run's arms come to their learning rates.

    Examples
    --------
    >>> rates_sentence({"settings": {"learning_rate": 0.01}})
    '0.01 for all.'
    """
    rates, own = config.get("learning_rates"), f"{rate_of(config):g}"
    if not rates:
        return f"{own} for all."
    grid = (
        f"the same grid for all, {_listed(rates)}"
        if rates != AUTO
        else (f"steps of a factor of 2 around {own}, until the best was not at the end")
    )
    return (
        f"{grid}; each arm took the one with its lowest validation loss, over seeds that no arm is "
        "tested with, and the search counts in its seconds."
    )


def alpha_sentence(config: dict) -> str:
    """Say what a run's arms have for LoRA's alpha.

    Examples
    --------
    >>> alpha_sentence({})[:50]
    "twice the rank, so that LoRA's scaling is 2 in eve"
    """
    return {
        "proportional": "twice the rank, so that LoRA's scaling is 2 in every module",
        "constant": "one for all modules of all arms; LoRA's scaling is alpha over the rank",
        "rslora": "one for all modules of all arms; LoRA's scaling is alpha over the rank's root",
    }[config.get("alpha", "proportional")] + "; a plan from a file keeps its own."


def rate_of(config: dict) -> float:
    """Return the learning rate that a run was given, which a search goes around.

    Examples
    --------
    >>> rate_of({"settings": {}})
    0.005
    """
    return config["settings"].get("learning_rate", Settings.learning_rate)


def _listed(rates) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)
