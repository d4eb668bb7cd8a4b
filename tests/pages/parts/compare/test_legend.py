from pages.parts.compare.legend import arm_sentences

PLAN = {"event": "plan", "arm": "adarank", "seed": 0, "budget": {"lora_parameters": 82_932}}
RESULT = {
    "event": "result",
    "arm": "adarank",
    "seed": 0,
    "lora_parameters": 82_932,
    "allocation_seconds": 4.25,
    "train_seconds": 55.4,
}


def known(*events, arm="adarank", **config):
    return arm_sentences({"arms": [arm], **config}, events)[arm]


def test_an_arm_says_what_it_controls_for_before_anything_is_known():
    about, said, failed = known()
    assert about.startswith("ranks from disagreement")
    assert said == failed == ""
    assert known(arm="plans/mine.json")[0] == "ranks from a file"


def test_the_residual_is_told_in_words():
    for residual, words in (
        (12, "12 short of the budget"),
        (0, "exactly the budget"),
        (-1024, "1,024 over the budget"),
    ):
        assert known({**PLAN, "residual": residual})[1] == f"82,932 LoRA parameters, {words}"
    assert known(PLAN)[1] == "82,932 LoRA parameters"


def test_seconds_and_the_chosen_rate_are_there_once_they_are_known():
    chosen = {
        "event": "chosen",
        "arm": "adarank",
        "seed": 0,
        "learning_rate": 0.005,
        "search_seconds": 120.0,
    }
    said = known(chosen, PLAN, RESULT, seeds=[0, 1])[1]
    assert said.split(" · ")[1:] == [
        "4.2 s for its ranks",
        "55 s of training a seed",
        "learning rate 0.005, found in 120 s",
    ]
    edge = known({**chosen, "learning_rate_at_edge": True}, PLAN)[1]
    assert edge.endswith("found in 120 s, at the end of those tried")


def test_what_adalora_ends_with_is_what_counts():
    end = {**RESULT, "arm": "adalora", "lora_parameters": 80_000}
    assert known({**PLAN, "arm": "adalora"}, end, arm="adalora")[1].startswith(
        "80,000 LoRA parameters at the end"
    )


def test_reference_arms_have_no_budget_to_be_short_of():
    plan = {**PLAN, "arm": "full", "budget": {"lora_parameters": 0}, "residual": 82_944}
    assert known(plan, arm="full")[1] == "all weights, and no LoRA"


def test_a_failed_arm_has_its_reason():
    failed = {"event": "arm-failed", "arm": "adarank", "seed": 1, "message": "memory ran out"}
    assert known(PLAN, failed)[2] == "seed 1: memory ran out"
