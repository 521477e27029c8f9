"""What the functions of requests ask for: the server's review, its network and the sessions of its page."""

from typing import Annotated

from fastapi import Depends, Request

from lung_seg.page.access import Sessions
from lung_seg.page.network import Network
from lung_seg.page.review import Review


def _review(request: Request) -> Review:
    review: Review = request.app.state.review
    return review


def _network(request: Request) -> Network:
    network: Network = request.app.state.review.network
    return network


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


CurrentReview = Annotated[Review, Depends(_review)]
CurrentNetwork = Annotated[Network, Depends(_network)]
CurrentSessions = Annotated[Sessions, Depends(_sessions)]
