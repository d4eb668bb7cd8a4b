"""The model card tells the plan's own numbers, and nothing in a name becomes Markdown."""

import json

from adarank_core import ModuleScore, RankPlan, Scores, allocate
from adarank_core.ranks.card import model_card
from adarank_core.scoring.labels import UNNAMED_MODEL


def test_it_tells_how_the_ranks_came_about(made_up):
    scores = made_up(seed=3)
    first = scores.modules[0].name
    plan = allocate(scores, 8, budget_by="parameters", temperature=0.5, pinned={first: 4})
    card = model_card(plan, scores)
    assert 'base_model: "sentence-transformers/all-MiniLM-L6-v2"' in card
    assert "1 list texts" in card and "seed 3" in card and plan.scores_sha256[:12] in card
    assert "A budget of 331,776 LoRA parameters" in card and "to the power 0.5" in card
    assert f"set by hand: {first}" in card
    ranks = [plan.ranks[module.name] for module in scores.modules if module.layer == 5]
    assert f"| layer 6 | {' | '.join(map(str, ranks))} |" in card
    assert "no weights" in card and "untrained" in model_card(plan, scores, starter=True)


def test_it_claims_nothing_that_is_not_known(made_up):
    bare = model_card(RankPlan("/srv/mine", {"a.query": 4}, {"a.query": 8}))
    assert "base_model" not in bare and "&#60;path or id of the base model&#62;" in bare
    assert "come from no scores" in bare and "noise" not in bare
    assert "| a.query | 4 |" in bare
    gradient = Scores("tiny", "gradient-norm", "none", 0.0, 0, {}, made_up().modules)
    assert "mode gradient-norm" in model_card(allocate(gradient, 4))
    assert "noise" not in model_card(allocate(gradient, 4))
    old = allocate(made_up(), 4).to_dict()
    for key in ("mode", "seed", "trials", "texts"):
        old.pop(key, None)
    assert "noise is added" in model_card(RankPlan.from_dict(old))


def test_no_name_becomes_markdown_or_html():
    evil = "<img src=x>|**b**\n[a](b)"
    texts = {"source": evil, "count": 1, "sha256": "00"}
    module = ModuleScore(evil, 0, evil, 8, 8, 1.0, 0.1)
    scores = Scores(evil, "paper", "fast", 1.0, 0, texts, (module,))
    plan = allocate(scores, 3, pinned={evil: 3})
    for card in (model_card(plan), model_card(plan, scores)):
        for sign in ("<img", "**b**", "](", "|**"):
            assert sign not in card
        assert json.dumps(UNNAMED_MODEL) in card  # in the code to paste
