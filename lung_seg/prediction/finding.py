"""What a second step says of the lungs of one radiograph: plain data, made outside of this room."""

from dataclasses import dataclass, field

from lung_seg.draw import Rgb


@dataclass(frozen=True)
class Finding:
    """Signs of a disease inside the lungs.

    Attributes:
        score: 0 to 1, a probability among radiographs like those of the training; None if it was refused.
        zones: what "right_upper" to "left_lower" add to the score's logit; empty if it was refused.
        text: the same in a sentence, or why it was refused.
        picture: the radiograph with the evidence of each place, at most 1024 px; None if it was refused.
    """

    score: float | None = None
    zones: dict[str, float] = field(default_factory=dict)
    text: str = ""
    picture: Rgb | None = None
