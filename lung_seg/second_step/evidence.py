"""Where in the lungs a logit comes from: exact, since it is linear in averages over the lungs."""

from itertools import pairwise

import numpy as np

from lung_seg.draw import PREDICTION_COLOUR, TRUTH_COLOUR, Rgb, overlay
from lung_seg.raw.image_file import Grey
from lung_seg.raw.masks import Mask
from lung_seg.second_step.classifier import Classifier
from lung_seg.second_step.encoder import FeatureMap
from lung_seg.second_step.features import cell_numbers, counted_pixels
from lung_seg.second_step.scores import Values

OPACITY = 0.6  # of the strongest evidence


def evidence_map(maps: list[FeatureMap], lungs: Mask, classifier: Classifier) -> Values:
    """What each pixel (S, S) adds to the logit of an average radiograph; 0 outside the lungs.

    The sum over the pixels is the radiograph's logit minus that of one whose features are the ``classifier.means``. A
    cell's part is divided among its pixels of lung.
    """
    evidence = np.zeros(lungs.shape)
    ends = np.cumsum([0, *(len(level) for level in maps)]).tolist()
    for values, (start, end) in zip(maps, pairwise(ends), strict=True):
        cells = values.shape[-1]
        counted = counted_pixels(lungs, cells)
        difference = values - classifier.means[start:end, None, None]
        of_pixel = np.tensordot(classifier.weights[start:end], difference, 1) * (counted > 0) / counted.sum()
        number = cell_numbers(len(lungs), cells)
        evidence += of_pixel[np.ix_(number, number)]
    return np.where(lungs, evidence, 0.0)


def strong_evidence(evidence: Values, lungs: Mask) -> float:
    """Evidence that 2 % of a radiograph's pixels of lung exceed, for or against."""
    return float(np.quantile(np.abs(evidence[lungs]), 0.98))


def evidence_overlay(image: Grey, lungs: Mask, evidence: Values, strongest: float) -> Rgb:
    """The radiograph (S, S) tinted orange where evidence speaks for label 1 and blue-green where it speaks against.

    ``strongest`` is the evidence of a pixel that gets the full colour; use one for all pictures that are compared.
    """
    picture = overlay(image, lungs, None).astype(np.float64)
    strength = OPACITY * np.clip(evidence / max(strongest, 1e-12), -1, 1)
    for colour, weight in ((PREDICTION_COLOUR, strength), (TRUTH_COLOUR, -strength)):
        opacity = np.maximum(weight, 0)[..., None]
        picture += opacity * (np.array(colour) - picture)
    return np.rint(picture).astype(np.uint8)
