"""What a teacher takes along: a time plan, and a handout to print."""

import io
import re
from collections.abc import Sequence
from html import escape

import segno

from pages.parts.learn.lesson_data import Lesson, Step

__all__ = ["handout_html", "qr_png", "time_plan"]

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2330; background: #fff; max-width: 46rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .3rem; }
section { break-inside: avoid; }
table { border-collapse: collapse; } td, th { padding: .1rem .8rem .1rem 0; text-align: left; }
td.number, th.number { text-align: right; }
ol.choices { list-style: upper-alpha; } ol.plain { list-style: none; padding-left: 0; }
p.note, small { color: #555f70; } .why { color: #333c4d; } .right { font-weight: 600; }
svg { width: 9rem; height: 9rem; } .link { overflow-wrap: anywhere; }
"""
MARKED = (
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(.+?)\*"), r"<em>\1</em>"),
    (re.compile(r"`(.+?)`"), r"<code>\1</code>"),
)


def time_plan(steps: Sequence[Step]) -> list[tuple[str, str, int, int]]:
    """Return when each step begins, its name, and minutes for teaching and for doing.

    Examples
    --------
    >>> from pages.parts.learn.lesson_data import lesson
    >>> time_plan(lesson()["steps"])[1]
    ('0:05', 'Noise', 2, 3)
    """
    plan, minutes = [], 0
    for step in steps:
        begins = f"{minutes // 60}:{minutes % 60:02}"
        plan.append((begins, step["name"], step["teaching"], step["doing"]))
        minutes += step["teaching"] + step["doing"]
    return plan


def qr_png(link: str, scale: int = 8) -> bytes:
    """Draw a link as a QR code, black on white with its quiet zone, in this process.

    Examples
    --------
    >>> qr_png("http://192.0.2.7:8501/learn")[1:4]
    b'PNG'
    """
    image = io.BytesIO()
    segno.make(link, error="m", micro=False).save(image, kind="png", scale=scale, border=4)
    return image.getvalue()


def handout_html(
    words: Lesson, steps: Sequence[Step], link: str = "", with_answers: bool = False
) -> str:
    """Return a page to print, which needs no network.

    Parameters
    ----------
    words : Lesson
    steps : sequence of Step
        Those that are taught.
    link : str
        The room's, drawn as a QR code too; left out if empty.
    with_answers : bool
        Mark the right answers and explain all of them: for teachers.

    Returns
    -------
    str
        HTML; every word of the lesson in it is escaped.
    """
    parts = [f"<h1>{_inline(words['title'])}</h1>"]
    if link:
        code = segno.make(link, error="m", micro=False).svg_inline(omitsize=True, border=2)
        parts.append(f'{code}<p class="link">{escape(link)}</p>')
    rows = "".join(
        f'<tr><td class="number">{begins}</td><td>{escape(name)}</td>'
        f'<td class="number">{teaching}</td><td class="number">{doing}</td></tr>'
        for begins, name, teaching, doing in time_plan(steps)
    )
    parts.append(
        '<table><tr><th class="number">begins</th><th>step</th><th class="number">to teach</th>'
        f'<th class="number">to do</th></tr>{rows}</table>'
    )
    parts += [_section(at + 1, step, with_answers) for at, step in enumerate(steps)]
    language = "" if words["language"] != "English" else ' lang="en"'
    return (
        f'<!DOCTYPE html><html{language}><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(words["title"])}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _section(number: int, step: Step, with_answers: bool) -> str:
    choices = "".join(_choice(choice, with_answers) for choice in step["check"]["choices"])
    points = "".join(f"<li>{_inline(point)}</li>" for point in step["points"])
    return (
        f"<section><h2>{number}. {_inline(step['name'])}</h2>"
        f'<p class="note">{_inline(" ".join(step["questions"]))}</p>'
        f"<p>{_inline(step['objective'])}</p>"
        f"<p>☐ {_inline(step['task'])}</p>"
        f'<p>{_inline(step["check"]["question"])}</p><ol class="choices">{choices}</ol>'
        f"<ul>{points}</ul></section>"
    )


def _choice(choice: dict, with_answers: bool) -> str:
    text = _inline(choice["text"])
    if not with_answers:
        return f"<li>{text}</li>"
    mark, kind = (" ✓", "right") if choice.get("right") else ("", "wrong")
    why = _inline(choice["why"])
    return f'<li class="{kind}">{text}{mark}<br><span class="why">{why}</span></li>'


def _inline(text: str) -> str:
    """Escape a text, then turn its bold, italic and code signs into tags."""
    text = escape(text)
    for pattern, tag in MARKED:
        text = pattern.sub(tag, text)
    return text
