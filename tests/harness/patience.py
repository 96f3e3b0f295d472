"""Waiting for something to happen, however slow the machine is."""

import asyncio
import inspect
import os
from collections.abc import Callable

# Seconds; what takes longer hangs.
PATIENCE = 60
WHOLE_TEST = 1200 if os.environ.get("STICKY_LONG") else 600


async def until(done: Callable[[], object]) -> None:
    """What `done` gives may have to be awaited."""
    async with asyncio.timeout(PATIENCE):
        while True:
            result = done()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)
