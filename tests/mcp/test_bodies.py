"""Bodies pass unchanged and without delay, whether or not an id is learned from them."""

import asyncio
import gzip
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import httpx
import pytest

from harness.conf import listen, upstream
from harness.nginx import BINARY, was_built_with
from harness.patience import PATIENCE
from harness.ports import free_ports
from harness.sdk import FRONT

ANSWERS = 300
CLIENTS = 20
# Around the sizes of nginx's buffers and of the part that the module reads.
SIZES = [0, 1, 100, 4095, 4096, 4097, 8192, 65_535, 65_536, 65_537, 500_000]
FRAMINGS = 3  # Content-Length, chunks, until the end of the connection

STICKY = "sticky_learn zone=sessions:1m;"
BUFFERED = FRONT.replace("proxy_buffering off;", "")

CALL = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "later"}
LISTEN = {"accept": "text/event-stream"}


@dataclass
class Answer:
    body: bytes
    type: str = "application/json"
    method: str = "POST"
    request: dict[str, str] = field(default_factory=lambda: CALL)
    headers: dict[str, str] = field(default_factory=dict)


# Valid and invalid answers of an MCP server, `filler` repeated as needed.


def task(filler: str) -> Answer:
    result = {"filler": filler, "resultType": "task", "taskId": f"t-{filler[:30]}-t".replace(" ", "-"), "ttlMs": 60_000}
    return Answer(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())


def task_stream(filler: str) -> Answer:
    progress = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"message": filler}})
    body = b": hello\r\n\r\ndata: %s\n\nid: 7\r\ndata: %s\r\n\r\n" % (progress.encode(), task(filler).body)
    return Answer(body, "text/event-stream; charset=utf-8")


def endpoint(filler: str) -> Answer:
    events = [": ping", f"event: other\ndata: {filler}", "event: endpoint\ndata: /messages/?session_id=0f", "data: {}"]
    body = "".join(f"{event}\n\n" for event in events)
    body = body.replace("\n", random.Random(filler).choice(["\n", "\r\n"]))
    return Answer(body.encode(), "text/event-stream", "GET", LISTEN)


def broken_json(filler: str) -> Answer:
    return Answer(b'{"jsonrpc":"2.0","result":{"taskId":' + b"[" * len(filler))


def broken_stream(filler: str) -> Answer:
    return Answer(b"event: endpoint\ndata: ?session_id=\0\xff" + filler.encode(), "text/event-stream", "GET", LISTEN)


def noise(filler: str) -> Answer:
    return Answer(random.Random(filler).randbytes(len(filler)), "text/event-stream")


def plain(filler: str) -> Answer:
    return Answer(filler.encode(), "text/plain")


def packed(filler: str) -> Answer:
    answer = task(filler)
    answer.body = gzip.compress(answer.body, mtime=0)
    answer.headers["Content-Encoding"] = "gzip"
    return answer


KINDS = [task, task_stream, endpoint, broken_json, broken_stream, noise, plain, packed]


@cache
def make(seed: int) -> Answer:
    chance = random.Random(seed)
    filler = "".join(chance.choices("abcdefg hijk", k=chance.choice(SIZES)))
    return KINDS[seed % len(KINDS)](filler)


def pieces(seed: int, body: bytes) -> list[bytes]:
    """Cut anywhere: a short body into single bytes, too."""
    chance = random.Random(seed)
    most = chance.choice([1, 10, 100]) if len(body) < 2_000 else chance.choice([1_000, 10_000, len(body)])
    cut, rest = [], body
    while rest:
        length = chance.randint(1, most)
        cut.append(rest[:length])
        rest = rest[length:]
    return cut


@dataclass
class Source:
    port: int
    go_on: dict[int, asyncio.Event] = field(default_factory=dict)  # by seed: what the second half waits for

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def answering() -> AsyncIterator[Source]:
    """A server that answers /SEED with make(SEED), in two halves where the second one has to wait."""
    source = Source(free_ports(1)[0])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            seed = int(re.match(rb"\S+ /(\d+)", head)[1])
            answer = make(seed)
            fields = {"Content-Type": answer.type, "Mcp-Session-Id": f"session-{seed}", "Connection": "close"}
            fields |= answer.headers
            length, chunked = ({"Content-Length": len(answer.body)}, {"Transfer-Encoding": "chunked"})
            framing = [length, chunked, {}][seed % FRAMINGS]
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for name, value in (fields | framing).items():
                writer.write(f"{name}: {value}\r\n".encode())
            writer.write(b"\r\n")
            middle = len(answer.body) // 2
            waits = seed in source.go_on
            for piece in [answer.body[:middle], answer.body[middle:]] if waits else pieces(seed, answer.body):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if framing is chunked else piece)
                await writer.drain()
                await (source.go_on[seed].wait() if waits else asyncio.sleep(0))
            if framing is chunked:
                writer.write(b"0\r\n\r\n")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", source.port, backlog=1024)
    async with server:
        yield source


async def fetch(client: httpx.AsyncClient, port: int, seed: int) -> tuple[int, dict[str, str], bytes]:
    answer = make(seed)
    url = f"http://127.0.0.1:{port}/{seed}"
    async with client.stream(answer.method, url, headers=answer.request) as response:
        body = b"".join([piece async for piece in response.aiter_raw()])
    ours = {"x-worker", "x-sticky", "date"}
    return response.status_code, {k: v for k, v in response.headers.items() if k not in ours}, body


def start(nginx, source: Source, front: str) -> tuple[int, int]:
    """One nginx, one server; two ways to it, without the module and with it."""
    bare, sticky = free_ports(2)
    nginx.start(
        upstream("bare", [source], "")
        + listen(bare, "bare", front)
        + upstream("sticky", [source], STICKY)
        + listen(sticky, "sticky", front)
    )
    return bare, sticky


@pytest.mark.parametrize("front", [FRONT, BUFFERED], ids=["unbuffered", "buffered"])
async def test_every_byte(nginx, report, front):
    nginx.allowed.append("an upstream response is buffered to a temporary file")
    seen: Counter[str] = Counter()
    async with answering() as source, httpx.AsyncClient(timeout=PATIENCE) as client:
        bare, sticky = start(nginx, source, front)
        seeds = iter(range(ANSWERS))

        async def compare() -> None:
            for seed in seeds:
                without, behind = await fetch(client, bare, seed), await fetch(client, sticky, seed)
                assert without == behind
                assert behind[2] == make(seed).body
                seen["bytes"] += len(behind[2])
                seen["answers"] += 1

        await asyncio.gather(*(compare() for _ in range(CLIENTS)))
    report(f"{seen['answers']} answers, {seen['bytes']:,} bytes, none different")


async def half_by_half(source: Source, port: int, seed: int) -> float:
    """Lets the second half of an answer go when the whole first one is here; gives the time that this took."""
    answer = make(seed)
    go_on = source.go_on[seed] = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = "".join(f"{name}: {value}\r\n" for name, value in answer.request.items())
    begin = time.monotonic()
    writer.write(f"{answer.method} /{seed} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.readexactly(len(answer.body) // 2)
        took = time.monotonic() - begin
        go_on.set()
        assert first + await reader.read(-1) == answer.body
    writer.close()
    return took


async def test_no_byte_is_later(nginx, report):
    shaped = [seed for seed in range(3 * FRAMINGS * len(KINDS)) if len(make(seed).body) > 1]
    async with answering() as source:
        bare, sticky = start(nginx, source, FRONT)
        without = await asyncio.gather(*(half_by_half(source, bare, seed) for seed in shaped))
        behind = await asyncio.gather(*(half_by_half(source, sticky, seed) for seed in shaped))
    report(
        f"{len(shaped)} answers in two halves: the first one is here at most {max(behind):.3f} s after the request, "
        f"{max(without):.3f} s without the module"
    )


GET = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tasks/get"}
GZIP = FRONT + "gzip on; gzip_min_length 1; gzip_proxied any; gzip_types application/json;"


async def learned(client: httpx.AsyncClient, port: int, seed: int) -> bool:
    """Lets nginx see an answer that begins a task, and asks for the task."""
    kind = make(seed)
    response = await client.post(f"http://127.0.0.1:{port}/{seed}", headers=kind.request)
    result = response.json()["result"]  # whatever it was packed in, it is whole
    assert result == json.loads(unpacked(kind))["result"]
    after = await client.post(f"http://127.0.0.1:{port}/0", headers=GET | {"mcp-name": result["taskId"]})
    return after.headers["x-sticky"] == "HIT"


def unpacked(answer: Answer) -> bytes:
    return gzip.decompress(answer.body) if "Content-Encoding" in answer.headers else answer.body


def seeds_of(kind: Callable[[str], Answer]) -> list[int]:
    """Those of a kind that are long enough for an id of their own, and short enough to be looked at whole."""
    seeds = range(KINDS.index(kind), ANSWERS, len(KINDS))
    return [seed for seed in seeds if 1_000 < len(unpacked(make(seed))) < 50_000]


@pytest.mark.parametrize("front", [FRONT, GZIP], ids=["as it is", "packed by nginx"])
async def test_what_can_be_read_teaches(nginx, report, front):
    async with answering() as source, httpx.AsyncClient(timeout=PATIENCE) as client:
        _, port = start(nginx, source, front)
        known = [await learned(client, port, seed) for seed in seeds_of(task)]
    report(f"{sum(known)} of {len(known)} tasks known")
    assert known and all(known)


async def test_what_the_server_has_packed_teaches_nothing(nginx, report):
    async with answering() as source, httpx.AsyncClient(timeout=PATIENCE) as client:
        _, port = start(nginx, source, FRONT)
        known = [await learned(client, port, seed) for seed in seeds_of(packed)]
    report(f"{sum(known)} of {len(known)} tasks known")
    assert known and not any(known)


READS = "error_log debug.log debug_core;"
LARGE = 8_000_000
FEW = 200_000  # 64 KiB for the module, and what nginx has read by then

AIO = {"": "", "threads": "aio threads;"}
SUB = "sub_filter nothing something; sub_filter_types application/json;"


@asynccontextmanager
async def large_answer(start: bytes) -> AsyncIterator[tuple[Source, bytes]]:
    """A server of one answer that is too large for nginx's buffers while the client does not read."""
    body = start + b"x" * (LARGE - len(start))
    source = Source(free_ports(1)[0])
    source.sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        writer.close()
        await writer.wait_closed()
        source.sent.set()

    async with await asyncio.start_server(serve, "127.0.0.1", source.port):
        yield source, body


@pytest.mark.skipif(not was_built_with(BINARY, "--with-debug"), reason="only a debug log tells of reads")
@pytest.mark.parametrize("aio", AIO)
@pytest.mark.parametrize("needed", ["", SUB], ids=["alone", "another filter reads"])
@pytest.mark.parametrize(
    "start", [b'{"result":{"resultType":"task","taskId":"t-1",', b'{"result":{"text":"'], ids=["id", "no id"]
)
async def test_what_is_not_read_any_more_is_sent_from_its_file(nginx, report, start, needed, aio):
    if aio and not was_built_with(BINARY, "--with-threads"):
        pytest.skip("no threads")
    if needed and not was_built_with(BINARY, "--with-http_sub_module"):
        pytest.skip("no sub filter")
    nginx.allowed.append("an upstream response is buffered to a temporary file")
    (port,) = free_ports(1)
    async with large_answer(start) as (source, body):
        front = f"sendfile on; {AIO[aio]} {READS} {needed}"
        http = upstream("sticky", [source], STICKY) + listen(port, "sticky", front)
        nginx.start(http.replace(f":{port};", f":{port} sndbuf=16k;"), workers=1)
        # The kernel's buffers hold little of it.
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=client)
        fields = "".join(f"{name}: {value}\r\n" for name, value in CALL.items())
        writer.write(f"POST / HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            await source.sent.wait()
            await reader.readuntil(b"\r\n\r\n")
            got = await reader.read(-1)
        writer.close()
    assert got == body
    log = (nginx.home / "debug.log").read_text()
    read = sum(map(int, re.findall(r" (?:thread )?read: \d+, [0-9A-Fa-f]+, (\d+), \d+$", log, re.M)))
    report(f"{read:,} of {len(body):,} bytes read from the file")
    assert read > LARGE // 2 if needed else read < FEW
