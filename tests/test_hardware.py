"""What the machine is good at, whatever machine the tests run on."""

import pytest
import torch

from adarank_core.hardware import bf16_is_native


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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bf16_is_native() is native


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_counts_before_the_processor_and_without_emulation(monkeypatch, native):
    def supported(including_emulation=True):
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not native})
    assert bf16_is_native() is native
