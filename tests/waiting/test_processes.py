"""Workers that reload, quit, are terminated or killed while requests wait, and more requests than may wait."""

import asyncio
import os
import signal
from collections import Counter

from harness.clients.multiplex import http2
from harness.clients.questions import HeldBack, ask_many, backends, logged, outcomes, release, settled, site
from harness.nginx import HTTP2_ON, KILLED, Nginx
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.tls import Authority

ASKED = 50
NEVER = "after=never timeout=600000ms server={b}"


def log(nginx: Nginx) -> str:
    return "\n".join(nginx.errors())


async def has_ended(nginx: Nginx) -> None:
    await until(lambda: not nginx.is_running)


async def test_a_reload_waits_for_the_answers(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, NEVER), workers=1)
    (old,) = testing_nginx.workers
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    held = await HeldBack.begin(port)
    # The next worker has another source: it answers at once.
    await asyncio.to_thread(testing_nginx.reload, http_of(testing_nginx).replace("after=never", "after=0"))
    assert await outcomes(ask_many(port, 3)) == {(200, "b")}
    assert old in testing_nginx.workers
    assert not any(task.done() for task in asked)
    held.complete()
    assert await held.released() == ASKED
    assert await outcomes(asked) == {(200, "b")}
    await until(lambda: old not in testing_nginx.workers)
    (counts,) = logged(log(testing_nginx))
    assert (counts["asked"], counts["answered"]) == (ASKED, ASKED)


def http_of(nginx: Nginx) -> str:
    """What stands in http {}, of the configuration that nginx runs."""
    text = (nginx.home / "nginx.conf").read_text()
    return text[text.index("log_format asked") : text.rindex("}")]


async def test_a_quit_waits_for_the_answers(testing_nginx, new_nginx):
    (port, *servers) = free_ports(3)
    # A worker that quits does not listen any more.
    new_nginx(module=None).start(backends(servers), workers=1)
    testing_nginx.start(site(port, NEVER, servers=servers), workers=1)
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    held = await HeldBack.begin(port)
    testing_nginx.signal_quit()
    await until(lambda: "gracefully shutting down" in log(testing_nginx))
    held.complete()
    assert await held.released() == ASKED
    assert await outcomes(asked) == {(200, "b")}
    await has_ended(testing_nginx)
    assert [counts["answered"] for counts in logged(log(testing_nginx))] == [ASKED]


async def test_a_quit_waits_no_longer_than_the_questions(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, "after=never timeout=1000ms server={b}"), workers=1)
    asked = ask_many(port, ASKED)
    await settled(port, asked=ASKED)
    testing_nginx.signal_quit()
    assert await outcomes(asked) == {(503, "")}
    await has_ended(testing_nginx)
    assert [counts["timed_out"] for counts in logged(log(testing_nginx))] == [ASKED]


async def test_worker_shutdown_timeout_ends_the_wait(testing_nginx):
    (port,) = free_ports(1)
    configure = testing_nginx.configure

    def hurried(http: str, **arguments) -> None:
        configure(http, **arguments)
        conf = testing_nginx.home / "nginx.conf"
        conf.write_text("worker_shutdown_timeout 50ms;\n" + conf.read_text())

    testing_nginx.configure = hurried
    testing_nginx.start(site(port, NEVER), workers=1)
    (old,) = testing_nginx.workers
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    await asyncio.to_thread(testing_nginx.reload)
    assert await outcomes(asked) == {"closed"}
    await until(lambda: old not in testing_nginx.workers)
    (counts,) = logged(log(testing_nginx))
    assert (counts["gone"], counts["waiting"]) == (ASKED, 0)
    await settled(port, waiting=0, asked=0)


async def test_terminate_in_the_wait(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.start(site(port, NEVER), workers=1)
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    await asyncio.to_thread(testing_nginx.stop)
    assert await outcomes(asked) == {"closed"}


async def test_a_killed_worker(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.allowed.append(KILLED)
    testing_nginx.start(site(port, NEVER), workers=1)
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    await asyncio.to_thread(testing_nginx.kill_worker, testing_nginx.workers[0])
    assert await outcomes(asked) == {"closed"}
    # The next worker asks again.
    asked = ask_many(port, ASKED)
    await settled(port, waiting=ASKED)
    assert await release(port) == ASKED
    assert await outcomes(asked) == {(200, "b")}
    await settled(port, asked=ASKED, answered=ASKED, waiting=0)


async def test_more_requests_than_may_wait(testing_nginx):
    """5,000 at once, of which 1,000 may wait: the others get 503, and room is there again after the answers."""
    most, asked, connections = 1_000, 5_000, 5
    (port, front) = free_ports(2)
    authority = Authority(testing_nginx.home, "ca")
    authority.issue("front", "localhost")
    over = " ssl; http2 on;" if testing_nginx.version >= HTTP2_ON else " ssl http2;"
    listen = f"listen 127.0.0.1:{front}{over} http2_max_concurrent_streams 2000; keepalive_requests 100000;"
    listen += f" ssl_certificate {testing_nginx.home}/front.pem; ssl_certificate_key {testing_nginx.home}/front.key;"
    testing_nginx.start(site(port, NEVER, listen=listen), workers=1)
    async with asyncio.timeout(PATIENCE):
        clients = [http2(front, testing_nginx.home / "ca.pem") for _ in range(connections)]
        opened = [await client.__aenter__() for client in clients]
        try:
            exchanges = [
                client.request("GET", "/asked", b"id-%d-%d" % (number, each))
                for each in range(asked // connections)
                for number, client in enumerate(opened)
            ]
            await settled(port, waiting=most, asked=most, refused=asked - most)
            assert await release(port) == most
            answers = await asyncio.gather(*(exchange.whole() for exchange in exchanges))
            assert Counter((answer.status, answer.replica) for answer in answers) == {(200, "b"): most, (503, ""): asked - most}
            assert {answer.text("retry-after") for answer in answers if answer.status == 503} == {"1"}
            refused = [number for number, answer in enumerate(answers) if answer.status == 503][:most]
            ids = [b"id-%d-%d" % (number % connections, number // connections) for number in refused]
            again = [opened[0].request("GET", "/asked", id) for id in ids]
            await settled(port, waiting=most, asked=2 * most)
            assert await release(port) == most
            answers = await asyncio.gather(*(exchange.whole() for exchange in again))
            assert Counter((answer.status, answer.replica) for answer in answers) == {(200, "b"): most}
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)
    await settled(port, waiting=0, answered=2 * most, gone=0, timed_out=0)


async def test_a_stopped_worker_answers_after_its_time(testing_nginx):
    """Answers and timeouts that come due at the same time: each question ends once."""
    (port,) = free_ports(1)
    testing_nginx.start(site(port, "after=200ms timeout=200ms server={b}"), workers=1)
    (worker,) = testing_nginx.workers
    asked = ask_many(port, ASKED)
    await settled(port, asked=ASKED)
    os.kill(worker, signal.SIGSTOP)
    await asyncio.sleep(0.3)  # so that both are due when it goes on
    os.kill(worker, signal.SIGCONT)
    assert await outcomes(asked) <= {(200, "b"), (503, "")}
    counts = await settled(port, waiting=0)
    assert counts["answered"] + counts["timed_out"] == ASKED
