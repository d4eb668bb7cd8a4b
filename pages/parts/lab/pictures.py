"""How the rows of every study are drawn, by its name."""

from collections.abc import Callable, Mapping, Sequence

from pages.parts.lab import score_pictures, training_pictures
from pages.parts.lab.figures import Picture

__all__ = ["PICTURES", "pictures"]

#: How the rows of every study are drawn, by its name.
PICTURES: Mapping[str, Callable[[Sequence[Mapping]], list[Picture]]] = {
    "trials-and-texts": score_pictures.trials_and_texts,
    "text-source": score_pictures.text_source,
    "noise": score_pictures.noise,
    "transfer": training_pictures.transfer,
    "learning-rate": training_pictures.learning_rate,
    "rank-binds": training_pictures.rank_binds,
    "data-size": training_pictures.data_size,
    "generalisation": training_pictures.generalisation,
    "reset": score_pictures.reset,
    "which-score": score_pictures.which_score,
}


def pictures(study: str, rows: Sequence[Mapping]) -> list[Picture]:
    """Draw a study's rows; nothing as long as there is too little, or of an unknown study.

    Examples
    --------
    >>> pictures("reset", [])
    []
    """
    return PICTURES[study](rows) if study in PICTURES else []
