"""From a radiograph to its lungs. Needs NumPy, OpenCV, Pillow and one backend: PyTorch or onnxruntime."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lung_seg.config import LUNG_PROBABILITY, MAX_MEGAPIXELS
from lung_seg.errors import UserError
from lung_seg.prediction.backends import Batch, open_backend
from lung_seg.prediction.finding import Finding
from lung_seg.prediction.postprocess import (
    LEFT,
    RIGHT,
    Probability,
    clean,
    mask_at_original_size,
    nearest_lung_map,
)
from lung_seg.prediction.quality import assess_quality, combine_ranges, dice
from lung_seg.prediction.smaller_view import enlarged, remove_unconfirmed, shown_smaller
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask
from lung_seg.raw.radiograph import Radiograph, open_radiograph, refuse_blank
from lung_seg.raw.resize import to_network_input, to_original_size

MapT = TypeVar("MapT", bound=NDArray[Any])

SHIPPED = Path(__file__).parents[1] / "weights" / "lungs.safetensors"
SHIPPED_ONNX = SHIPPED.with_suffix(".onnx")
MIRRORED = "the file is mirrored, with the patient's right side on the right; right and left lung are the patient's"


@dataclass(frozen=True)
class Prediction:
    """The lungs of one radiograph, (H, W) at its original size.

    Attributes:
        right: the patient's right lung, bool; it lies on the image's left side unless the file is mirrored.
        left: the patient's left lung, bool.
        quality: how far to trust the mask, 0 to 1; see ``quality``.
        warning: why not to trust it, and what the reader of the file assumed; empty where nothing was found.
        network_probability: probability of lung, (S, S), of the network input.
        resize: how the radiograph was resized to the network input.
        mirrored: the file is mirrored: ``network_probability`` is mirrored with respect to the masks.
        quality_warning: the part of the warning that is about the mask alone.
        finding: what the second step says of the lungs; None without one.
    """

    right: Mask
    left: Mask
    quality: float
    warning: str
    network_probability: Probability
    resize: str
    mirrored: bool = False
    quality_warning: str = ""
    finding: Finding | None = None

    @property
    def mask(self) -> Mask:
        """Both lungs, (H, W) bool."""
        return self.right | self.left

    @property
    def probability(self) -> Probability:
        """Probability of lung before cleaning, (H, W) float32."""
        height_px, width_px = self.right.shape
        full = to_original_size(self.network_probability, height_px, width_px, self.resize)
        return mirror(full) if self.mirrored else full


class SecondStep(Protocol):
    """Looks for something inside the lungs that were found; ``digest`` tells what does it.

    ``threads`` is set by the Predictor: CPU threads per call, None for all.
    """

    digest: str
    threads: int | None

    def __call__(self, image: Grey, prediction: Prediction) -> Finding:
        """The finding in a radiograph (H, W)."""


class Predictor:
    """Segments the lungs of radiographs with one network, or with the mean probability of several.

        lungs = Predictor().predict("xray.png")
        lungs.mask, lungs.quality, lungs.warning

    Args:
        checkpoints: checkpoints, run directories, .safetensors or .onnx files; none: the shipped weights, by PyTorch
            where it is installed, else by onnxruntime.
        flip: average with the prediction of the mirrored radiograph.
        cleaning: remove what cannot be lung, or is none where the radiograph is shown smaller, and fill holes.
        inverted: radiographs, files and arrays, show air bright and bone dark.
        window: of DICOM, "auto" for its own window or VOI LUT unless that blanks the radiograph, "none" for neither.
        device: "cpu", "cuda", "mps", or "auto" for the fastest available.
        max_megapixels: a file with more pixels is refused before it is decoded.
        threads: CPU threads per call, None for all. Set it where several threads predict at once.
        precision: of PyTorch: "32-true", "bf16-mixed", or "auto" for the faster of them on this hardware.
        second_step: makes the ``finding`` of a radiograph (H, W) and its lungs; see ``second_step.assessment``.

    Raises:
        UserError: a file cannot be used, its backend is not installed, or the networks take inputs of different sizes.
    """

    def __init__(
        self,
        *checkpoints: Path | str,
        flip: bool = False,
        cleaning: bool = True,
        inverted: bool = False,
        window: str = "auto",
        device: str = "auto",
        max_megapixels: int = MAX_MEGAPIXELS,
        threads: int | None = None,
        precision: str = "auto",
        second_step: SecondStep | None = None,
    ):
        paths = [Path(checkpoint) for checkpoint in checkpoints] or [SHIPPED if find_spec("torch") else SHIPPED_ONNX]
        self.backends = [open_backend(path, device, threads, precision) for path in paths]
        self.flip = flip
        self.cleaning = cleaning
        self.inverted = inverted
        self.window = window
        self.max_megapixels = max_megapixels
        self.second_step = second_step
        if second_step is not None:
            second_step.threads = threads
        inputs = [backend.description["data"] for backend in self.backends]
        sizes = sorted({f"{data['image_size_px']} px, {data['resize']}" for data in inputs})
        if len(sizes) > 1:
            raise UserError(
                f"The networks of an ensemble must take the same input; these take {' and '.join(sizes)}.\n"
                "Predict with each alone, or train them with one data.image_size_px and data.resize."
            )
        self.size_px, self.resize = inputs[0]["image_size_px"], inputs[0]["resize"]
        self.step_px = 2 ** max(backend.description["network"]["depth"] for backend in self.backends)
        self.ranges = combine_ranges(backend.description["ranges"] for backend in self.backends)
        self.best_batch_size = min(backend.best_batch_size for backend in self.backends)

    def predict(self, radiograph: Grey | Path | str) -> Prediction:
        """Segment the lungs of one radiograph: a file, or (H, W) uint8 with air dark and bone bright.

        Raises:
            UserError: the file cannot be read, or the array is not (H, W) uint8.
        """
        if isinstance(radiograph, Path | str):
            opened = open_radiograph(Path(radiograph), self.inverted, self.max_megapixels, self.window)
            refuse_blank(Path(radiograph), opened.pixels)
        else:
            _check_array(radiograph)
            opened = Radiograph(~radiograph if self.inverted else radiograph)
        network_input = self.to_network_input(opened.pixels, opened.mirrored)
        (probability,) = self.probabilities([network_input])
        return self.finish(opened, network_input, probability)

    def to_network_input(self, image: Grey, mirrored: bool = False) -> Grey:
        """Resize a radiograph (H, W) to the network input (S, S), which shows the patient's right side on the left."""
        return to_network_input(mirror(image) if mirrored else image, self.size_px, self.resize)

    def probabilities(self, network_inputs: Sequence[Grey]) -> list[Probability]:
        """Probability of lung, (S, S) for each network input (S, S)."""
        if not network_inputs:
            return []
        batch = np.stack(network_inputs)
        probability = self._mean_probability(batch)
        if self.flip:
            mirrored = np.ascontiguousarray(batch[:, :, ::-1])
            probability = np.mean([probability, self._mean_probability(mirrored)[:, :, ::-1]], axis=0)
        return list(probability)

    def finish(self, radiograph: Radiograph, network_input: Grey, probability: Probability) -> Prediction:
        """Postprocess the probability (S, S) of a radiograph's network input (S, S) to masks at its original size."""
        height_px, width_px = radiograph.pixels.shape
        smaller = self._mask_of_smaller(network_input)
        agreement = dice(self._cleaned(probability) >= LUNG_PROBABILITY, smaller)
        confirmed = remove_unconfirmed(probability, smaller) if self.cleaning else probability
        cleaned = self._cleaned(confirmed)
        mask = cleaned >= LUNG_PROBABILITY
        quality = assess_quality(network_input, confirmed, mask, self.ranges, agreement)
        full_mask = mask_at_original_size(cleaned, height_px, width_px, self.resize)
        side = to_original_size(nearest_lung_map(mask), height_px, width_px, self.resize, cv2.INTER_NEAREST)
        right, left = full_mask & (side == RIGHT), full_mask & (side == LEFT)
        remarks = [*radiograph.remarks, *([MIRRORED] if radiograph.mirrored else []), quality.warning]
        prediction = Prediction(
            right=mirror(right) if radiograph.mirrored else right,
            left=mirror(left) if radiograph.mirrored else left,
            quality=quality.score,
            warning="; ".join(filter(None, remarks)),
            network_probability=probability,
            resize=self.resize,
            mirrored=radiograph.mirrored,
            quality_warning=quality.warning,
        )
        if self.second_step is None:
            return prediction
        return dataclasses.replace(prediction, finding=self.second_step(radiograph.pixels, prediction))

    def _mask_of_smaller(self, network_input: Grey) -> Mask:
        (probability,) = self._mean_probability(shown_smaller(network_input, self.step_px)[None])
        return self._cleaned(enlarged(probability, self.size_px)) >= LUNG_PROBABILITY

    def _cleaned(self, probability: Probability) -> Probability:
        return clean(probability) if self.cleaning else probability

    def _mean_probability(self, batch: Batch) -> NDArray[np.float32]:
        # The sigmoid of the logits, by tanh since exp(-logits) could overflow.
        probabilities = [0.5 + 0.5 * np.tanh(0.5 * backend(batch)) for backend in self.backends]
        mean: NDArray[np.float32] = np.mean(probabilities, axis=0)
        return mean


def _check_array(image: Any) -> None:
    is_array = isinstance(image, np.ndarray)
    if not is_array or image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
        got = f"An array {image.shape} of {image.dtype}" if is_array else f"A {type(image).__name__}"
        raise UserError(
            f"{got} is not a radiograph: it must be an array (height, width) of uint8.\n"
            "Give the file's path, or convert it to grey values from 0 to 255."
        )


def mirror(values: MapT) -> MapT:
    """A map or image (H, W) with its columns reversed, contiguous as OpenCV needs it."""
    return np.ascontiguousarray(values[:, ::-1])  # type: ignore[return-value]
