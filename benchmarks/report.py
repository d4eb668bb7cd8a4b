"""Draw the README's tables of evidence, and plots, from ``benchmarks/results``.

Run it from the repository's root: ``python benchmarks/report.py`` writes the tables between two
marks in the README, ``--check`` tells whether they stand there, and ``--plots FILE`` writes one
page with the search of every arm's learning rate and the intervals. No number is typed by hand.
"""

import argparse
import html
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core.comparison.arms import ARMS
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, read_text, write_text
from adarank_core.numerals import signed
from adarank_core.training.settings import Settings
from benchmarks.improvements import VARIANTS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
START, END = "<!-- evidence: drawn by benchmarks/report.py -->", "<!-- end of evidence -->"
FOLDERS = ("one_rate", "improvements", "confirmation")
FORMAT = "adarank-evidence/1"
GLANCE = (
    "Differences of test losses, each arm at its own best rate, mean over seeds ± half of the 95% "
    "interval; below 0 the first is better. **Bold**: better or worse; ≈: no practical difference, "
    "surely smaller than the margin, even where it is surely not 0; all others: too few seeds to "
    "tell. These words are corrected for all comparisons of a task and the intervals are not, so "
    "that one without 0 is not always bold."
)
ROWS = (
    "Each arm at its own best rate. An arm of 5 seeds is held against uniform's same 5, so that "
    "the difference is not that of the mean losses here:"
)
LOW = (
    "What a comparison would have claimed that gives every arm one untuned rate, here a fifth of "
    "uniform's best:"
)
ONE_RATE = (
    "Asked after the tables above had been read (`benchmarks/one_rate.py`), at uniform's best "
    "rate, with the margin of above: what stays where the search had chosen unlike rates for arms "
    "that were told apart, and does twice the rank help (`uniform-double`, whose steps are larger, "
    "too, and whose own rate was not searched)?"
)
TRIED = (
    "What was tried to improve on AdaRank (`benchmarks/improvements.py`): each variant is one plan "
    "for 5 seeds, at its own best rate, measured on training rows that were held out; the test "
    "rows were left alone. Noise of LoRA's rank is scored by the paired estimator with 4 pairs, "
    "all else by the fast one. Mean over seeds ± half of the 95% interval; what is not bold: no "
    "detectable difference."
)
CONFIRMED = (
    "The one of them that had the lowest mean against `adarank-plain`, fixed before it was trained "
    "on any of these tasks, on their test rows (`benchmarks/confirmation.py`, 10 seeds; "
    "`restaurant_prices` and `sciences` are of `benchmarks/unseen_tasks.py`), with uniform ranks "
    "and AdaRank's own trained beside it:"
)
GUESSING = 0.95  # of the loss of guessing from the classes' frequencies
NOTHING = "No results yet: `python benchmarks/evidence.py --output DIR` makes them."


def read_results(folder: Path = RESULTS) -> list[dict]:
    """Read all files of results, the largest number of arms first, then by name."""
    found = [read_json(path) for path in sorted(folder.glob("*.json"))]
    return [result for result in found if result.get("format") == FORMAT]


def report(
    results: Sequence[dict],
    one_rate: Sequence[dict] = (),
    tried: Sequence[dict] = (),
    confirmed: Sequence[dict] = (),
) -> str:
    """Return the tables and what stands above them, as Markdown.

    Parameters
    ----------
    results : sequence of dict
        One file of ``benchmarks/results`` each.
    one_rate, tried, confirmed : sequence of dict
        Those of its folders ``one_rate``, ``improvements`` and ``confirmation``.
    """
    if not results:
        return NOTHING
    questions = {name: arm.question for name, arm in ARMS.items()}
    parts = [_about(results), _words(results, questions), GLANCE, _glance(results, "best_rate")]
    low = any(result["low_rate"]["arms"] for result in results)
    if low:
        parts += [LOW, _glance(results, "low_rate")]
    parts += _notes(results)
    if one_rate:
        parts += [ONE_RATE, _glance(one_rate, "best_rate"), _of_tasks(one_rate), *_notes(one_rate)]
    parts += ["<details><summary>All rows</summary>", ROWS]
    parts += _rows(results, "best_rate")
    if low:
        parts += [LOW, *_rows(results, "low_rate")]
    parts += ["</details>"]
    if tried:
        parts += [TRIED, _words(tried, VARIANTS), _glance(tried, "best_rate", mean=True)]
        parts += _notes(tried)
    if confirmed:
        parts += [CONFIRMED, _glance(confirmed, "best_rate"), _of_tasks(confirmed)]
        parts += _notes(confirmed)
    return "\n\n".join(parts)


def _words(results: Sequence[dict], words: Mapping[str, str]) -> str:
    """Return a table of what the arms are, of those that there are words for."""
    arms = dict.fromkeys(arm for result in results for arm in result["best_rate"]["arms"])
    return _table(("arm", "what it is"), [(arm, words[arm]) for arm in arms if arm in words])


def _rows(results: Sequence[dict], block: str) -> list[str]:
    """Return a table of all arms, and one of what is not held against uniform ranks."""
    against = [
        [result["task"], c["arm"], c["against"], c["seeds"], _difference(c), c["verdict"]]
        for result in results
        for c in result[block]["comparisons"]
        if c["against"] != "uniform"
    ]
    names = ("task", "arm", "against", "seeds", "difference of losses (95% interval)", "verdict")
    return [_arms(results, block), *([_table(names, against)] if against else [])]


def _glance(results: Sequence[dict], block: str, mean: bool = False) -> str:
    """Return a table of all that is compared, a column for each task, and one for their mean."""
    compared = {
        result["task"]: {(c["arm"], c["against"]): c for c in result[block]["comparisons"]}
        for result in results
        if result[block]["comparisons"]
    }
    pairs = dict.fromkeys(pair for of_task in compared.values() for pair in of_task)
    rows = []
    for pair in sorted(pairs, key=lambda pair: pair[1] != "uniform"):
        found = [of_task.get(pair) for of_task in compared.values()]
        row = [" − ".join(pair), *("" if c is None else _short(c) for c in found)]
        if mean:
            row.append(signed(statistics.fmean(c["difference"] for c in found if c)))
        rows.append(row)
    return _table(["test loss of", *compared, *["mean"] * mean], rows)


def _short(compared: dict) -> str:
    found, verdict = signed(compared["difference"]), compared["verdict"]
    if "ci_low" in compared:
        found += f" ± {(compared['ci_high'] - compared['ci_low']) / 2:.3f}"
    marks = {"better": "**{}**", "worse": "**{}**", "no practical difference": "{} ≈"}
    return marks.get(verdict, "{}").format(found)


def _about(results: Sequence[dict]) -> str:
    first, settings = results[0], results[0]["settings"]
    parameters = first["best_rate"]["arms"].get("uniform", {}).get("lora_parameters")
    size = "" if parameters is None else f" ({parameters:,} LoRA parameters)"
    return (
        f"Model {first['model']}, average rank {first['average_rank']}{size}, {settings['steps']} "
        f"steps of {settings['batch_size']} texts. {_of_tasks(results)} Intervals are of the "
        "paired t-test over seeds, and after the semicolon over other test texts too; the verdicts "
        "are after Holm's correction over all comparisons of a task at these rates. The margin, "
        "below which a difference is of no interest, is a tenth of what uniform gains over "
        "head-only at its best rate."
    )


def _of_tasks(results: Sequence[dict]) -> str:
    """Say what is each task's own: rows, how much of a text is read, margin, machine, time."""
    rows, usual = [], Settings().max_length
    for result in results:
        rows.append(
            f"{result['task']} {result['rows']['train']:,}, {result['rows']['validation']:,} and "
            f"{result['rows']['test']:,} in {result['labels']} classes"
        )
        if result["settings"]["max_length"] != usual:
            rows[-1] += f", of each text {result['settings']['max_length']} tokens"
    margins = [
        f"{result['task']} {margin:.3f}"
        for result in results
        if (margin := result["best_rate"].get("smallest_of_interest")) is not None
    ]
    seconds = sum(
        arm.get("search_seconds", 0) + sum(run.get("train_seconds", 0) for run in arm["runs"])
        for result in results
        for block in ("best_rate", "low_rate")
        for arm in result[block]["arms"].values()
    )
    return (
        f"Rows to train on, to validate and to test: {'; '.join(rows)}. "
        + f"Margins: {', '.join(margins)}. " * bool(margins)
        + f"{_machines(results)} All trainings, one after the "
        f"other, would take {seconds / 3600:.1f} hours."
    )


def _machines(results: Sequence[dict]) -> str:
    """Say on what kind of machine which tasks were trained; none is named where it was one."""
    found: dict[str, list[str]] = {}
    for result in results:
        for machine in result["machines"]:
            versions = ", ".join(
                f"{name} {machine[name]}"
                for name in ("python", "torch", "transformers", "peft")
                if name in machine
            )
            kind = f"{machine['system']}, {machine['processor']}, {machine['device']}"
            native = "with" if machine["bfloat16 is native"] else "without"
            threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)} a process"
            text = f"{kind} {native} native bfloat16, {threads}, {versions}"
            tasks = found.setdefault(text, [])
            tasks += [result["task"]] * (result["task"] not in tasks)
    told = [text if len(found) == 1 else f"{text} ({', '.join(found[text])})" for text in found]
    return f"Machine: {'; '.join(told)}."


def _arms(results: Sequence[dict], block: str) -> str:
    rows = []
    for result in results:
        compared = {c["arm"]: c for c in result[block]["comparisons"] if c["against"] == "uniform"}
        for arm, found in result[block]["arms"].items():
            own = compared.get(arm)
            edge = " (at the end of the grid)" * found.get("learning_rate_at_edge", False)
            rows.append(
                [
                    result["task"],
                    arm,
                    f"{found['learning_rate']:g}{edge}",
                    len(found["runs"]),
                    f"{_mean(found, 'test_loss'):.3f}",
                    f"{_mean(found, 'test_accuracy'):.1%}",
                    _difference(own) if own else "",
                    own["verdict"] if own else "",
                ]
            )
    names = ("task", "arm", "learning rate", "seeds", "test loss", "accuracy")
    return _table((*names, "loss minus uniform's (95% interval)", "verdict"), rows)


def _mean(arm: dict, metric: str) -> float:
    return statistics.fmean(run[metric] for run in arm["runs"])


def _difference(compared: dict) -> str:
    found = signed(compared["difference"])
    if "ci_low" not in compared:
        return found
    told = f"{found} ({signed(compared['ci_low'])} to {signed(compared['ci_high'])})"
    if "ci_low_texts" not in compared:
        return told
    return f"{told}; {signed(compared['ci_low_texts'])} to {signed(compared['ci_high_texts'])}"


def _notes(results: Sequence[dict]) -> list[str]:
    """Say what is not finished, what failed, and which trainings have learned nothing."""
    notes = []
    for result in results:
        for block, where in (("best_rate", ""), ("low_rate", " at the low rate")):
            missing, failed = result[block]["missing"], result[block]["failed"]
            if missing:
                notes.append(f"Not finished on {result['task']}{where}: {', '.join(missing)}.")
            notes += [
                f"{arm} failed on {result['task']}{where}: {why}." for arm, why in failed.items()
            ]
            nothing = {
                arm: sum(
                    run["test_loss"] > GUESSING * result["guessing"]["loss"]
                    for run in found["runs"]
                )
                for arm, found in result[block]["arms"].items()
            }
            if any(nothing.values()):
                each = ", ".join(
                    f"{count} of {len(result[block]['arms'][arm]['runs'])} of {arm}"
                    for arm, count in nothing.items()
                    if count
                )
                notes.append(f"Trainings that end at guessing on {result['task']}{where}: {each}.")
    return notes


def _table(names: Sequence[str], rows: Sequence[Sequence]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def in_readme(readme: str, text: str) -> str:
    """Return a README with a text between its marks.

    Raises
    ------
    AdaRankError
        If the marks are not there, once each and in order.

    Examples
    --------
    >>> in_readme(f"before {START} old {END} after", "new").split("\\n\\n")[1]
    'new'
    """
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end) or START in rest or END in tail:
        raise AdaRankError(f"the README has not {START!r} and {END!r} once each; write them there")
    return f"{head}{START}\n\n{text}\n\n{END}{tail}"


def plots(results: Sequence[dict]) -> str:
    """Return a page with two pictures a task: the search of the rates, and the differences."""
    import plotly.graph_objects as go

    parts = []
    for result in results:
        arms, name = result["best_rate"]["arms"], html.escape(result["task"])
        search = go.Figure(layout={"title": f"{name}: which learning rate?"})
        for arm, found in arms.items():
            curve = [(float(rate), loss) for rate, loss in found.get("validation_loss", {}).items()]
            search.add_scatter(x=[x for x, _ in curve], y=[y for _, y in curve], name=arm)
        search.update_xaxes(type="log", title="learning rate")
        search.update_yaxes(title="validation loss (nats a text, mean of the search's seeds)")
        pairs = [c for c in result["best_rate"]["comparisons"] if "ci_low" in c]
        told = go.Figure(layout={"title": f"{name}: difference of test losses, 95% interval"})
        told.add_scatter(
            x=[c["difference"] for c in pairs],
            y=[f"{c['arm']} minus {c['against']}" for c in pairs],
            error_x={"array": [c["ci_high"] - c["difference"] for c in pairs]},
            mode="markers",
        )
        told.update_xaxes(title="difference of test losses (nats a text); below 0 is better")
        parts += [f.to_html(full_html=False, include_plotlyjs=False) for f in (search, told)]
    from plotly.offline import get_plotlyjs

    return f"<meta charset='utf-8'><script>{get_plotlyjs()}</script>{''.join(parts)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables into the README, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where it differs")
    parser.add_argument("--plots", type=Path, help="write this HTML file, and no README")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=README)
    given = parser.parse_args(arguments)
    try:
        results = read_results(given.results)
        others = [read_results(given.results / name) for name in FOLDERS]
        if given.plots:
            write_text(given.plots, plots(results))
            return 0
        readme = read_text(given.readme)
        wanted = in_readme(readme, report(results, *others))
        if wanted == readme:
            return 0
        if given.check:
            print("the README is not what benchmarks/report.py prints; run it", file=sys.stderr)
            return 1
        write_text(given.readme, wanted)
    except AdaRankError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
