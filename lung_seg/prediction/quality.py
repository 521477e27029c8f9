"""Whether to trust a mask: a score, and a warning with the reasons not to.

The score is the mean of two Dice coefficients: the one that the network itself expects of its mask, and that with the
mask it finds in the same radiograph shown smaller. It is lowered for each feature of the lungs' shape and brightness
that lies outside the range seen in training. It knows nothing of the truth: a confident mistake of an ordinary shape
passes. docs/scores.md has how many of the masks that are grossly wrong it finds, and at how many false alarms.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from lung_seg.prediction.postprocess import Probability, find_lungs
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask, rim

ReferenceRanges = dict[str, tuple[float, float]]

# The warnings about each of features() below and above its range, with its value and the range; None: nothing is wrong.
WARNING_TEMPLATES: dict[str, tuple[str | None, str | None]] = {
    "area": ("the lungs cover {value:.0%} of the image ({low:.0%} to {high:.0%} in training)",) * 2,
    "symmetry": ("the smaller lung has {value:.0%} of the larger one's area (at least {low:.0%} in training)", None),
    "height": ("the lungs are {value:.2f} of the image high ({low:.2f} to {high:.2f} in training)",) * 2,
    "width": ("the lungs are {value:.2f} of the image wide ({low:.2f} to {high:.2f} in training)",) * 2,
    "column": ("the lungs lie around column {value:.2f} of the image ({low:.2f} to {high:.2f} in training)",) * 2,
    "row": ("the lungs lie around row {value:.2f} of the image ({low:.2f} to {high:.2f} in training)",) * 2,
    "slant": (None, "one lung lies {value:.2f} of the image higher than the other (at most {high:.2f} in training)"),
    "gap": ("the lungs' centres are {value:.2f} of the image apart ({low:.2f} to {high:.2f} in training)",) * 2,
    "border": (None, "{value:.0%} of the image's border is lung (at most {high:.0%} in training)"),
    "darkness": (
        "the lungs are hardly darker than what lies around them ({value:.2f}, at least {low:.2f} in training)",
        "the lungs are much darker than what lies around them ({value:.2f}, at most {high:.2f} in training)",
    ),
}
# Given whatever the ranges are. Lungs found on 676 radiographs of three sets are darker by 0.16 to 1.77.
NEGATIVE = "the lungs are not darker than what lies around them but brighter: it may be a negative (see inverted=)"
RANGE_MARGIN = 0.25  # of a range's width, added at both ends: new cases vary more than the training cases
MAX_EXTRA_DIGITS = 6  # of a value in a warning
# The score, before it is lowered, below which the network counts as unsure. Of 90 films of other hospitals, scored by
# networks that were not trained on them, all masks that are grossly wrong lie below it, and so did those of the weights
# before, which were 11; of 192 cases of the hospitals trained on none does (docs/scores.md).
MIN_SCORE = 0.94


@dataclass(frozen=True)
class Quality:
    """How far to trust a mask: ``score`` from 0 to 1, and ``warning``, empty if there is no reason not to."""

    score: float
    warning: str


def assess_quality(
    image: Grey, probability: Probability, mask: Mask, ranges: ReferenceRanges, agreement: float = 1.0
) -> Quality:
    """Assess a cleaned mask by the network's probability before cleaning and by the features seen in training.

    Args:
        image: the network input, (S, S) as the others.
        probability: of lung, before cleaning, without what the smaller view did not confirm.
        mask: after cleaning.
        ranges: of the features seen in training, see ``reference_ranges``; others are not checked.
        agreement: Dice of the mask with the one found where the radiograph is shown smaller.
    """
    expected = (expected_dice(probability, mask) + agreement) / 2
    if not mask.any():
        return Quality(0.0, "no lung was found")
    warnings = [f"the network is unsure (it expects a Dice of {expected:.2f})"] if expected < MIN_SCORE else []
    darkness = _darkness(image, mask)
    if darkness < 0:
        warnings.append(NEGATIVE)
    right, left = find_lungs(mask)
    if right is None or left is None:
        return Quality(expected / 2, "; ".join(["only one lung was found", *warnings]))
    values = features(image, right, left)
    excess = max(0.0, -darkness)  # how far all features together lie outside what is ordinary
    for name, (low, high) in ranges.items():
        value = values[name]
        template = WARNING_TEMPLATES[name][value > high]
        if low <= value <= high or template is None or (name == "darkness" and darkness < 0):
            continue
        warnings.append(_format(template, value, low, high))
        excess += max(low - value, value - high) / max(high - low, 1e-6)  # in widths of the range
    return Quality(expected / (1 + excess), "; ".join(warnings))


def _format(template: str, value: float, low: float, high: float) -> str:
    """The warning, with as many digits as it takes to tell the value from the bound that it lies beyond."""
    bound = high if value > high else low
    for extra in range(MAX_EXTRA_DIGITS + 1):
        finer = template.replace(".0%", f".{extra}%").replace(".2f", f".{2 + extra}f")
        text = finer.format(value=value, low=low, high=high)
        if text != finer.format(value=bound, low=low, high=high):
            break
    return text


def expected_dice(probability: Probability, mask: Mask) -> float:
    """Expected Dice of a mask (S, S) if each pixel is lung with its probability: 1 for probabilities of 0 and 1."""
    total = float(probability.sum() + mask.sum())
    return 2 * float(probability[mask].sum()) / total if total else 1.0


def dice(first: Mask, second: Mask) -> float:
    """Dice of two masks of one size; 1 if both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 1.0


def features(image: Grey, right: Mask, left: Mask) -> dict[str, float]:
    """Features of a pair of lungs, all images (S, S); lengths are fractions of the image's side."""
    side_px = len(image)
    lungs = right | left
    _, _, width_px, height_px = cv2.boundingRect(lungs.view(np.uint8))
    (right_row, right_column), (left_row, left_column) = (
        np.argwhere(lung).mean(axis=0).tolist() for lung in (right, left)
    )
    smaller, larger = sorted((right.sum(), left.sum()))
    edge = np.concatenate([lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1]])
    return {
        "area": float(lungs.mean()),
        "symmetry": float(smaller / larger),
        "height": height_px / side_px,
        "width": width_px / side_px,
        "column": (right_column + left_column) / 2 / side_px,
        "row": (right_row + left_row) / 2 / side_px,
        "slant": abs(right_row - left_row) / side_px,
        "gap": (left_column - right_column) / side_px,
        "border": float(edge.mean()),
        "darkness": _darkness(image, lungs),
    }


def reference_ranges(cases: Iterable[tuple[Grey, Mask]]) -> ReferenceRanges:
    """Range of each feature over network inputs and masks, (S, S) each, with a margin at both ends.

    Cases without two lungs are left out; without any case the result is empty.
    """
    lungs = ((image, *find_lungs(mask)) for image, mask in cases)
    observed = [features(image, right, left) for image, right, left in lungs if right is not None and left is not None]
    if not observed:
        return {}
    ranges = {}
    for name in WARNING_TEMPLATES:
        low, high = np.quantile([values[name] for values in observed], (0.005, 0.995))
        margin = RANGE_MARGIN * (high - low)
        ranges[name] = (float(low - margin), float(high + margin))
    return ranges


def combine_ranges(networks: Iterable[ReferenceRanges]) -> ReferenceRanges:
    """The ranges of an ensemble: what any of its networks has seen, from the lowest to the highest."""
    combined: ReferenceRanges = {}
    for ranges in networks:
        for name, (low, high) in ranges.items():
            known_low, known_high = combined.get(name, (low, high))
            combined[name] = (min(low, known_low), max(high, known_high))
    return combined


def _darkness(image: Grey, lungs: Mask) -> float:
    """How much darker the lungs are than a rim around them, in standard deviations of the image."""
    around = rim(lungs, max(1, len(image) // 16))
    if not around.any():
        return 0.0
    return float((image[around].mean() - image[lungs].mean()) / max(image.std(), 1.0))
