"""Lung segmentation in chest radiographs: a U-Net, PyTorch Lightning and Hydra."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lung_seg.prediction.predictor import Predictor

__all__ = ["Predictor"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import Predictor on first use, so that importing this package stays fast."""
    if name == "Predictor":
        from lung_seg.prediction.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
