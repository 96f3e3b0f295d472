"""Clients that go on with their sessions, and begin some, while nginx ends and starts beneath them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.clients.http import Response, crowd, send
from harness.patience import until


class Storm:
    """A request whose connection breaks is repeated: only an answer says what has become of a session."""

    def __init__(self, port: int, clients: int = 50):
        self.port = port
        self.clients = clients
        self.firsts: list[Response] = []
        self.requests = 0
        self.broken = 0  # connections
        self.lost = 0  # answers to a session that nginx does not know
        self.moved = 0  # answers of another server
        self._over = False

    def __str__(self) -> str:
        return (
            f"{len(self.firsts):,} sessions, {self.requests:,} requests, {self.lost} lost, {self.moved} moved, "
            f"{self.broken} connections broken"
        )

    async def _send(self, id: bytes = b"") -> Response | None:
        try:
            response = await send(self.port, id)
        except (OSError, asyncio.IncompleteReadError):
            self.broken += 1
            await asyncio.sleep(0.01)
            return None
        self.requests += 1
        return response

    async def _ask(self, first: Response) -> None:
        while not (response := await self._send(first.id)):
            pass
        self.lost += response.sticky != "HIT"
        self.moved += response.sticky == "HIT" and response.replica != first.replica

    async def _client(self) -> None:
        while not self._over:
            if self.firsts and random.random() > 0.1:
                response = await self._send((first := random.choice(self.firsts)).id)
                if response:
                    self.lost += response.sticky != "HIT"
                    self.moved += response.sticky == "HIT" and response.replica != first.replica
            elif (first := await self._send()) and first.status == 200:
                self.firsts.append(first)

    @asynccontextmanager
    async def blowing(self) -> AsyncIterator["Storm"]:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._client())
            try:
                await self.goes_on()
                yield self
            finally:
                self._over = True

    async def goes_on(self) -> None:
        """Returns after some more requests."""
        enough = self.requests + 500
        await until(lambda: self.requests >= enough)

    async def every_session_is_known(self) -> None:
        await crowd(len(self.firsts), 20, lambda number: self._ask(self.firsts[number]))
