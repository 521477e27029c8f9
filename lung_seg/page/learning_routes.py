"""The page's requests about learning: start, watch and stop a training, and use its network."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from lung_seg.page.learning import PHANTOMS
from lung_seg.page.state import CurrentReview

router = APIRouter(prefix="/api/learning", tags=["page"])


@router.get("")
def progress(review: CurrentReview) -> dict[str, Any]:
    """How the training stands, and once it is finished, both networks side by side."""
    return review.learning.progress.as_json()


@router.post("")
def start(
    review: CurrentReview,
    mix: Annotated[str, Body()] = PHANTOMS,
    epochs: Annotated[int | None, Body(ge=1, le=1000)] = None,
) -> dict[str, Any]:
    """Train further on the corrections, mixed with "phantom" or with the user's own set in a folder."""
    review.learning.start(mix, epochs)
    return review.learning.progress.as_json()


@router.delete("")
def stop(review: CurrentReview) -> dict[str, Any]:
    """Stop the training."""
    review.learning.stop()
    return review.learning.progress.as_json()


@router.post("/use")
def use(review: CurrentReview, back: bool = False) -> dict[str, Any]:
    """Use the learned network from now on, or go back to the one before."""
    review.use_learned(back)
    return {"network": {"name": review.network.name, "hash": review.network.digest}}
