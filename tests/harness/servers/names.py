"""A name server of the test's own, which answers what it is told to.

By hand: a record of one type, and a failure on demand, are fewer lines than a library for name servers wants.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from harness.patience import until

NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3


class Names(asyncio.DatagramProtocol):
    """Answers every question for an address, of whatever name, with the addresses that it holds."""

    def __init__(self, addresses: Iterable[str]):
        self.addresses = list(addresses)
        self.code = NO_ERROR
        self.answers = True  # else it keeps silent
        self.asked = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self.asked += 1
        if not self.answers:
            return
        question = data[12 : data.index(b"\0", 12) + 5]
        wanted = self.addresses if question[-4:-2] == b"\0\1" and self.code == NO_ERROR else []
        answer = data[:2] + struct.pack("!5H", 0x8180 | self.code, 1, len(wanted), 0, 0) + question
        for address in wanted:
            answer += struct.pack("!3HIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)
        self._transport.sendto(answer, peer)

    @property
    def resolver(self) -> str:
        """The directive for it."""
        return self.resolver_with("1s")

    def resolver_with(self, timeout: str) -> str:
        port = self._transport.get_extra_info("sockname")[1]
        return f"resolver 127.0.0.1:{port} valid=1s ipv6=off; resolver_timeout {timeout};"

    async def until_heard(self, workers: int = 1) -> None:
        """Waits for nginx's next query: by then it has applied the answer before."""
        asked = self.asked
        await until(lambda: self.asked >= asked + workers + 1)

    async def tell(self, addresses: Iterable[str] = (), code: int = NO_ERROR) -> None:
        """Changes the answer. Returns when nginx has applied it."""
        self.addresses, self.code = list(addresses), code
        await self.until_heard()


@asynccontextmanager
async def names(addresses: Iterable[str]) -> AsyncIterator[Names]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Names(addresses), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
