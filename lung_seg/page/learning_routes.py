"""The page's requests about learning: start, watch and stop a training, and use its network."""

from typing import Annotated, Any

from fastapi import Body, FastAPI

from lung_seg.page.learning import PHANTOMS
from lung_seg.page.review import Review


def add_routes(app: FastAPI, review: Review) -> None:
    """Add these routes to the application."""
    learning = review.learning

    @app.get("/api/learning", tags=["page"])
    def progress() -> dict[str, Any]:
        """How the training stands, and once it is finished, both networks side by side."""
        return learning.progress.as_json()

    @app.post("/api/learning", tags=["page"])
    def start(
        mix: Annotated[str, Body()] = PHANTOMS, epochs: Annotated[int | None, Body(ge=1, le=1000)] = None
    ) -> dict[str, Any]:
        """Train further on the corrections, mixed with "phantom" or with the user's own set in a folder."""
        learning.start(mix, epochs)
        return learning.progress.as_json()

    @app.delete("/api/learning", tags=["page"])
    def stop() -> dict[str, Any]:
        """Stop the training."""
        learning.stop()
        return learning.progress.as_json()

    @app.post("/api/learning/use", tags=["page"])
    def use(back: bool = False) -> dict[str, Any]:
        """Use the learned network from now on, or go back to the one before."""
        review.use_learned(back)
        return {"network": {"name": review.network.name, "hash": review.network.digest}}
