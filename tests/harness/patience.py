"""Waiting for something to happen, however slow the machine is."""

import asyncio
import inspect
import os
from collections.abc import Callable

# In seconds. An action that takes longer has failed.
PATIENCE = 60
WHOLE_TEST = 1200 if os.environ.get("STICKY_LONG") else 600


async def until(done: Callable[[], object], patience: float = PATIENCE) -> None:
    """`done` may be a coroutine function."""
    async with asyncio.timeout(patience):
        while True:
            result = done()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)
