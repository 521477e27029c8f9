"""Which precision is the fastest on a device."""

import pytest
import torch

from lung_seg.model.precision import choose_precision


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("bf16_of_the_gpu", [True, False])
def test_the_device_that_is_used_decides(monkeypatch: pytest.MonkeyPatch, avx512: bool, bf16_of_the_gpu: bool) -> None:
    """A GPU that is not asked for says nothing about the CPU."""
    expected = {True: "bf16-mixed", False: "32-true"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16_of_the_gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert choose_precision("auto", "cpu") == expected[avx512]
    for accelerator in ("cuda", "gpu", "auto"):
        assert choose_precision("auto", accelerator) == expected[bf16_of_the_gpu]
