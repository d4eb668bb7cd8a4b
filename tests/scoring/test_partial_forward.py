"""Going on from a module: the same logits as a whole pass, on any architecture, for less work."""

import threading
from collections import Counter
from functools import cache

import pytest
import torch
import transformers
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.t5.modeling_t5 import T5Block

from adarank_core.scoring.encoding import logits_of
from adarank_core.scoring.heads import private_copy
from adarank_core.scoring.models import adaptable_modules
from adarank_core.scoring.partial_forward import Recording

VOCABULARY, END = 40, 1
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": END,
    "eos_token_id": END,
}
DISTILBERT = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "pad_token_id": 0,
    "bos_token_id": END,
    "eos_token_id": END,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": END,
    "decoder_start_token_id": 0,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}

ENCODER = "query key value attention.output intermediate output"
GATED = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj"
T5_FAMILIES = [f"encoder.{family}" for family in ["q", "k", "v", "o", "wi", "wo"]]
T5_FAMILIES += [f"decoder.SelfAttention.{family}" for family in "qkvo"]
T5_FAMILIES += [f"decoder.EncDecAttention.{family}" for family in "qkvo"]
T5_FAMILIES += ["decoder.wi", "decoder.wo"]

# By name: configuration and head, options, families in the order of the data.
ARCHITECTURES = {
    "bert": ("BertForSequenceClassification", SIZES, ENCODER),
    "roberta": ("RobertaForSequenceClassification", SIZES, ENCODER),
    "distilbert": (
        "DistilBertForSequenceClassification",
        DISTILBERT,
        "q_lin k_lin v_lin out_lin lin1 lin2",
    ),
    "electra": ("ElectraForSequenceClassification", {**SIZES, "embedding_size": 16}, ENCODER),
    "deberta-v2": (
        "DebertaV2ForSequenceClassification",
        {**SIZES, **RELATIVE},
        "query_proj key_proj value_proj pos_key_proj pos_query_proj "
        "attention.output intermediate output",
    ),
    "albert": (
        "AlbertForSequenceClassification",
        {**SIZES, "embedding_size": 16},
        "query key value dense ffn ffn_output",
    ),
    "gpt2": ("GPT2LMHeadModel", GPT2, "c_attn attn.c_proj c_fc mlp.c_proj"),
    "gpt2-classifier": (
        "GPT2ForSequenceClassification",
        GPT2,
        "c_attn attn.c_proj c_fc mlp.c_proj",
    ),
    "opt": (
        "OPTForCausalLM",
        {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
        "k_proj v_proj q_proj out_proj fc1 fc2",
    ),
    "llama": ("LlamaForCausalLM", SIZES, GATED),
    "qwen2": ("Qwen2ForCausalLM", {**SIZES, "num_key_value_heads": 2}, GATED),
    "t5": ("T5ForSequenceClassification", T5, " ".join(T5_FAMILIES)),
}
# 7 texts of 7 tokens and 4 texts for 4 heads: a size alone does not tell what goes by text.
BATCHES = [(3, 7, 5, 4, 6, 7, 2), (5, 3, 7, 4), (2, 2), (6,)]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


@cache
def built(name):
    return louder(ARCHITECTURES[name][0], ARCHITECTURES[name][1])


@torch.inference_mode(False)
def louder(kind, options):
    """Build a model whose random weights are large enough for the logits to move."""
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**options))
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.15)
    return model.eval()


def batch_of(lengths, width=None):
    """Make random texts of these lengths, each ended by the end token, padded on the right."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.zeros(len(lengths), width or max(lengths), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, real, length in zip(tokens, mask, lengths, strict=True):
        row[: length - 1] = torch.randint(2, VOCABULARY, (length - 1,), generator=draw)
        row[length - 1] = END
        real[:length] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def names_of(model):
    return [module.name for module in adaptable_modules(model)]


def recording_of(model, batch, names=None):
    return Recording(private_copy(model), batch, names or names_of(model), logits_of)


def noise_for(recording, name, copies):
    module = recording.model.get_submodule(name)
    out = module.weight.shape[0 if isinstance(module, nn.Linear) else 1]
    texts, tokens = recording.batch["input_ids"].shape
    draw = torch.Generator().manual_seed(len(name))
    return torch.randn(texts, copies, tokens, out, generator=draw)


def whole_pass(model, batch, name, added):
    """Run all of the model, with a hook that adds one texts × tokens × out tensor."""

    def add(_module, _args, output):
        return output + added.reshape(output.shape)

    handle = model.get_submodule(name).register_forward_hook(add)
    try:
        return logits_of(model, batch)
    finally:
        handle.remove()


def go_on(recording, name, added):
    return recording.logits_with({name: added})[name]


def check(model, recording, name, copies):
    added = noise_for(recording, name, copies)
    found = go_on(recording, name, added)
    assert found.shape[:2] == added.shape[:2]
    for copy in range(copies):
        wanted = whole_pass(model, recording.batch, name, added[:, copy])
        torch.testing.assert_close(found[:, copy], wanted, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(wanted, recording.logits, rtol=0, atol=1e-3)


# Any transformer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_modules_are_found_by_structure(name):
    model, modules = built(name), adaptable_modules(built(name))
    families = ARCHITECTURES[name][2].split()
    layers = 1 if name == "albert" else 2
    assert Counter(m.family for m in modules) == dict.fromkeys(families, layers)
    assert {module.layer for module in modules} == set(range(layers))
    for module in modules:
        shape = model.get_submodule(module.name).weight.shape
        assert sorted(shape) == sorted((module.in_features, module.out_features))
    assert not any(
        part in module.name
        for module in modules
        for part in ("pooler", "classifier", "classification_head", "score", "embed", "lm_head")
    )


@pytest.mark.parametrize("lengths", BATCHES, ids=str)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_going_on_gives_what_a_whole_pass_gives(name, lengths):
    model = built(name)
    recording = recording_of(model, batch_of(lengths))
    replayable = [module for module in names_of(model) if recording.is_replayable(module)]
    for module in replayable:
        for copies in (1, 3):
            check(model, recording, module, copies)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_added_gives_the_clean_logits(name):
    model, batch = built(name), batch_of((5, 3, 7, 4))
    recording = recording_of(model, batch)
    torch.testing.assert_close(recording.logits, logits_of(model, batch))
    for module in filter(recording.is_replayable, names_of(model)):
        nothing = torch.zeros_like(noise_for(recording, module, 2))
        found = go_on(recording, module, nothing)
        wanted = recording.logits[:, None].expand_as(found)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("lengths", [(5, 3, 7, 4), (6,)], ids=str)
def test_what_cannot_be_replayed(name, lengths):
    """ALBERT's modules run once a layer; DeBERTa's position projections know no text."""
    recording = recording_of(built(name), batch_of(lengths))
    for module in names_of(built(name)):
        assert recording.is_replayable(module) == (name != "albert" and ".pos_" not in module)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_further_changes_nothing(name):
    model, lengths = built(name), (5, 3, 7, 4)
    short, long = (recording_of(model, batch_of(lengths, width)) for width in (7, 12))
    torch.testing.assert_close(long.logits, short.logits, rtol=1e-5, atol=1e-5)
    for module in filter(short.is_replayable, names_of(model)):
        assert long.is_replayable(module)
        # What is added at the padding must not matter either.
        added = noise_for(long, module, 2)
        found = go_on(long, module, added)
        wanted = go_on(short, module, added[:, :, :7])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "opt", "t5", "gpt2"])
def test_the_input_of_a_module_is_what_a_hook_sees(name):
    model, batch = built(name), batch_of((5, 3, 7, 4))
    recording = recording_of(model, batch)
    for module in names_of(model):
        seen = []
        handle = model.get_submodule(module).register_forward_pre_hook(
            lambda _module, args, seen=seen: seen.append(args[0])
        )
        logits_of(model, batch)
        found = recording.input_of(module)
        handle.remove()
        torch.testing.assert_close(found, seen[0].reshape(4, 7, -1))


# Unusual depths and choices


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("BertForSequenceClassification", {**SIZES, "num_hidden_layers": 5}),
        ("LlamaForCausalLM", {**SIZES, "num_hidden_layers": 5}),
        ("T5ForSequenceClassification", {**T5, "num_layers": 5}),
    ],
)
def test_some_layers_alone_may_be_chosen(kind, options):
    model = louder(kind, options)
    for layers in ({0, 2, 4}, {4}):
        chosen = [module.name for module in adaptable_modules(model) if module.layer in layers]
        recording = recording_of(model, batch_of((3, 6, 4)), chosen)
        for name in chosen:
            check(model, recording, name, 2)


@pytest.mark.parametrize(("layers", "groups"), [(2, 2), (3, 2), (7, 5)])
def test_blocks_that_run_twice_may_stand_before_one_that_runs_once(layers, groups):
    """ALBERT with several groups: a group that stands for one layer alone is replayable."""
    options = {"num_hidden_layers": layers, "num_hidden_groups": groups, "embedding_size": 16}
    model = louder("AlbertForSequenceClassification", {**SIZES, **options})
    runs = Counter(int(layer / (layers / groups)) for layer in range(layers))
    recording = recording_of(model, batch_of((3, 6, 4)))
    for module in adaptable_modules(model):
        assert recording.is_replayable(module.name) == (runs[module.layer] == 1)
        if recording.is_replayable(module.name):
            check(model, recording, module.name, 2)


def test_deberta_s_projections_that_also_serve_positions_are_not_replayable():
    options = {**SIZES, **RELATIVE, "share_att_key": True, "position_buckets": 8}
    model = louder("DebertaV2ForSequenceClassification", options)
    recording = recording_of(model, batch_of((5, 3, 7, 4)))
    for name in names_of(model):
        assert recording.is_replayable(name) != name.endswith(("query_proj", "key_proj"))
        if recording.is_replayable(name):
            check(model, recording, name, 2)


# Where going on is wrong


class Block(nn.Module):
    """A residual block of two branches; what it does besides, a test says."""

    def __init__(self, how):
        super().__init__()
        self.one, self.two, self.how = nn.Linear(8, 8), nn.Linear(8, 8), how

    def forward(self, states, *cache):
        if self.how == "output changed in place":  # as in Falcon's parallel attention
            one = self.one(states)
            two = self.two(states)
            two += torch.tanh(one)
            return states + torch.tanh(two)
        if self.how == "input changed in place":
            states += torch.tanh(self.two(torch.tanh(self.one(states))))
            return states
        two = self.two(torch.tanh(self.one(states)))
        if self.how == "cache that grows":  # as in XLM
            cache[0].append(two)
            return states + torch.cat(cache[0], dim=1)[:, -states.shape[1] :] + len(cache[0])
        if self.how == "counts in plain numbers":  # as JetMoE's router
            return states + torch.cat(two.split(cache[0], dim=0))
        return states + two


class Blocks(nn.Module):
    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([Block(how), Block(how)])
        self.how, self.dtype = how, torch.float32

    def forward(self, input_ids, attention_mask):
        states = torch.sin(input_ids[:, :, None] * torch.arange(1, 9)).float()
        cache = {"cache that grows": [[]], "counts in plain numbers": [[1, len(input_ids) - 1]]}
        for layer in self.layers:
            states = layer(states, *cache.get(self.how, []))
        return states


LINEAR = [f"layers.{layer}.{name}" for layer in (0, 1) for name in ("one", "two")]
HOW = ["plain", "output changed in place", "input changed in place", "cache that grows"]


@pytest.mark.parametrize(
    ("how", "right"), list(zip([*HOW, "counts in plain numbers"], [4, 4, 0, 0, 0], strict=True))
)
def test_going_on_is_tried_and_left_where_it_is_wrong(how, right):
    with torch.inference_mode(False):
        model = Blocks(how).requires_grad_(False)
    batch = batch_of((5, 3, 7, 4))

    def read(model, batch):
        return model(**batch)[:, 0]

    recording = Recording(model, batch, LINEAR, read)
    assert recording.faithful(LINEAR) == set(LINEAR[:right])
    for name in LINEAR[:right]:
        added = noise_for(recording, name, 2)
        handle = model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, added=added: output + added[:, 1]
        )
        wanted = read(model, batch)
        handle.remove()
        torch.testing.assert_close(go_on(recording, name, added)[:, 1], wanted)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("lengths", [(5, 3, 7, 4), (6,)], ids=str)
def test_going_on_is_right_wherever_there_is_one_place_to_go_on_from(name, lengths):
    names = names_of(built(name))
    recording = recording_of(built(name), batch_of(lengths))
    assert recording.faithful(names) == set(filter(recording.is_replayable, names))


def test_memory_that_runs_out_is_no_reason_for_pairs(monkeypatch):
    recording = recording_of(built("bert"), batch_of((5, 3)))

    def full(_added):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(recording, "logits_with", full)
    with pytest.raises(torch.OutOfMemoryError):
        recording.faithful(names_of(built("bert")))


# The work that is saved


def counted(monkeypatch, module_class):
    """Count the calls of ``forward`` that are not answered from the recording."""
    calls, forward = [], module_class.forward

    def count(self, *args, **kwargs):
        calls.append(self)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(module_class, "forward", count)
    return calls


def test_only_what_follows_a_module_runs(monkeypatch):
    model = louder("BertForSequenceClassification", {**SIZES, "num_hidden_layers": 5})
    recording = recording_of(model, batch_of((5, 3, 7, 4)))
    blocks, linear = counted(monkeypatch, BertLayer), counted(monkeypatch, nn.Linear)
    place = dict(zip(ENCODER.split(), (6, 5, 4, 3, 2, 1), strict=True))
    for module in adaptable_modules(model):
        added = noise_for(recording, module.name, 3)
        recording.input_of(module.name)  # once a block: the calls inside it are recorded
        blocks.clear(), linear.clear()
        go_on(recording, module.name, added)
        after = 4 - module.layer
        assert len(blocks) == 1 + after
        # The rest of its own block, six modules a later block, pooler and head; key and value do
        # not run again beside a noisy query, nor value beside a noisy key.
        beside = {"query": 2, "key": 1}.get(module.family, 0)
        assert len(linear) == place[module.family] - 1 - beside + 6 * after + 2


def test_only_what_is_read_is_repeated():
    answered, sizes, stack = set(), {}, "bert.encoder.layer"

    def read(model, batch):
        answered.clear()
        answered.update(path for path, module in model.named_modules() if "forward" in vars(module))
        return logits_of(model, batch)

    own = private_copy(louder("BertForSequenceClassification", {**SIZES, "num_hidden_layers": 4}))
    name = f"{stack}.2.output.dense"
    recording = Recording(own, batch_of((5, 3)), [name], read)
    for layer in range(4):
        own.get_submodule(f"{stack}.{layer}").register_forward_hook(
            lambda _module, _args, output, layer=layer: sizes.update({layer: len(output)})
        )
    go_on(recording, name, noise_for(recording, name, 3))
    # Earlier blocks answer, in full size where the next one runs; of the last one, what only the
    # first token needs is computed for it alone.
    fewer = {f"{stack}.3.{path}" for path in ("attention.self.query", "attention.output.dense")}
    fewer |= {f"{stack}.3.intermediate.dense", f"{stack}.3.output.dense"}
    assert answered == {f"{stack}.{layer}" for layer in range(3)} | fewer
    assert sizes == {0: 2, 1: 2, 2: 6, 3: 6}


def test_modules_of_one_block_share_what_follows(monkeypatch):
    recording = recording_of(built("bert"), batch_of((5, 3, 7, 4)))
    added = {
        name: noise_for(recording, name, copies)
        for copies, name in enumerate(names_of(built("bert"))[:6], start=1)
    }
    alone = {name: go_on(recording, name, noise) for name, noise in added.items()}
    blocks = counted(monkeypatch, BertLayer)
    together = recording.logits_with(added)
    assert len(blocks) == 6 + 1
    for name in added:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_that_reach_no_logit_are_not_computed(name, monkeypatch):
    """Of the last block's linear modules, only what the head reads runs, and it is all it reads."""
    model, rows = built(name), []
    recording = recording_of(model, batch_of((5, 3, 7, 4)))
    first = next(filter(recording.is_replayable, names_of(model)), None)
    if first is None:
        pytest.skip("nothing to go on from")
    last = recording.model.get_submodule(names_of(model)[-1])
    forward = type(last).forward

    def count(self, inputs):
        if self is last:
            rows.append(inputs.shape[:-1].numel())
        return forward(self, inputs)

    monkeypatch.setattr(type(last), "forward", count)
    go_on(recording, first, noise_for(recording, first, 3))
    # One token of each text; OPT flattens texts and tokens, so that none is told from another.
    assert rows == [84 if name == "opt" else 12]


def test_a_gradient_that_happens_to_be_zero_saves_nothing(monkeypatch):
    """A head that reads the second token, too, but only where it is larger than now."""
    model = louder(*ARCHITECTURES["bert"][:2])
    own, batch = private_copy(model), batch_of((5, 3))
    now = own.bert(**batch).last_hidden_state[:, 1].amax(dim=0)

    def read(model, batch):
        hidden = model.bert(**batch).last_hidden_state
        return model.classifier(hidden[:, 0] + torch.relu(hidden[:, 1] - now.clone() - 0.01))

    recording = Recording(own, batch, names_of(model), read)
    assert not (recording.gradients[names_of(model)[-1]][:, :, 1] != 0).any()
    assert recording.tokens == {}


def test_a_block_is_recorded_once_for_all_its_modules(monkeypatch):
    recording = recording_of(built("bert"), batch_of((5, 3)))
    blocks = counted(monkeypatch, BertLayer)
    for name in names_of(built("bert")):
        recording.is_replayable(name), recording.input_of(name)
    assert len(blocks) == 2


def test_the_encoder_is_at_rest_while_the_decoder_goes_on(monkeypatch):
    recording = recording_of(built("t5"), batch_of((5, 3)))
    [last] = [
        m for m in names_of(built("t5")) if m.endswith("decoder.block.1.layer.2.DenseReluDense.wo")
    ]
    recording.input_of(last)
    blocks = counted(monkeypatch, T5Block)
    go_on(recording, last, noise_for(recording, last, 2))
    assert len(blocks) == 1


# A private copy


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_copy_shares_every_weight_and_no_module(name):
    model, own = built(name), private_copy(built(name))
    for of in ("named_parameters", "named_buffers"):
        theirs, ours = dict(getattr(model, of)()), dict(getattr(own, of)())
        assert list(theirs) == list(ours)
        assert all(theirs[path] is ours[path] for path in theirs)
    modules = dict(model.named_modules())
    assert list(modules) == [path for path, _ in own.named_modules()]
    for path, module in own.named_modules():
        assert type(module) is type(modules[path]) and module is not modules[path]
        assert getattr(module, "config", 0) is not getattr(modules[path], "config", 1)
    assert own.config.use_cache is False


def state_of(model):
    """Return all that a pass might leave behind on a model."""
    return {
        path: (
            module.training,
            "forward" in vars(module),
            len(module._forward_hooks) + len(module._forward_pre_hooks),
            len(module._forward_hooks_with_kwargs) + len(module._forward_pre_hooks_with_kwargs),
            getattr(getattr(module, "config", None), "use_cache", None),
        )
        for path, module in model.named_modules()
    }


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_nothing_is_left_behind(name):
    model = louder(*ARCHITECTURES[name][:2])
    model.train()
    next(iter(model.base_model.children())).eval()
    model.config.use_cache = True
    before, weights = state_of(model), {k: v.clone() for k, v in model.state_dict().items()}
    own = private_copy(model)
    assert not any(module.training for module in own.modules())
    clean, batch = state_of(own), batch_of((5, 3))

    def read(model, batch):
        if read.fails:
            logits_of(model, batch)
            raise KeyError("in the middle")
        return logits_of(model, batch)

    read.fails = True
    with pytest.raises(KeyError):
        Recording(own, batch, names_of(model), read)
    assert state_of(own) == clean
    read.fails = False
    recording = Recording(own, batch, names_of(model), read)
    for module in names_of(model):
        added = noise_for(recording, module, 2)
        first = go_on(recording, module, added)
        read.fails = True
        with pytest.raises(KeyError):
            go_on(recording, module, added)
        read.fails = False
        assert state_of(own) == clean
        assert torch.equal(go_on(recording, module, added), first)
    assert state_of(own) == clean and state_of(model) == before
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(model.state_dict()[path], weights[path]) for path in weights)


class Scaling(ModelHook):
    """One of accelerate's hooks that shows in what the model gives."""

    def post_forward(self, module, output):
        return 1.5 * output


def hooked(name):
    """Build a model whose adaptable modules have hooks of accelerate."""
    model = louder(*ARCHITECTURES[name][:2])
    for path in names_of(model):
        add_hook_to_module(model.get_submodule(path), Scaling())
    return model


@pytest.mark.parametrize("name", ["bert", "gpt2-classifier", "llama", "t5"])
def test_hooks_of_accelerate_work_and_stay(name):
    model, batch = hooked(name), batch_of((5, 3, 7, 4))
    before = {path: dict(vars(module)) for path, module in model.named_modules()}
    own = private_copy(model)
    clean = {path: vars(module).get("forward") for path, module in own.named_modules()}
    assert not torch.allclose(logits_of(model, batch), logits_of(built(name), batch), atol=1e-3)
    recording = Recording(own, batch, names_of(model), logits_of)
    for module in names_of(model):
        check(model, recording, module, 2)
    for path, module in own.named_modules():
        assert vars(module).get("forward") is clean[path]
        if path in names_of(model):
            # The copy's hook is the copy's own: it runs the copy's module.
            assert module._hf_hook is not model.get_submodule(path)._hf_hook
            assert module.forward.args == (module,) and module._old_forward.__self__ is module
    for path, module in model.named_modules():
        assert vars(module).keys() == before[path].keys()
        assert all(vars(module)[key] is value for key, value in before[path].items())
    for path in names_of(model):
        remove_hook_from_module(model.get_submodule(path))
    assert torch.equal(logits_of(model, batch), logits_of(built(name), batch))


def test_dropout_is_off_on_a_model_that_trains():
    model = louder(*ARCHITECTURES["bert"][:2])
    batch = batch_of((5, 3))
    clean = recording_of(model, batch).logits
    model.train()
    assert torch.equal(recording_of(model, batch).logits, clean)


def test_two_threads_on_one_model_do_not_disturb_each_other():
    model, batches = built("bert"), [batch_of((5, 3, 7, 4)), batch_of((6, 2))]
    start, found = threading.Barrier(2), {}

    @torch.inference_mode()
    def session(number, names):
        recording = recording_of(model, batches[number])
        logits = [recording.logits]
        for name in names:
            logits.append(go_on(recording, name, noise_for(recording, name, 2)))
        return logits

    # One from the first module on, one from the last, so that they meet at different places.
    orders = [names_of(model) * 4, names_of(model)[::-1] * 4]
    alone = [session(number, order) for number, order in enumerate(orders)]

    def at_once(number):
        start.wait()
        found[number] = session(number, orders[number])

    threads = [threading.Thread(target=at_once, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        for one, other in zip(alone[number], found[number], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
