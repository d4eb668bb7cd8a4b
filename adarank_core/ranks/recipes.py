"""How a plan is used in other programs: lines to paste, a program at a time.

PEFT's lines are run by the tests. The others hold options that were read in the programs' own
sources and documentation (stored copies; see ``CHECKED``), for the programs are not installed here.
"""

import json
import shlex
from dataclasses import dataclass

from adarank_core.ranks.plans import WITH_HEAD, RankPlan
from adarank_core.scoring.labels import public_name

__all__ = ["CHECKED", "Recipe", "peft_lines", "recipes"]

CHECKED = "November 2026"
CLASSES = {"SEQ_CLS": "AutoModelForSequenceClassification", "CAUSAL_LM": "AutoModelForCausalLM"}
# What vLLM's --max-lora-rank may be (vllm/config/lora.py of 0.26).
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Recipe:
    """What to paste into one program.

    Parameters
    ----------
    program : str
    language : {"python", "yaml", "shell"}
    text : str
    about : str
        In a few sentences what it does and what it rests on.
    """

    program: str
    language: str
    text: str
    about: str


def recipes(plan: RankPlan, folder: str = "starter-adapter") -> tuple[Recipe, ...]:
    """Return how to use a plan in PEFT, TRL, axolotl, LLaMA-Factory, Unsloth and vLLM.

    Parameters
    ----------
    plan : RankPlan
    folder : str
        Where the starter adapter lies (``export --starter``).

    Examples
    --------
    >>> plan = RankPlan("org/model", {"0.query": 24}, {"0.query": 48}, task_type="CAUSAL_LM")
    >>> [recipe.program for recipe in recipes(plan)]
    ['PEFT', 'TRL', 'axolotl', 'LLaMA-Factory', 'Unsloth', 'vLLM']
    >>> print(recipes(plan)[2].text)
    base_model: "org/model"
    adapter: lora
    lora_model_dir: "starter-adapter"
    # Asked for, but the ranks and scalings are those of the adapter:
    lora_r: 24
    lora_alpha: 48
    lora_target_linear: true
    <BLANKLINE>
    """
    makers = (_peft, _trl, _axolotl, _llama_factory, _unsloth, _vllm)
    return tuple(make(plan, public_name(plan.model), folder) for make in makers)


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def peft_lines(plan: RankPlan, folder: str | None = None) -> str:
    """Return Python that gives a model the plan's LoRA, with PEFT.

    Parameters
    ----------
    plan : RankPlan
    folder : str, optional
        A starter adapter to go on from; without it, and for a model whose head is trained too,
        LoRA is built from ``lora_config.py``.

    Examples
    --------
    >>> print(peft_lines(RankPlan("org/model", {"query": 4}, {"query": 8}, task_type="CAUSAL_LM")))
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM
    <BLANKLINE>
    from lora_config import config  # the file lora_config.py
    <BLANKLINE>
    model = AutoModelForCausalLM.from_pretrained("org/model")
    model = get_peft_model(model, config)
    model.print_trainable_parameters()
    <BLANKLINE>
    """
    kind = CLASSES.get(plan.task_type, "AutoModel")
    goes_on = folder is not None and plan.task_type not in WITH_HEAD
    labels = ", num_labels=2" if plan.task_type == "SEQ_CLS" else ""
    start = f"PeftModel.from_pretrained(model, {json.dumps(folder)}, is_trainable=True)"
    config = ["", "from lora_config import config  # the file lora_config.py"]
    return _lines(
        f"from peft import {'PeftModel' if goes_on else 'get_peft_model'}",
        f"from transformers import {kind}",
        *([] if goes_on else config),
        "",
        f"model = {kind}.from_pretrained({json.dumps(public_name(plan.model))}{labels})",
        f"model = {start if goes_on else 'get_peft_model(model, config)'}",
        "model.print_trainable_parameters()",
    )


def _peft(plan: RankPlan, model: str, folder: str) -> Recipe:
    if plan.task_type in WITH_HEAD:
        about = (
            "The head is trained too, and saved with the adapter; give your number of labels. The "
            "starter adapter has no head, so that PEFT can load it into any: with it, LoRA alone "
            "is trained and saved."
        )
    else:
        about = (
            "The starter adapter, ready to be trained. `get_peft_model(model, config)` with the "
            "LoraConfig of lora_config.py gives the same ranks and scalings."
        )
    return Recipe("PEFT", "python", peft_lines(plan, folder), about)


def _trl(plan: RankPlan, model: str, folder: str) -> Recipe:
    text = _lines(
        "from datasets import load_dataset",
        "from trl import SFTConfig, SFTTrainer",
        "",
        "from lora_config import config  # the file lora_config.py",
        "",
        'dataset = load_dataset("json", data_files="train.jsonl", split="train")  # yours',
        "trainer = SFTTrainer(",
        f"    model={json.dumps(model)},",
        '    args=SFTConfig(output_dir="trained"),',
        "    train_dataset=dataset,",
        "    peft_config=config,",
        ")",
        "trainer.train()",
    )
    about = (
        "Every trainer of TRL hands `peft_config` to PEFT as it is. Its command line has one "
        "--lora_r only. Or give it a model with the adapter on, and then no `peft_config`."
    )
    return Recipe("TRL", "python", text, about + _for_language_models(plan))


def _axolotl(plan: RankPlan, model: str, folder: str) -> Recipe:
    arguments = plan.lora_arguments()
    text = _lines(
        f"base_model: {json.dumps(model)}",
        "adapter: lora",
        f"lora_model_dir: {json.dumps(folder)}",
        "# Asked for, but the ranks and scalings are those of the adapter:",
        f"lora_r: {arguments['r']}",
        f"lora_alpha: {round(arguments['lora_alpha'])}",
        "lora_target_linear: true",
    )
    about = (
        "Into the file that you give to `axolotl train`. It goes on from the adapter in "
        "`lora_model_dir`, whose adapter_config.json rules. Newer versions also know "
        "`lora_rank_pattern` and `lora_alpha_pattern`."
    )
    return Recipe("axolotl", "yaml", text, about + _for_language_models(plan))


def _llama_factory(plan: RankPlan, model: str, folder: str) -> Recipe:
    text = _lines(
        f"model_name_or_path: {json.dumps(model)}",
        "stage: sft",
        "do_train: true",
        "finetuning_type: lora",
        f"adapter_name_or_path: {json.dumps(folder)}",
        "create_new_adapter: false",
    )
    about = (
        "Into the file that you give to `llamafactory-cli train`. Without `create_new_adapter` it "
        "goes on from the last adapter that is named; `lora_rank` is not looked at then."
    )
    return Recipe("LLaMA-Factory", "yaml", text, about + _for_language_models(plan))


def _unsloth(plan: RankPlan, model: str, folder: str) -> Recipe:
    text = _lines(
        "from unsloth import FastLanguageModel",
        "",
        "model, tokenizer = FastLanguageModel.from_pretrained(",
        f"    model_name={json.dumps(folder)},",
        "    max_seq_length=2048,",
        "    load_in_4bit=False,",
        ")",
        "# Without get_peft_model: the adapter is on, and trains.",
    )
    about = (
        "Unsloth reads the base model's name from the folder's adapter_config.json, which says "
        f"`{model}`, and loads the adapter for training."
    )
    return Recipe("Unsloth", "python", text, about + _for_language_models(plan))


def _vllm(plan: RankPlan, model: str, folder: str) -> Recipe:
    most = max(plan.ranks.values())
    allowed = next((rank for rank in VLLM_RANKS if rank >= most), most)
    text = _lines(
        "python -m adarank_core export --ranks ranks.json --adapter trained --output for-vllm",
        f"vllm serve {shlex.quote(model)} --enable-lora \\",
        f"    --lora-modules adarank=for-vllm/portable --max-lora-rank {allowed}",
    )
    about = (
        "To serve the adapter once it is trained (here in the folder `trained`). vLLM scales all "
        "modules by one alpha / r, so the first line writes it with one rank for all; its "
        "`--max-lora-rank` is 16 if not given."
    )
    if most > VLLM_RANKS[-1]:
        about += f" Ranks above {VLLM_RANKS[-1]} it does not take: set a largest rank."
    return Recipe("vLLM", "shell", text, about + _for_language_models(plan))


def _for_language_models(plan: RankPlan) -> str:
    if plan.task_type == "CAUSAL_LM":
        return ""
    return " It is made for language models; these ranks are of another kind of model."
