"""Every arm is drawn in a way of its own, on light and dark, for colour-blind people too."""

import doctest
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from adarank_core.comparison.arms import ARMS
from pages.parts.shared import arm_styles
from pages.parts.shared.arm_styles import ARM_STYLES, COLOURS, arm_style

CONFIG = Path(__file__).resolve().parents[4] / ".streamlit" / "config.toml"
# Machado, Oliveira & Fernandes (2009), full severity, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}


def linear(colour):
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ np.clip(rgb, 1e-3, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_examples():
    assert doctest.testmod(arm_styles).failed == 0


def test_every_arm_has_a_look_of_its_own():
    assert list(ARM_STYLES) == list(ARMS)
    files = [f"{at}.json" for at in range(7)]
    looks = [arm_style(arm, [*ARMS, *files]) for arm in (*ARMS, *files)]
    assert len({(one.colour, one.dash) for one in looks}) == len(looks)
    assert len({(one.colour, one.symbol) for one in looks}) == len(looks)
    assert {one.colour for one in looks} == set(COLOURS)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_line_stands_out_from_the_page(theme):
    """WCAG asks 3 to 1 of what is no text."""
    page = tomllib.loads(CONFIG.read_text())["theme"][theme]["backgroundColor"]
    for colour in COLOURS:
        dim, bright = sorted(linear(one) @ (0.2126, 0.7152, 0.0722) for one in (page, colour))
        assert (bright + 0.05) / (dim + 0.05) >= 3, colour


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_by_every_eye(sight):
    """Five times what can just be seen (2.3 in CIE Lab), as thin lines lie apart."""
    seen = {colour: lab(SIGHT[sight] @ linear(colour)) for colour in COLOURS}
    for first, second in combinations(COLOURS, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 11.5, (first, second)
