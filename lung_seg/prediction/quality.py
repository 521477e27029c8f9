"""Whether to trust a mask: one score, and plain words where not to.

The score is the Dice that the network itself expects of its mask, lowered for each feature of the lungs' shape and
brightness that lies outside the range seen in training. It knows nothing of the truth: a confident mistake of an
ordinary shape passes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from lung_seg.prediction.postprocess import Probability, find_lungs
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask

ReferenceRanges = dict[str, tuple[float, float]]

# What each feature is called in a warning, with its value and its range filled in; see features().
WARNING_TEMPLATES = {
    "area": "the lungs cover {value:.0%} of the image ({low:.0%} to {high:.0%} in training)",
    "symmetry": "the smaller lung has {value:.0%} of the larger one's area (at least {low:.0%} in training)",
    "height": "the lungs are {value:.2f} of the image high ({low:.2f} to {high:.2f} in training)",
    "width": "the lungs are {value:.2f} of the image wide ({low:.2f} to {high:.2f} in training)",
    "column": "the lungs lie around column {value:.2f} of the image ({low:.2f} to {high:.2f} in training)",
    "row": "the lungs lie around row {value:.2f} of the image ({low:.2f} to {high:.2f} in training)",
    "slant": "one lung lies {value:.2f} of the image higher than the other (at most {high:.2f} in training)",
    "gap": "the lungs' centres are {value:.2f} of the image apart ({low:.2f} to {high:.2f} in training)",
    "border": "{value:.0%} of the image's border is lung (at most {high:.0%} in training)",
    "darkness": "the lungs are not darker than what lies around them, as on a film",
}
RANGE_MARGIN = 0.25  # of a range's width, added at both ends: the training cases are not all there is
# Expected Dice below which a mask is called unsure. Of 92 validation cases of the weights that ship one lies below, at
# real Dice 0.82 (mean of all: 0.962); of an earlier network, for which it was chosen, three, at 0.79, 0.93 and 0.94.
MIN_EXPECTED_DICE = 0.94


@dataclass(frozen=True)
class Quality:
    """How far to trust a mask: ``score`` from 0 to 1, and ``warning``, empty where nothing speaks against it."""

    score: float
    warning: str


def assess_quality(image: Grey, probability: Probability, mask: Mask, ranges: ReferenceRanges) -> Quality:
    """Judge a mask by the network's own doubts and by the shapes seen in training, all (S, S).

    Args:
        image: what the network saw, uint8.
        probability: what it found, before anything was removed.
        mask: what became of it.
        ranges: of each feature in training, as ``typical_ranges`` gives them; empty: shape is not judged.
    """
    expected = expected_dice(probability, mask)
    if not mask.any():
        return Quality(0.0, "no lung was found")
    warnings = [f"the network is unsure (it expects a Dice of {expected:.2f})"] if expected < MIN_EXPECTED_DICE else []
    right, left = find_lungs(mask)
    if right is None or left is None:
        return Quality(expected / 2, "; ".join(["only one lung was found", *warnings]))
    seen = features(image, right, left)
    excesses = {name: distance_out_of_range(seen[name], *bounds) for name, bounds in ranges.items()}
    for name, excess in excesses.items():
        if excess:
            low, high = ranges[name]
            warnings.append(WARNING_TEMPLATES[name].format(value=seen[name], low=low, high=high))
    score = expected / (1 + sum(excesses.values()))
    return Quality(score, "; ".join(warnings))


def expected_dice(probability: Probability, mask: Mask) -> float:
    """The Dice of a mask (S, S) if each pixel is lung with its probability: 1 where there is no doubt."""
    total = float(probability.sum() + mask.sum())
    return 2 * float(probability[mask].sum()) / total if total else 1.0


def features(image: Grey, right: Mask, left: Mask) -> dict[str, float]:
    """Numbers that tell a pair of lungs from other things, all (S, S); lengths are fractions of the image's side."""
    side_px = len(image)
    lungs = right | left
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    (right_row, right_column), (left_row, left_column) = (_centre(lung) for lung in (right, left))
    smaller, larger = sorted((right.sum(), left.sum()))
    edge = np.concatenate([lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1]])
    return {
        "area": float(lungs.mean()),
        "symmetry": float(smaller / larger),
        "height": float(rows[-1] + 1 - rows[0]) / side_px,
        "width": float(columns[-1] + 1 - columns[0]) / side_px,
        "column": (right_column + left_column) / 2 / side_px,
        "row": (right_row + left_row) / 2 / side_px,
        "slant": abs(right_row - left_row) / side_px,
        "gap": (left_column - right_column) / side_px,
        "border": float(edge.mean()),
        "darkness": _darkness(image, lungs),
    }


def reference_ranges(cases: Iterable[tuple[Grey, Mask]]) -> ReferenceRanges:
    """Between which values each feature of radiographs and masks, (S, S) each, lies, with some slack at both ends.

    Cases without two lungs are left out; of no case there is no range.
    """
    pairs = ((image, *find_lungs(mask)) for image, mask in cases)
    observed = [features(image, right, left) for image, right, left in pairs if right is not None and left is not None]
    if not observed:
        return {}
    ranges = {}
    for name in WARNING_TEMPLATES:
        low, high = np.quantile([one[name] for one in observed], (0.005, 0.995))
        slack = RANGE_MARGIN * (high - low)
        ranges[name] = (float(low - slack), float(high + slack))
    return ranges


def distance_out_of_range(value: float, low: float, high: float) -> float:
    """How far a value lies outside its range, in widths of the range."""
    return max(low - value, value - high, 0.0) / max(high - low, 1e-6)


def _centre(lung: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(lung)
    return float(rows.mean()), float(columns.mean())


def _darkness(image: Grey, lungs: Mask) -> float:
    """How much darker the lungs are than a rim around them, in standard deviations of the image."""
    rim_px = max(1, len(image) // 16)
    grown = cv2.dilate(lungs.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim_px + 1,) * 2)) > 0
    rim = grown & ~lungs
    if not rim.any():
        return 0.0
    return float((image[rim].mean() - image[lungs].mean()) / max(image.std(), 1.0))
