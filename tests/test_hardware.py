"""What the machine is good at, whatever machine the tests run on."""

import pytest
import torch

from adarank_core import AdaRankError, load_model, score
from adarank_core.hardware import bf16_is_native, device_named, dtype_named


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({}, False),
        ({"avx2": True, "avx512_f": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"amx_bf16": False, "avx512_bf16": False}, False),
    ],
    ids=str,
)
def test_a_processor_tells_by_its_capabilities(monkeypatch, capabilities, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bf16_is_native("cpu") is native


@pytest.mark.parametrize("native", [True, False])
def test_the_device_that_the_model_is_on_is_asked_and_without_emulation(monkeypatch, native):
    def supported(including_emulation=True):
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not native})
    assert bf16_is_native("cuda:1") is native
    assert bf16_is_native(torch.device("cpu")) is not native
    assert bf16_is_native("mps") is False


@pytest.fixture(params=[(0, False), (2, False), (0, True)], ids=["none", "two GPUs", "MPS"])
def machine(request, monkeypatch):
    """Have some GPUs, or Apple's."""
    count, mps = request.param
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    return count, mps


def test_auto_takes_cuda_then_mps_then_the_processor(machine, monkeypatch):
    count, mps = machine
    best = "cuda:0" if count else "mps" if mps else "cpu"
    assert str(device_named("auto")) == best and str(device_named("cpu")) == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")  # the second of several processes
    assert str(device_named("auto")) == ("cuda:1" if count else best)


@pytest.mark.parametrize("name", ["cuda:2", "tpu", "", "cuda:-1", "CPU", "mps:1", "\udcff"])
def test_a_device_that_is_not_here_is_refused_by_name(machine, name):
    with pytest.raises(AdaRankError, match=r"device is .*, which is not here; this machine has "):
        device_named(name)


@pytest.mark.parametrize(
    ("stored", "device", "expected"),
    [
        (torch.float32, "cpu", torch.float32),
        (torch.bfloat16, "cpu", torch.bfloat16),
        (torch.float16, "cpu", torch.float32),
        (torch.float16, "cuda", torch.float16),
    ],
)
def test_weights_stay_in_their_own_type_where_the_device_has_it(stored, device, expected):
    assert dtype_named("auto", stored, torch.device(device)) == expected
    assert dtype_named("bfloat16", stored, torch.device(device)) == torch.bfloat16


def test_a_model_is_loaded_in_its_own_type_or_the_one_asked_for(tiny_bert, tmp_path):
    bundle = load_model(tiny_bert)
    bundle.model.to(torch.bfloat16).save_pretrained(tmp_path)
    bundle.tokenizer.save_pretrained(tmp_path)
    for dtype, expected in (("auto", torch.bfloat16), ("float32", torch.float32)):
        loaded = load_model(tmp_path, labels=3, dtype=dtype)
        assert {weight.dtype for weight in loaded.model.parameters()} == {expected}
        assert score(loaded, ["the cat sat", "a dog"], trials=2).modules[0].score > 0
    for bad in ("float8", "", None, 16):
        with pytest.raises(AdaRankError, match=r"dtype is .*; it must be one of auto, float32"):
            load_model(tmp_path, dtype=bad)
    with pytest.raises(AdaRankError, match="device is 'cuda:9', which is not here"):
        load_model(tmp_path, device="cuda:9")


def test_scores_of_lower_precision_are_near(embedded):
    texts = ["What is a rank?", "The train left two minutes early, and nobody was on it."]
    whole = score(embedded, texts, precision="float32", trials=8)
    lower = score(load_model("embedded", dtype="bfloat16"), texts, trials=8)
    for one, other in zip(whole.modules, lower.modules, strict=True):
        assert other.score == pytest.approx(one.score, rel=0.1)
