"""In which arithmetic a network runs: bf16 where the hardware multiplies it, else float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from lung_seg.errors import UserError

TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by Lightning's names


def choose_precision(asked: str, accelerator: str) -> str:
    """The precision that was asked for, and for "auto" the fastest.

    Raises:
        UserError: there is no such precision.
    """
    if asked == "auto":
        return fastest_precision(accelerator)
    if asked not in TYPES:
        raise UserError(f"precision={asked} must be one of auto | {' | '.join(TYPES)}.\nauto takes the fastest here.")
    return asked


def fastest_precision(accelerator: str) -> str:
    """bf16-mixed where the hardware multiplies bf16 itself, else 32-true.

    On a CPU that only emulates bf16 the mixed precision is slower than float32.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        native = torch.cpu._is_avx512_bf16_supported()
    else:
        native = False
    return "bf16-mixed" if native else "32-true"


def autocast(device_type: str, precision: str) -> AbstractContextManager[object]:
    """Have the operations that allow it run in this precision, on this type of device."""
    return nullcontext() if precision == "32-true" else torch.autocast(device_type, TYPES[precision])
