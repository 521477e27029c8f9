"""Server-sent events: what changes is sent to every open page."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

WAITING = 1000  # events for a page that does not read them; then it is dropped, and reconnects
KEEP_ALIVE_S = 15.0


class Events:
    """Sends events to the pages that listen; ``send`` may be called from any thread."""

    def __init__(self) -> None:
        self._pages: dict[asyncio.Queue[str | None], asyncio.AbstractEventLoop] = {}

    def send(self, event: str, data: Any) -> None:
        """Send JSON to every page."""
        text = f"event: {event}\ndata: {json.dumps(data)}\n\n"
        for page, loop in list(self._pages.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._put, page, text)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        for page, loop in list(self._pages.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(page.put_nowait, None)

    async def stream(self) -> AsyncIterator[str]:
        """The events of one page, and a comment now and then, which finds out that a page has gone."""
        page: asyncio.Queue[str | None] = asyncio.Queue()
        self._pages[page] = asyncio.get_running_loop()
        try:
            yield ": connected\n\n"
            while True:
                try:
                    text = await asyncio.wait_for(page.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            del self._pages[page]

    def _put(self, page: asyncio.Queue[str | None], text: str) -> None:
        page.put_nowait(text if page.qsize() < WAITING else None)
