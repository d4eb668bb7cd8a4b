"""What the terms on the pages mean, to be told where they stand."""

import re

__all__ = ["TERMS", "explained", "explained_in"]

#: A term as pages write it → what it means, in a sentence that a newcomer can follow.
TERMS = {
    "module": "one weight matrix of the model, such as a layer's query projection.",
    "noise": "random numbers added to a module's weights, as spread out as these are; the other "
    "modules stay as they are.",
    "noisy models": "the model with noise on one module, and all else as it is.",
    "trials": "how many noisy models there are of every module; a trial is one of them. Each is "
    "compared with every other, and more trials give smaller errors.",
    "heads": "a classifier's last layer does not exist before training; the score is the "
    "mean over all that could be drawn at random.",
    "logits": "the numbers that a model answers with, before they become probabilities.",
    "L1 distance": "the differences between two answers' logits, without their signs, added up.",
    "disagreement": "how far apart the answers of two noisy models are: the L1 distance of their "
    "logits, on average over texts and pairs.",
    "standard error": "how far a mean of so many trials is off, typically.",
    "seed": "the number that random draws begin with; the same one gives the same numbers.",
    "rank": "how many independent directions LoRA may change a module in; one more costs as many "
    "parameters as the module has inputs and outputs.",
    "loss": "how surprised the model is by the right answers, lower is better.",
    "nats": "the unit of loss: with a loss of x nats a text, the right answers were "
    "given a probability of e to the minus x (their geometric mean).",
    "accuracy": "the share of texts that were answered rightly.",
    "macro-F1": "for each class, the harmonic mean of how many of its texts were found and how "
    "many of those found are its own; then the mean over classes, large and small alike.",
    "AUC": "the probability that a text of one class scores higher than a text of the other; "
    "0.5 is guessing.",
    "validation": "texts that are not trained on, looked at on the way.",
    "test": "texts that are used once, at the very end.",
    "interval": "where the true difference lies, in 95 of 100 comparisons; wider where a "
    "comparison was looked at before.",
    "p, corrected": "how often chance alone would show as large a difference, corrected for "
    "reading several (Holm). Below 0.05 it counts as found, "
    "at the first look.",
    "smallest detectable": "the smallest true difference that so many seeds would show four times "
    "in five.",
    "Spearman": "rank correlation: 1 where two scores put the modules in the same order, 0 where "
    "the orders have nothing to do with each other.",
    "Kendall": "rank correlation by pairs: 1 where all pairs of modules are in the same order.",
    "learning rate": "how large a step training takes.",
    "steps": "updates of the weights, each from one batch of texts.",
    "batch size": "texts a step.",
    "arms": "ways of choosing ranks that are compared.",
    "repeats": "how often all is measured anew, with other draws.",
    "wanted": "the Spearman correlation of two draws that counts as stable.",
    "scale": "how strong the noise is, in standard deviations of the weights.",
}


def explained(*terms: str) -> str:
    """Return, as Markdown for a control's help, what some terms mean.

    Examples
    --------
    >>> explained("accuracy")
    '**Accuracy**: the share of texts that were answered rightly.'
    """
    return "\n\n".join(f"**{term[0].upper()}{term[1:]}**: {TERMS[term]}" for term in terms)


def explained_in(text: str) -> str | None:
    """Return what the terms in a text mean; None where it has none.

    Examples
    --------
    >>> explained_in("Spearman 0.95 between two draws")[:35]
    '**Spearman**: rank correlation: 1 w'
    """
    one_or_more = {term: re.escape(term.removesuffix("s")) + "(e?s)?" for term in TERMS}
    found = [
        term
        for term, pattern in one_or_more.items()
        if re.search(rf"\b{pattern}\b", text, re.IGNORECASE)
    ]
    return explained(*found) or None
