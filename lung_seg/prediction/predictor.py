"""From a radiograph to its lungs, in a notebook or a service: neither Hydra nor Lightning is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.prediction.backends import Batch, open_backend
from lung_seg.prediction.postprocess import LEFT, LUNG_PROBABILITY, RIGHT, Probability, clean, nearest_lung_map
from lung_seg.prediction.quality import ReferenceRanges, assess_quality
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask
from lung_seg.raw.radiograph import read_radiograph
from lung_seg.raw.resize import to_network_input, to_original_size

SHIPPED = Path(__file__).parents[1] / "weights" / "lungs.safetensors"


@dataclass(frozen=True)
class Prediction:
    """The lungs of one radiograph, (H, W) as large as it was.

    Attributes:
        right: the patient's right lung, bool; it lies on the image's left side.
        left: the patient's left lung, bool.
        quality: from 0 to 1, how far to trust the mask; see ``quality``.
        warning: why not to, in plain words; empty where nothing speaks against it.
        square_probability: what the network found, (S, S) at its own size.
        resize: how the radiograph became square.
    """

    right: Mask
    left: Mask
    quality: float
    warning: str
    network_probability: Probability
    resize: str

    @property
    def mask(self) -> Mask:
        """Both lungs."""
        return self.right | self.left

    @property
    def probability(self) -> Probability:
        """Of lung, (H, W) float32, before anything was removed or filled."""
        height_px, width_px = self.right.shape
        return to_original_size(self.network_probability, height_px, width_px, self.resize, cv2.INTER_LINEAR)


class Predictor:
    """Finds the lungs of radiographs with one network, or with the mean of several.

        lungs = Predictor().predict("xray.png")
        lungs.mask, lungs.quality, lungs.warning

    Args:
        checkpoints: a checkpoint, a run directory, a .safetensors or an .onnx file each; none: the weights that ship.
        flip: average with what is found in the mirrored radiograph.
        cleaning: remove what cannot be lung and fill holes.
        device: "cpu", "cuda", "mps", or "auto" for the fastest there is.
        max_megapixels: a file that says it holds more millions of pixels is refused before it is decoded.
        threads: cores of the CPU that one call uses, None for all; whoever calls from several threads wants one each.
        precision: of PyTorch: "32-true", "bf16-mixed", or "auto" for the faster of them on this hardware.

    Raises:
        UserError: a file cannot be used, or the networks want radiographs of different sizes.
    """

    def __init__(
        self,
        *checkpoints: Path | str,
        flip: bool = False,
        cleaning: bool = True,
        device: str = "auto",
        max_megapixels: int = MAX_MEGAPIXELS,
        threads: int | None = None,
        precision: str = "auto",
    ):
        paths = [Path(checkpoint) for checkpoint in checkpoints] or [SHIPPED]
        self.backends = [open_backend(path, device, threads, precision) for path in paths]
        self.flip = flip
        self.cleaning = cleaning
        self.max_megapixels = max_megapixels
        inputs = [runtime.description["data"] for runtime in self.backends]
        wanted = sorted({f"{data['image_size_px']} px, {data['resize']}" for data in inputs})
        if len(wanted) > 1:
            raise UserError(
                f"The networks of an ensemble must take radiographs alike; these want {' and '.join(wanted)}.\n"
                "Predict with each alone, or train them at one data.image_size_px and data.resize."
            )
        self.size_px, self.resize = inputs[0]["image_size_px"], inputs[0]["resize"]
        self.ranges: ReferenceRanges = self.backends[0].description["ranges"]
        self.best_batch_size = min(runtime.best_batch_size for runtime in self.backends)

    def predict(self, radiograph: Grey | Path | str) -> Prediction:
        """The lungs of one radiograph.

        Args:
            radiograph: a file, or (H, W) uint8 with air dark and bone bright.

        Raises:
            UserError: the file cannot be read, or the array is none of a radiograph.
        """
        image = self._read(Path(radiograph)) if isinstance(radiograph, Path | str) else _checked(radiograph)
        network_input = self.to_network_input(image)
        (probability,) = self.probabilities([network_input])
        return self.finish(network_input, probability, *image.shape)

    def _read(self, path: Path) -> Grey:
        return read_radiograph(path, max_megapixels=self.max_megapixels)

    def to_network_input(self, image: Grey) -> Grey:
        """What the networks see of a radiograph (H, W): (S, S)."""
        return to_network_input(image, self.size_px, self.resize)

    def probabilities(self, network_inputs: Sequence[Grey]) -> list[Probability]:
        """Probability of lung, (S, S) each, of what the networks see, (S, S) each."""
        if not network_inputs:
            return []
        images = np.stack(network_inputs)
        views = [self._mean_probability(images)]
        if self.flip:
            mirrored = np.ascontiguousarray(images[:, :, ::-1])
            views.append(self._mean_probability(mirrored)[:, :, ::-1])
        return list(np.mean(views, axis=0))

    def finish(self, network_input: Grey, probability: Probability, height_px: int, width_px: int) -> Prediction:
        """From the network's square (S, S) back to a radiograph's own size (height_px, width_px)."""
        kept = clean(probability) if self.cleaning else probability
        mask = kept >= LUNG_PROBABILITY
        quality = assess_quality(network_input, probability, mask, self.ranges)
        at_own_size = to_original_size(kept, height_px, width_px, self.resize, cv2.INTER_LINEAR) >= LUNG_PROBABILITY
        side = to_original_size(nearest_lung_map(mask), height_px, width_px, self.resize, cv2.INTER_NEAREST)
        return Prediction(
            right=at_own_size & (side == RIGHT),
            left=at_own_size & (side == LEFT),
            quality=quality.score,
            warning=quality.warning,
            network_probability=probability,
            resize=self.resize,
        )

    def _mean_probability(self, images: Batch) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.mean([_sigmoid(runtime(images)) for runtime in self.backends], axis=0)
        return found


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of logits; by the hyperbolic tangent, which cannot overflow."""
    probability: NDArray[np.float32] = 0.5 + 0.5 * np.tanh(0.5 * logits)
    return probability


def _checked(image: Grey) -> Grey:
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
        given = f"An array {image.shape} of {image.dtype}" if is_array else f"A {type(image).__name__}"
        raise UserError(
            f"{given} is no radiograph: it must be an array (height, width) of uint8.\n"
            "Give the file's path, or make it grey and scale it to 0 to 255."
        )
    return image
