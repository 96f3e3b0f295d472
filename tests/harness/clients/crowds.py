"""Sessions by their server, and clients that use them continuously."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from harness.clients.http import Response, send
from harness.patience import until
from harness.servers.replica import Replica


async def seats(port: int, servers: Iterable[Replica], each: int) -> dict[str, list[bytes]]:
    """Opens sessions until each server holds so many; their ids by the server's name."""
    ids: dict[str, list[bytes]] = {replica.name: [] for replica in servers}
    while min(map(len, ids.values())) < each:
        first = await send(port)
        assert (first.status, first.sticky) == (200, "NEW")
        ids[first.replica].append(first.id)
    return {name: of_it[:each] for name, of_it in ids.items()}


@dataclass
class Answer:
    id: bytes
    began: float
    took: float
    status: int
    sticky: str
    replica: str

    @property
    def said(self) -> tuple[int, str, str]:
        return self.status, self.sticky, self.replica


def answer_of(id: bytes, began: float, response: Response) -> Answer:
    return Answer(id, began, time.monotonic() - began, response.status, response.sticky, response.replica)


async def ask(port: int, id: bytes, **request) -> Answer:
    began = time.monotonic()
    return answer_of(id, began, await send(port, id, **request))


async def ask_all(port: int, ids: Iterable[bytes], **request) -> list[Answer]:
    """A request of each session, all at once."""
    return await asyncio.gather(*(ask(port, id, **request) for id in ids))


@dataclass
class Traffic:
    """Sessions in use: each sends a request, waits, and sends the next."""

    answers: list[Answer] = field(default_factory=list)
    _tasks: list[asyncio.Task] = field(default_factory=list)

    def since(self, moment: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.began >= moment]

    def count(self) -> Counter:
        return Counter(answer.said for answer in self.answers)

    def start(self, port: int, ids: Iterable[bytes], pause: float) -> None:
        ids = list(ids)
        for number, id in enumerate(ids):
            self._tasks.append(asyncio.create_task(self._use(port, id, pause, pause * number / len(ids))))

    async def _use(self, port: int, id: bytes, pause: float, delay: float) -> None:
        await asyncio.sleep(delay)
        while True:
            self.answers.append(await ask(port, id))
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for done in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(done, Exception):
                raise done

    async def round(self) -> None:
        """Waits until each session has an answer to a request sent after this call."""
        now, number = time.monotonic(), len(self._tasks)
        await until(lambda: len({answer.id for answer in self.since(now)}) >= number)


@asynccontextmanager
async def traffic(port: int, ids: Iterable[bytes], pause: float) -> AsyncIterator[Traffic]:
    made = Traffic()
    made.start(port, ids, pause)
    try:
        yield made
    finally:
        await made.stop()
