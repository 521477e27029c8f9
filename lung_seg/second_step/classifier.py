"""Linear classifiers of averages over the lungs, and their files: JSON, plain numbers and strings."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lung_seg.config import ENCODERS, MIN_SECOND_STEP_PX, OWN_ENCODER, RESIZE_MODES
from lung_seg.errors import UnusableFileError, UserError
from lung_seg.files import write_text
from lung_seg.second_step.scores import Values

NAME = "classifier.json"  # in a run directory of tuberculosis.py
MAX_PX = 4096  # of an image that a file may ask for
MAX_FILE_BYTES = 1_000_000
MAX_TEXT = 100  # characters of a text in a file: the finding becomes part of a cell


@dataclass(frozen=True)
class Classifier:
    """A linear classifier: the logit of label 1 is ``features @ weights + bias``.

    Attributes:
        weights: one for each feature.
        bias: the logit where every feature is 0.
        means: of the features in the training radiographs, relative to which evidence is counted.
    """

    weights: Values
    bias: float
    means: Values

    def logits(self, features: Values) -> Values:
        """Logits (radiographs,) of features (radiographs, numbers)."""
        result: Values = features @ self.weights + self.bias
        return result


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier and what it needs to judge other radiographs.

    Attributes:
        classifier: the classifier.
        finding: what label 1 stands for, in words.
        encoder: one of ENCODERS, or the user's as module:function.
        encoder_sha256: of the encoder's weights, and of the user's code.
        image_size_px: of the images of the training radiographs.
        resize: how they were resized.
        evidence_scale: evidence of a pixel that gets the full colour.
        data: names, hashes and numbers of the training radiographs, for people.
    """

    classifier: Classifier
    finding: str
    encoder: str
    encoder_sha256: str
    image_size_px: int
    resize: str
    evidence_scale: float
    data: dict[str, object]

    def write(self, path: Path) -> None:
        """Write the file."""
        classifier = self.classifier
        numbers = {"weights": classifier.weights.tolist(), "bias": classifier.bias, "means": classifier.means.tolist()}
        write_text(path, json.dumps(dataclasses.asdict(self) | {"classifier": numbers}, indent=1))

    @classmethod
    def read(cls, path: Path) -> "ClassifierFile":
        """Read a file, whoever wrote it.

        Raises:
            UserError: it cannot be read, or is not a file of this program.
        """
        remedy = "Give true, efficientnet, both, or a run directory of tuberculosis.py, which writes classifier.json."
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise UnusableFileError(f"it has more than {MAX_FILE_BYTES} bytes")
            values = json.loads(path.read_text(encoding="utf-8"))
            numbers = values.pop("classifier")
            if unknown := sorted(values.keys() - {field.name for field in dataclasses.fields(cls)}):
                raise UnusableFileError(f"its entry {unknown[0]!r:.40} is not known")
            weights, means = (np.array(numbers[name], dtype=np.float64) for name in ("weights", "means"))
            found = cls(classifier=Classifier(weights, float(numbers["bias"]), means), **values)
            found._check()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            own = isinstance(error, UnusableFileError)
            reason = str(error) if own else getattr(error, "strerror", None) or "it does not hold the numbers of one"
            raise UserError(f"{path} is no classifier of this program: {reason}.\n{remedy}") from error
        return found

    def _check(self) -> None:
        classifier = self.classifier
        numbers = np.concatenate([classifier.weights, classifier.means, [classifier.bias, self.evidence_scale]])
        if classifier.weights.shape != classifier.means.shape or not np.isfinite(numbers).all():
            raise UnusableFileError("its numbers are not finite, or not one mean for each weight")
        known = self.encoder in ENCODERS or (isinstance(self.encoder, str) and OWN_ENCODER.fullmatch(self.encoder))
        if not known or self.resize not in RESIZE_MODES:
            raise UnusableFileError(f"its encoder is {self.encoder!r} and its resize {self.resize!r}")
        if type(self.image_size_px) is not int or not MIN_SECOND_STEP_PX <= self.image_size_px <= MAX_PX:
            raise UnusableFileError(f"its image_size_px is {self.image_size_px}, not {MIN_SECOND_STEP_PX} to {MAX_PX}")
        texts = (self.finding, self.encoder_sha256)
        if not all(isinstance(text, str) and text.isprintable() and len(text) <= MAX_TEXT for text in texts):
            raise UnusableFileError(f"its finding and encoder_sha256 must be text of at most {MAX_TEXT} characters")
