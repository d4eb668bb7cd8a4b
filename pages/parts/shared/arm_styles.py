"""How every arm is drawn, the same on all pages: a colour, a dash and a marker of its own.

Seven colours stand out on light and dark alike (3 to 1 at least), and colour-blind people can tell
any two of them apart. Arms of one colour differ in the dash of their lines and in their markers, so
that no picture hangs on colour alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pages.parts.shared.charts import ACCENT, GREY

__all__ = ["ARM_STYLES", "COLOURS", "ArmStyle", "arm_style"]

VERMILION, GREEN, BLUE, BROWN, MAGENTA = "#EA3A0E", "#13A764", "#0A8FC4", "#A1502F", "#C5339A"
COLOURS = (ACCENT, GREY, VERMILION, GREEN, BLUE, BROWN, MAGENTA)


@dataclass(frozen=True)
class ArmStyle:
    """A colour, a dash and a marker, as Plotly calls them."""

    colour: str
    dash: str
    symbol: str

    def line(self, width: float) -> dict:
        """Return a line of some pixels."""
        return {"color": self.colour, "dash": self.dash, "width": width}


# No arm is a plain diamond: that marks what was chosen.
ARM_STYLES = {
    "uniform": ArmStyle(GREY, "solid", "circle"),
    "adarank": ArmStyle(ACCENT, "solid", "square"),
    "adarank-generic": ArmStyle(ACCENT, "dash", "triangle-right"),
    "adarank-sentence": ArmStyle(ACCENT, "dot", "triangle-left"),
    "permuted": ArmStyle(VERMILION, "dash", "triangle-up"),
    "scale-only": ArmStyle(MAGENTA, "solid", "cross"),
    "uniform-double": ArmStyle(GREY, "dash", "hexagon"),
    "attention-only": ArmStyle(GREY, "dashdot", "star-square"),
    "mlp-only": ArmStyle(GREEN, "dot", "star-triangle-down"),
    "one-module": ArmStyle(ACCENT, "dashdot", "star"),
    "inverse": ArmStyle(VERMILION, "dot", "bowtie"),
    "ramp-up": ArmStyle(GREEN, "solid", "triangle-down"),
    "ramp-down": ArmStyle(GREEN, "dash", "hourglass"),
    "random": ArmStyle(VERMILION, "dashdot", "star-triangle-up"),
    "gradient": ArmStyle(BLUE, "dashdot", "octagon"),
    "snip": ArmStyle(BLUE, "dash", "triangle-ne"),
    "fisher": ArmStyle(BLUE, "dot", "triangle-se"),
    "lora-gradient": ArmStyle(BLUE, "solid", "pentagon"),
    "plop": ArmStyle(GREEN, "dashdot", "hexagram"),
    "weight-norm": ArmStyle(BROWN, "dot", "triangle-nw"),
    "stable-rank": ArmStyle(BROWN, "dashdot", "star-diamond"),
    "eva-ranks": ArmStyle(VERMILION, "solid", "diamond-tall"),
    "eva": ArmStyle(MAGENTA, "dash", "diamond-wide"),
    "eva-uniform": ArmStyle(GREY, "dot", "hexagon2"),
    "adalora": ArmStyle(MAGENTA, "dot", "triangle-sw"),
    "head-only": ArmStyle(BROWN, "solid", "x"),
    "full": ArmStyle(BROWN, "dash", "star"),
}
# Of ranks from files, in their order.
_OF_FILES = [
    ArmStyle(colour, "longdash", symbol)
    for colour, symbol in zip(
        (BLUE, MAGENTA, GREEN, VERMILION, BROWN, ACCENT, GREY),
        ("circle", "square", "triangle-up", "triangle-down", "cross", "x", "pentagon"),
        strict=True,
    )
]


def arm_style(arm: str, arms: Iterable[str]) -> ArmStyle:
    """Return how an arm is drawn; a file of ranks by its place among those of a comparison.

    Parameters
    ----------
    arm : str
    arms : iterable of str
        All arms of the comparison.

    Examples
    --------
    >>> arm_style("permuted", ["uniform", "permuted"]).dash
    'dash'
    >>> arm_style("mine.json", ["uniform", "mine.json"]).line(2)
    {'color': '#0A8FC4', 'dash': 'longdash', 'width': 2}
    """
    if arm in ARM_STYLES:
        return ARM_STYLES[arm]
    files = [other for other in arms if other not in ARM_STYLES]
    return _OF_FILES[files.index(arm) % len(_OF_FILES)]
