"""Learn: the idea in five short steps, each with a toy of real numbers beside it."""

import numpy as np
import pandas as pd
import streamlit as st

from adarank_core.comparison.verdicts import Verdict, describe, verdict_of
from adarank_core.files import read_json
from adarank_core.ranks.allocation import allocate, uniform_plan
from adarank_core.scoring import lesson
from pages.parts.learn import lesson_figures
from pages.parts.learn.lesson_layout import draw_check, draw_data, reading_columns, unbroken
from pages.parts.learn.noisy_models import LESSON, choose_modules, draw_sentence_form
from pages.parts.shared import charts, curves, phrases, state
from pages.parts.shared.link import linked

CHECKS = ("check_rank", "check_disagreement", "check_permuted")
MODULES = state.example_scores("generic").modules


def what_a_rank_is() -> None:
    """Step 1: a module's change as a product of two thin matrices."""
    state.sidebar()
    stored = read_json(LESSON / "spectrum.json")
    module = next(module for module in MODULES if module.name == stored["module"])
    rows, width = stored["out_features"], stored["in_features"]
    layers = len({module.layer for module in MODULES})
    kept = lesson.energy_kept(stored["singular_values"])
    st.header("A rank limits how freely a module may change", anchor=False)
    left, right = reading_columns()
    with left:
        st.markdown(f"""
A language model is built from **modules**. The ones that matter here are matrices: tables of
numbers, called **weights**, that turn one list of numbers into another. MiniLM, the small model
in this lesson, has {len(MODULES)} of them, {len(MODULES) // layers} in each of its {layers} layers.

**Fine-tuning** teaches a model a new task by changing its weights. The module shown here turns
{width:,} numbers into {rows:,}. Changing it freely means learning {rows * width:,} numbers.

**LoRA** is thriftier. It leaves the weight *W* as it is and learns only a change, written as the
product of two thin matrices:""")
        st.latex(r"W_{\text{new}} = W + s \cdot B A")
        st.markdown(f"""
*B* has *r* columns and *A* has *r* rows; *s* is a fixed number. This *r* is the **rank**. A small
rank means few numbers to learn, and few independent directions in which the module can change.

Mind the difference: the rank limits the **change**, not the weight. The curve shows why that
matters. Even the best copy of this weight with rank 8 would keep only {kept[7]:.0%} of its energy
(the sum of its squared numbers). LoRA loses none of it: *W* stays whole at any rank.

Ordinary LoRA gives every module the same rank. But do all modules deserve the same?""")
    with right:
        powers = [2**power for power in range(9)]
        rank = st.select_slider(
            "Rank r", [*powers, width], 8, key="lesson_rank", persist_state="session"
        )
        thin, full = rank * (rows + width), rows * width
        st.plotly_chart(
            lesson_figures.thin_matrices(width, rows, rank),
            width="stretch",
            key="thin",
            alt=f"The change, {rows} by {width}, as the product of two matrices of rank {rank}",
        )
        larger = " The thin matrices now hold more than the weight itself." * (thin > full)
        st.markdown(
            f"LoRA learns {rank} × ({rows:,} + {width:,}) = **{thin:,}** numbers. The weight has "
            f"{rows:,} × {width:,} = **{full:,}**. That is **{thin / full:.1%}** of it.{larger}"
        )
        st.plotly_chart(
            lesson_figures.energy_curve(kept, rank),
            width="stretch",
            key="energy",
            alt=f"Energy that the best copy of each rank keeps: {kept[rank - 1]:.0%} at {rank}",
        )
        state.badge("stored example", f"embedded model · {charts.module_label(module)}")
        ranks = np.arange(1, len(kept) + 1)
        table = {"rank": ranks, "numbers LoRA learns": ranks * (rows + width), "energy kept": kept}
        draw_data(pd.DataFrame(table), "rank")
    draw_check(
        "check_rank",
        "LoRA of rank 8 has changed a module. What has rank 8 at most?",
        {
            "The module's new weight": "The weight was whole before, and adding a small change "
            "does not cut it down. Only what LoRA adds is limited.",
            "The change of the weight": "The change is a product of a matrix with 8 columns and "
            "one with 8 rows. The weight that it is added to is not limited.",
            "The number of modules that change": "LoRA may change every module. The rank limits "
            "how freely each one may change.",
        },
        right="The change of the weight",
    )


def what_noise_does() -> None:
    """Step 2: logits of noisy models around those of the untouched one."""
    choice = state.sidebar()
    head = st.container()
    left, right = reading_columns()
    with right:
        drawn, names, noisy_modules = choose_modules(MODULES)
        st.plotly_chart(
            lesson_figures.logits_plane(drawn.clean, noisy_modules),
            width="stretch",
            key="plane",
            alt="The two logits of noisy models as dots around those without noise",
        )
        draw_sentence_form(choice, drawn, names)
        rows = [("no noise", 0, *drawn.clean)]
        for module in noisy_modules:
            rows += [(module.label, at + 1, *pair) for at, pair in enumerate(module.values)]
        draw_data(pd.DataFrame(rows, columns=["noise on", "draw", "logit 1", "logit 2"]), "logits")
    shifts = [lesson.mean_shift(module.values, drawn.clean) for module in noisy_modules]
    labels = [unbroken(module.label) for module in noisy_modules]
    moved = " and ".join(
        f"{charts.number(shift)} with noise on {label}"
        for label, shift in zip(labels, shifts, strict=True)
    )
    title = f"Noise on {labels[0]} moves the answer by {charts.number(shifts[0])}"
    if len(noisy_modules) == 2:
        high, low, ratio = lesson_figures.contrast(labels, shifts)
        title = f"Noise on {high} moves the answer about {ratio} as far as noise on {low}"
    head.header(title, anchor=False)
    left.markdown(f"""
Which modules deserve a high rank? AdaRank asks before any training: shake one module, and see how
much the model's answer moves.

Here the answer to a sentence is its **logits**: one number a class, before they are turned into
probabilities. With two classes an answer is a point in a plane. The star is the answer of the
model as it is.

Each other mark is the answer to the same sentence with random **noise** added to the weight of
*one* module; all others stay as they are. The noise is new for every mark, and as strong as
the weight itself: the same standard deviation, which is the typical size of the weight's ups and
downs.

On average, the answer moves by {moved} (the sum of both logits' moves).

To be honest about the position of the star: it means nothing. The last piece of the model, the
**head**, which makes the logits, is fresh and random here, drawn from the seed, because no task
has been learnt yet. What counts is how far the marks scatter.""")


def what_disagreement_is() -> None:
    """Step 3: the mean distance of two noisy models, as pairs come in."""
    choice = state.sidebar()
    head = st.container()
    left, right = reading_columns()
    with right:
        drawn, names, noisy_modules = choose_modules(MODULES)
        running = [
            lesson_figures.NoisyModule(
                module.label,
                module.colour,
                np.column_stack(lesson.running_mean(lesson.pair_distances(module.values))),
            )
            for module in noisy_modules
        ]
        most = len(running[0].values)
        pairs = st.slider(
            "Pairs that have come in", 2, most, 10, key="lesson_pairs", persist_state="session"
        )
        st.plotly_chart(
            lesson_figures.running_means(running, pairs),
            width="stretch",
            key="running",
            alt="Mean distance of a pair of noisy models as pairs come in, with its error",
        )
        under = st.container()
        draw_sentence_form(choice, drawn, names)
        rows = [
            (module.label, at + 1, *values)
            for module in running
            for at, values in enumerate(module.values)
        ]
        titles = ["noise on", "pairs", "mean distance", "standard error"]
        draw_data(pd.DataFrame(rows, columns=titles), "disagreement")
    so_far = [module.values[pairs - 1] for module in running]
    labels = [unbroken(module.label) for module in running]
    found = " and ".join(
        f"**{charts.with_error(*values)}** for {label}"
        for label, values in zip(labels, so_far, strict=True)
    )
    under.markdown(f"After {pairs} pairs the disagreement is {found}.")
    title = f"Noisy models of {labels[0]} disagree by {charts.number(so_far[0][0])}"
    if len(running) == 2:
        high, low, ratio = lesson_figures.contrast(labels, [mean for mean, _ in so_far])
        title = f"Noisy models of {high} disagree about {ratio} as much as those of {low}"
    head.header(title, anchor=False)
    with left:
        st.markdown("""
AdaRank does not measure the way to the star. It takes **two** noisy models of the same module and
asks how far apart their logits are, added up over the classes. The average of this distance is
the module's **disagreement**:""")
        st.latex(
            r"\begin{aligned} d_m = \mathbb{E}_{E_1,E_2}\ \operatorname*{mean}_{x}\ "
            r"\lVert\, &f(x;\,W+E_1) \\ -\, &f(x;\,W+E_2) \,\rVert_1 \end{aligned}"
        )
        st.markdown("""
In words: *f*(*x*; *W*) are the logits for a text *x*. *E*₁ and *E*₂ are two independent draws of
noise on module *m*. The double bars add up the absolute differences. Then average over the texts
(here there is only one) and over many pairs of draws: that is the 𝔼.

One pair is a matter of luck. Move the slider: with more pairs the mean settles, and its **standard
error**, the half-width of the band, tends to shrink. To halve it takes about four times as many
pairs.

Nothing has been trained, and no text needed a label.""")
    draw_check(
        "check_disagreement",
        "What does it take to measure the disagreement of a module?",
        {
            "Texts with their right answers": "No right answer enters the formula: the noisy "
            "models are compared with each other, not with the truth.",
            "A short trial training": "No weight is ever learnt for it. Noise is added, the "
            "logits are read, and the noise is taken away again.",
            "Some texts, and running the model on them": "Two noisy runs of the model make a "
            "pair. One sentence without a label is enough to begin.",
        },
        right="Some texts, and running the model on them",
    )


def how_ranks_are_shared() -> None:
    """Step 4: ranks in proportion to disagreement, at any average rank."""
    scores = state.example_scores("generic")
    st.header("The same sum of ranks, shared out by disagreement", anchor=False)
    left, right = reading_columns()
    with right:
        average = state.sidebar(budget_at=st.container()).average_rank
        plan, uniform = allocate(scores, average), uniform_plan(scores, average)
        st.plotly_chart(
            charts.rank_bars(scores, plan, average),
            width="stretch",
            key="shares",
            alt="LoRA rank of every module, with the uniform rank as a line across",
        )
        total = plan.budget["spent"]
        thin, plain = (each.budget["lora_parameters"] for each in (plan, uniform))
        st.markdown(
            f"Both kinds of ranks sum to **{total:,}**. AdaRank's learn **{thin:,}** numbers, "
            f"uniform ones **{plain:,}**."
        )
        state.badge(
            "stored example", phrases.detail(state.Shown(scores, "stored example", "generic"))
        )
        rows = [
            (charts.module_label(module), module.score, plan.ranks[module.name], average)
            for module in scores.modules
        ]
        titles = ["module", "disagreement", "AdaRank's rank", "uniform rank"]
        draw_data(pd.DataFrame(rows, columns=titles), "ranks")
    small, *_, large = sorted(MODULES, key=lambda module: module.in_features + module.out_features)
    costs = [
        f"{each.in_features + each.out_features:,} numbers in {unbroken(charts.module_label(each))}"
        for each in (small, large)
    ]
    difference = thin / plain - 1
    compared = f"{abs(difference):.1%} {'more' if difference > 0 else 'fewer'} than"
    left.markdown(f"""
What is left is easy: hand out ranks in proportion to disagreement. A module whose noisy models
disagree twice as much gets about twice the rank. Each bar is a module; the line is what ordinary
LoRA gives to all.

You choose the average rank. It fixes the sum of ranks: {len(MODULES)} modules × {average} =
{total:,}, for AdaRank and for uniform ranks alike. What some modules gain, others give up. Ranks
are whole numbers, so they are rounded such that the sum is met exactly, and every module keeps at
least rank 1.

Equal sums of ranks are **not** equal numbers to learn. One more rank costs {costs[0]}, but
{costs[1]}. With the ranks shown, AdaRank learns {thin:,} numbers,
{compared if thin != plain else "exactly as many as"} uniform LoRA's {plain:,}. Whoever then won
might have won by size alone. So the comparison in the next step makes the numbers to learn equal
instead.""")


def what_is_fair() -> None:
    """Step 5: the stored comparison, seed by seed."""
    state.sidebar()
    run = state.example_run()
    whole = Verdict.from_dict(read_json(run.folder / "verdict.json"))
    seeds = len(next(iter(whole.arms.values()))["runs"])
    head = st.container()
    left, right = reading_columns()
    with right:
        seen = seeds
        if seeds > 1:
            seen = st.slider(
                "Seeds looked at", 1, seeds, seeds, key="lesson_seeds", persist_state="session"
            )
        arms = {name: {**arm, "runs": arm["runs"][:seen]} for name, arm in whole.arms.items()}
        # The stored verdict needs no statistics to be computed, which take a second to load.
        verdict = whole if seen == seeds else verdict_of(whole.task, whole.model, arms)
        compared = [c for c in verdict.comparisons if c["metric"] == "test_loss"]
        st.plotly_chart(
            curves.differences(verdict, "test_loss"),
            width="stretch",
            key="differences",
            alt="Difference in test loss for every seed, with means and 95% intervals",
        )
        st.caption(
            "Circles are seeds, diamonds their mean, bars its 95% interval. The verdict asks for a "
            "little more than an interval beside zero, as there are several comparisons."
        )
        for one in compared:
            st.markdown(f"- {state.plain(describe(one, seen))}")
        state.badge(
            "stored example",
            f"{whole.task} · {seen} of {seeds} seeds · {run.config['settings']['steps']} steps · "
            f"average rank {run.config['average_rank']:g}",
        )
        draw_data(curves.difference_table(verdict, "test_loss"), "differences")
    found = {(one["arm"], one["against"]): one["verdict"] for one in compared}
    against = [
        f"against {name}: {found['adarank', other]}"
        for other, name in (("uniform", "uniform ranks"), ("permuted", "its own ranks, shuffled"))
        if ("adarank", other) in found
    ]
    head.header(f"AdaRank {'; '.join(against)}", anchor=False)
    sizes = [arm["lora_parameters"] for arm in whole.arms.values()]
    learnt = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    left.markdown(f"""
Do the shared-out ranks help? Fine-tune the same model with each kind of ranks (an **arm** of the
test) and keep everything else equal: the numbers that LoRA learns ({learnt} in every
arm), the head at the start, the order of the data, the steps. Then measure the **test
loss**: how surprised the model is by the right answers to texts that were kept away until the
end. Lower is better.

**Why several seeds?** Training involves luck: the random head, the order of the data. A seed fixes
that luck. Both arms run with the same seeds, and each circle is the difference for one seed. One
seed decides nothing, as luck alone could have moved it; several give a mean with a **95%
interval**, which tells how far the mean may be off. (Fix their number beforehand. To stop when
the verdict pleases is cheating; the slider is here to learn from.)

**Why shuffled ranks?** The arm *permuted* has AdaRank's ranks, handed to other modules of the same
size at random. If it does as well, uneven ranks may help, but nothing shows that disagreement has
found the right modules.

**A tie is a result.** “No detectable difference” does not say that there is none: it says how large
one would have had to be for this many seeds to show it.""")
    draw_check(
        "check_permuted",
        "Suppose AdaRank beats uniform ranks, and permuted beats them by just as much. What now?",
        {
            "Disagreement finds the modules that matter": "Then its ranks should beat the same "
            "ranks in other hands. They did not.",
            "Uneven ranks helped, whoever got them": "Permuted shares only the unevenness with "
            "AdaRank, so the gain does not show that the right modules were found.",
            "The comparison must be broken": "It is doing its work. This is the very outcome "
            "that the permuted arm is there to reveal.",
        },
        right="Uneven ranks helped, whoever got them",
    )


STEPS = {
    "Rank": what_a_rank_is,
    "Noise": what_noise_does,
    "Disagreement": what_disagreement_is,
    "Sharing out": how_ranks_are_shared,
    "Fair test": what_is_fair,
}
NAMES = list(STEPS)


def go_to(step: str) -> None:
    """Open a step; for the buttons."""
    st.session_state.step = step


state.open_page(step=NAMES)
st.title("AdaRank in five steps: shake a module, watch the answer", anchor=False)
top = st.container()
step = st.segmented_control(
    "Step", NAMES, required=True, label_visibility="collapsed", **linked("step")
)
at = NAMES.index(step or NAMES[0])
STEPS[NAMES[at]]()
st.sidebar.caption("This lesson always uses the embedded model. Your choices are kept.")
with top:
    done, ahead = "● " * (at + 1), "○ " * (len(NAMES) - at - 1)
    answered = sum(st.session_state.get(key) is not None for key in CHECKS)
    checks = f"{answered} of {len(CHECKS)} quick checks answered"
    st.markdown(f":primary[{done.strip()}] {ahead} &nbsp; step {at + 1} of {len(NAMES)} · {checks}")
with st.container(horizontal=True, horizontal_alignment="distribute" if at else "right"):
    if at > 0:
        st.button(f"Back: {NAMES[at - 1]}", on_click=go_to, args=NAMES[at - 1 : at])
    if at + 1 < len(NAMES):
        after = NAMES[at + 1]
        st.button(f"Next: {after}", type="primary", on_click=go_to, args=(after,))
    else:
        state.page_link("explore", "Explore a text")
