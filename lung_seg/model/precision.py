"""Numeric precision that a network runs in: bf16 where the hardware multiplies it, else float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from lung_seg.errors import UserError

TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by Lightning's names


def choose_precision(requested: str, accelerator: str) -> str:
    """The requested precision; for "auto" bf16-mixed where the hardware multiplies bf16, else 32-true.

    Where bf16 is only emulated the mixed precision is slower than float32.

    Raises:
        UserError: there is no such precision.
    """
    if requested in TYPES:
        return requested
    if requested != "auto":
        rule = f"must be one of auto | {' | '.join(TYPES)}"
        raise UserError(f"precision={requested} {rule}.\nauto takes the fastest of this machine.")
    native = False
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator in ("cpu", "auto") and not torch.backends.mps.is_available():
        native = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"


def autocast(device_type: str, precision: str) -> AbstractContextManager[object]:
    """Run the operations that allow it in this precision on this type of device."""
    return nullcontext() if precision == "32-true" else torch.autocast(device_type, TYPES[precision])
