"""Names: by nginx's resolver at each connection, or once at start."""

import re

from harness.connect import NO_DEADLINE, SAY, connect, result, results
from harness.patience import until
from harness.ports import free_ports
from harness.servers.lines import lines
from harness.servers.names import NO_SUCH_NAME, names

FIXED = r'\[warn\] .* no resolver defined to resolve "localhost:\d+", the addresses it has now are used in .*nginx\.conf:\d+'
AWAY = r'\[warn\] .* host not found in "no-such-name\.invalid:\d+", it counts as away in .*nginx\.conf:\d+'


async def test_a_name_is_resolved_at_run_time(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.11", port)), names(["127.0.0.11"]) as dns:
        assert await result(testing_nginx, f"server.test:{port}", http=dns.resolver) == "answered"


async def test_the_resolver_may_stand_behind_the_directive(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.11", port)), names(["127.0.0.11"]) as dns:
        testing_nginx.start(connect(f"server.test:{port}") + dns.resolver, workers=1)
        assert await results(testing_nginx) == ["answered"]


async def test_all_addresses_of_a_name_are_tried(testing_nginx):
    (port,) = free_ports(1)
    # nginx begins with any of them.
    async with lines(("127.0.0.13", port)) as server, names([f"127.0.0.{n}" for n in (11, 12, 13)]) as dns:
        said = await result(testing_nginx, f"server.test:{port}", f"{SAY} times=10", http=dns.resolver)
    assert said == "10 answered, 0 failed"
    assert server.connections == 10


async def test_a_name_is_resolved_anew_at_each_reconnect(testing_nginx):
    (port,) = free_ports(1)
    async with lines(("127.0.0.12", port)), names(["127.0.0.11"]) as dns:
        testing_nginx.start(dns.resolver + connect(f"server.test:{port}", f"{SAY} retry"), workers=1)
        # Nobody answers at the first address: the name is asked for again when its answer is a second old.
        await until(lambda: dns.asked >= 2)
        dns.addresses = ["127.0.0.12"]
        assert await results(testing_nginx) == ["answered"]


async def test_a_name_that_does_not_exist(testing_nginx):
    async with names([]) as dns:
        dns.code = NO_SUCH_NAME
        said = await result(testing_nginx, "server.test:1", http=dns.resolver)
    assert said == "could not be resolved (3: Host not found)"


async def test_a_name_server_that_says_nothing(testing_nginx):
    async with names([]) as dns:
        dns.answers = False
        said = await result(testing_nginx, "server.test:1", f"{SAY} timeout=300", http=dns.resolver)
    assert said == "timed out while resolving"


async def test_a_question_is_taken_back_at_the_deadline(testing_nginx):
    (port,) = free_ports(1)
    address = f"server.test:{port}"
    async with lines(("127.0.0.11", port)) as server, names(["127.0.0.11"]) as dns:
        dns.answers = False
        http = dns.resolver_with("1h") + connect(address, f"{SAY} timeout=300") + connect(address, f"{SAY} {NO_DEADLINE}")
        testing_nginx.start(http, workers=1)
        assert await results(testing_nginx) == ["timed out while resolving"]
        # nginx asks again after five seconds.
        dns.answers = True
        assert await results(testing_nginx, 2) == ["timed out while resolving", "answered"]
        assert server.connections == 1


async def test_without_resolver_a_name_has_the_addresses_of_the_start(testing_nginx):
    (port,) = free_ports(1)
    testing_nginx.allowed.append(FIXED)
    async with lines(("127.0.0.1", port)):
        assert await result(testing_nginx, f"localhost:{port}") == "answered"
    warnings = (testing_nginx.home / "stderr").read_text().splitlines() + testing_nginx.errors()
    assert any(re.search(FIXED, line) for line in warnings)


async def test_a_name_that_is_not_found_at_start_counts_as_away(testing_nginx):
    testing_nginx.allowed.append(AWAY)
    said = await result(testing_nginx, "no-such-name.invalid:80")
    assert said == "has no address, its name was not found at start"
    warnings = (testing_nginx.home / "stderr").read_text().splitlines() + testing_nginx.errors()
    assert any(re.search(AWAY, line) for line in warnings)


def test_an_address_without_a_port_is_an_error(testing_nginx):
    testing_nginx.allowed.append(r"\[emerg\]")
    testing_nginx.configure(connect("127.0.0.1"))
    assert 'no port in "127.0.0.1"' in testing_nginx.check()
    testing_nginx.configure(connect("127.0.0.1:0"))
    assert 'invalid port in "127.0.0.1:0"' in testing_nginx.check()
