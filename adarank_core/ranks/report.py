"""A plan for people: a table for a spreadsheet, and a page to read or to print."""

import csv
import io
from html import escape

from adarank_core.errors import AdaRankError
from adarank_core.ranks.costs import module_parameters, uniform_rank
from adarank_core.ranks.intervals import plan_intervals
from adarank_core.ranks.plans import ALPHA_POLICIES, RankPlan
from adarank_core.scoring.labels import (
    family_colours,
    family_label,
    layer_label,
    module_label,
    of_texts,
    public_name,
)
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["ranks_csv", "report_html"]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what makes a spreadsheet compute a cell

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2330; --faint: #667; --line: #d9dde5;
        --bar: #0072B2; --uniform: #8a8f99; --whisker: #5d6370; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161d; --ink: #e6e9ef; --faint: #9aa3b2; --line: #2c3440; --bar: #56B4E9;
          --whisker: #c3c9d4; } }
body { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.note { color: var(--faint); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .6rem .15rem 0; border-bottom: 1px solid var(--line);
         overflow-wrap: anywhere; }
th { white-space: nowrap; }
td.number, th.number { text-align: right; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
rect.bar { fill: var(--bar); } path.whisker { stroke: var(--whisker); stroke-width: 1.5; }
line.uniform { stroke: var(--uniform); stroke-dasharray: 4 3; }
"""


def ranks_csv(plan: RankPlan, scores: Scores | None = None) -> str:
    """Return a plan as CSV text, one module a row.

    Parameters
    ----------
    plan : RankPlan
    scores : Scores, optional
        Adds layer (from 1, as in the app), family, size, LoRA parameters and score of every module.

    Returns
    -------
    str
        A cell that a spreadsheet would take for a formula starts with an apostrophe.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"query": 4, "=1+1": 2}, {"query": 8, "=1+1": 4})
    >>> ranks_csv(plan).splitlines()
    ['module,rank,alpha,scaling', 'query,4,8,2.0', "'=1+1,2,4,2.0"]
    """
    known = _modules_of(plan, scores)
    columns = ["module", "rank", "alpha", "scaling"]
    if known:
        columns += ["layer", "family", "in_features", "out_features", "lora_parameters"]
        columns += ["score", "standard_error"]
        parameters = module_parameters(scores, plan.ranks)
    scaling, text = plan.scaling, io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for name, rank in plan.ranks.items():
        row = [_cell(name), rank, plan.alpha[name], scaling.get(name, "")]
        if known:
            module = known[name]
            row += [module.layer + 1, _cell(module.family), module.in_features, module.out_features]
            row += [parameters[name], module.score, module.standard_error]
        writer.writerow(row)
    return text.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) or text.lstrip().startswith(FORMULA) else text


def report_html(plan: RankPlan, scores: Scores | None = None) -> str:
    """Return a plan as one HTML page: charts inside, no script, nothing fetched.

    Parameters
    ----------
    plan : RankPlan
    scores : Scores, optional
        Adds the average rank by layer and family, and every module's score.

    Returns
    -------
    str

    Examples
    --------
    >>> page = report_html(RankPlan("tiny", {"<query>": 4}, {"<query>": 8}))
    >>> "&lt;query&gt;" in page, "<script" in page
    (True, False)
    """
    known = _modules_of(plan, scores)
    average = uniform = sum(plan.ranks.values()) / len(plan.ranks)
    if known and {"by", "requested"} <= plan.budget.keys():
        uniform = uniform_rank(scores, plan)
    policy, model = plan.alpha_policy, escape(public_name(plan.model))
    parts = [
        f"<h1>LoRA ranks for {model}</h1>",
        f"<p>{len(plan.ranks)} modules, ranks {min(plan.ranks.values())} to "
        f"{max(plan.ranks.values())}, {average:.3g} on average.</p>",
        _budget_table(plan),
        f"<p><b>Alpha policy {escape(policy)}</b>: {escape(ALPHA_POLICIES[policy])}.</p>",
    ]
    bars = [(_label(known.get(name), name), rank) for name, rank in plan.ranks.items()]
    hues, spans = (), {}
    if known:
        layers, families, colours = {}, {}, family_colours(scores.families)
        for module in sorted(known.values(), key=lambda module: module.layer):
            layers.setdefault(layer_label(module.layer), []).append(plan.ranks[module.name])
        for family in scores.families:
            members = [name for name, module in known.items() if module.family == family]
            families[family_label(family)] = [plan.ranks[name] for name in members] or [0]
        parts += ["<h2>Average rank by layer</h2>", _bars(_averages(layers), uniform)]
        of_families = _bars(_averages(families), uniform, tuple(colours.values()))
        parts += ["<h2>Average rank by family</h2>", of_families]
        hues = [colours[known[name].family] for name in plan.ranks]
        spans = plan_intervals(scores, plan)
    whiskers = [spans[name] for name in plan.ranks] if spans else []
    parts += [
        "<h2>Every module</h2>",
        _bars(bars, uniform, hues, whiskers),
        _module_table(plan, known),
        f'<p class="note">Dashed: uniform ranks of the same budget, {uniform:.3g}. '
        + ("Whiskers: where 95 % of the ranks fall, by the scores' errors. " if spans else "")
        + "Layers count from 1, which is nearest the input. Made by AdaRank.</p>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>LoRA ranks for {model}</title>\n<style>{STYLE}</style>\n"
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _modules_of(plan: RankPlan, scores: Scores | None) -> dict[str, ModuleScore]:
    if scores is None:
        return {}
    modules = {module.name: module for module in scores.modules}
    for name in plan.ranks:
        if name not in modules:
            raise AdaRankError(
                f"the scores have no module {name!r}, which the ranks name; give the scores that "
                f"belong to the ranks (these are for {scores.model!r})"
            )
    return {name: modules[name] for name in plan.ranks}


def _averages(groups: dict[str, list[int]]) -> list[tuple[str, float]]:
    return [(name, sum(ranks) / len(ranks)) for name, ranks in groups.items()]


def _label(module: ModuleScore | None, name: str) -> str:
    return name if module is None else module_label(module)


def _budget_table(plan: RankPlan) -> str:
    """Draw the table of the budget, and what the scores were taken from."""
    rows = {}
    for key, value in plan.budget.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name}: {number}" for name, number in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
        rows[key.replace("_", " ")] = str(value)
    if plan.texts:
        rows["scored on"] = of_texts(plan.texts.get("source", "?"), plan.texts.get("count", "?"))
    for key in ("mode", "trials", "seed"):
        if getattr(plan, key) not in (None, ""):
            rows[key] = str(getattr(plan, key))
    if plan.scores_sha256:
        rows["scores sha256"] = plan.scores_sha256
    return (
        "<h2>Budget</h2>\n<table>"
        + "".join(
            f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>'
            for key, value in rows.items()
        )
        + "</table>"
    )


def _bars(rows: list[tuple[str, float]], uniform: float, hues=(), spans=()) -> str:
    """Draw horizontal bars, whiskers over their spans, and a dashed line at the uniform rank."""
    most = max([uniform, *(value for _, value in rows), *(high for _, high in spans)]) or 1
    left, width, step = 260, 560, 20
    height = step * len(rows) + 8
    across = left + width * uniform / most
    drawn = [
        f'<svg viewBox="0 0 900 {height}" role="img" '
        f'aria-label="average rank; the numbers are beside the bars">'
    ]
    for at, (label, value) in enumerate(rows):
        top, long = 4 + step * at, width * value / most
        whisker, end = "", long
        if spans:
            start, end = (width * bound / most for bound in spans[at])
            line = f"M{left + start:.1f} {top + 9}h{end - start:.1f}"
            ticks = "".join(f"M{left + x:.1f} {top + 6}v6" for x in (start, end))
            whisker = f'<path class="whisker" d="{line}{ticks}"/>' if end > start else ""
        short = label if len(label) <= 40 else "…" + label[-39:]
        fill = f' style="fill: {hues[at % len(hues)]}"' if hues else ""
        drawn.append(
            f"<g><title>{escape(label)}: {value:.3g}</title>"
            f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{escape(short)}</text>'
            f'<rect class="bar"{fill} x="{left}" y="{top + 2}" width="{long:.1f}" height="14"/>'
            f'{whisker}<text x="{left + max(long, end) + 6:.1f}" y="{top + 13}">'
            f"{value:.3g}</text></g>"
        )
    drawn.append(
        f'<line class="uniform" x1="{across:.1f}" x2="{across:.1f}" y1="0" y2="{height}"/></svg>'
    )
    return "".join(drawn)


def _module_table(plan: RankPlan, known: dict[str, ModuleScore]) -> str:
    heads = ["module", "rank", "alpha", "scaling"] + (["score", "± error"] if known else [])
    lines = ["<details><summary>Numbers</summary><table><tr>"]
    lines += [f'<th class="{"number" if at else ""}">{head}</th>' for at, head in enumerate(heads)]
    lines.append("</tr>")
    scaling = plan.scaling
    for name, rank in plan.ranks.items():
        scaled = f"{scaling[name]:.3g}" if rank else "–"
        cells = [str(rank), f"{plan.alpha[name]:g}", scaled]
        if known:
            cells += [f"{known[name].score:.4g}", f"{known[name].standard_error:.2g}"]
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        lines.append(f"<tr><td>{escape(name)}</td>{numbers}</tr>")
    lines.append("</table></details>")
    return "".join(lines)
