"""How a store is reached: TLS, Unix sockets, users with a password and the least rights; and what sticky_api shows of it."""

import asyncio
import re
import subprocess

import httpx
import pytest

from harness.clients.api import check, report_of
from harness.fleet import fleet, is_same, start
from harness.nginx import BINARY, KILLED, environment, was_built_with
from harness.patience import until
from harness.ports import free_ports
from harness.servers.replica import replicas
from harness.servers.store import store
from harness.tls import Authority

# What docs/sharing.md says that a user needs.
RIGHTS = "-@all +auth +select +ping +get +set +exists +pexpire +multi +exec +publish +subscribe ~sticky:* &sticky:*".split()


async def are_shared(a, b) -> None:
    async def works() -> bool:
        first = await a.send()
        return first.status == 200 and is_same(first, await b.send(first.id))

    await until(works)


def says(machine, text: str) -> bool:
    return any(text in line for line in machine.nginx.errors())


async def test_a_user_with_the_least_rights(new_nginx, tmp_path, secret):
    password = tmp_path / "password"
    password.write_text("a pass word\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("another\n")
    async with replicas(2) as servers, store(tmp_path / "store") as kept:
        await kept.command("ACL", "SETUSER", "nginx", "on", ">a pass word", "resetchannels", *RIGHTS)
        await kept.command("CONFIG", "SET", "requirepass", "for others")
        share = f"secret={secret} user=nginx password_file={password}"
        a, b = [await start(new_nginx, servers, kept.url, share=share) for _ in range(2)]
        await are_shared(a, b)
        first = await a.send()
        assert is_same(first, await b.send(first.id))
        await until(lambda: report_of(b.nginx)["zones"]["sessions"]["share"]["listener"])
        assert (await a.send(first.id, method="DELETE")).status == 200
        await until(lambda: is_gone(b, first))
        assert not says(a, "does not") and not says(b, "does not")
        c = await start(new_nginx, servers, kept.url, share=f"secret={secret} user=nginx password_file={wrong}")
        await until(lambda: says(c, "does not accept the user or its password"))
        d = await start(new_nginx, servers, kept.url, share=f"secret={secret}")
        await until(lambda: says(d, 'wants a password, write "password_file=FILE"'))
        # Neither configuration nor log has it.
        command = a.nginx._command("-T")
        shown = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True).stdout
        assert "sticky_share mesh" in shown
        assert "pass word" not in shown and not says(a, "pass word")


async def is_gone(machine, first) -> bool:
    return (await machine.send(first.id)).status == 404


@pytest.mark.skipif(not was_built_with(BINARY, "--with-http_ssl_module"), reason="nginx without SSL")
async def test_tls(new_nginx, tmp_path, secret):
    authority, others = Authority(tmp_path, "ca"), Authority(tmp_path, "others")
    authority.issue("localhost", "localhost")
    authority.issue("elsewhere", "elsewhere.test")
    authority.issue("client", "nginx")
    home = tmp_path
    ports = free_ports(2)
    assert others
    for port, name in zip(ports, ("localhost", "elsewhere"), strict=True):
        options = ["--tls-port", str(port), "--tls-cert-file", f"{home}/{name}.pem", "--tls-key-file", f"{home}/{name}.key"]
        options += ["--tls-ca-cert-file", f"{home}/ca.pem", "--tls-auth-clients", "yes"]
        async with replicas(2) as servers, store(tmp_path / f"store-{name}", *options):
            url = f"rediss://localhost:{port}"
            shown = f"secret={secret} cert={home}/client.pem key={home}/client.key"
            good = f"{shown} ca={home}/ca.pem"
            machines = [await start(new_nginx, servers, url, share=good) for _ in range(2)]
            for machine in machines:
                machine.nginx.allowed.append(r"no resolver defined to resolve")
            if name == "localhost":
                await are_shared(*machines)
                c = await start(new_nginx, servers, url, share=f"{shown} ca={home}/others.pem")
                c.nginx.allowed.append(r"no resolver defined to resolve")
                await until(lambda c=c: says(c, "SSL certificate verify error"))
            else:
                for machine in machines:
                    await until(lambda machine=machine: says(machine, "SSL certificate does not match the name"))


async def test_a_unix_socket_and_a_database(new_nginx, tmp_path, secret):
    socket = tmp_path / "s"
    async with replicas(2) as servers, store(tmp_path / "store", "--unixsocket", str(socket)) as kept:
        machines = [await start(new_nginx, servers, f"unix:{socket}", share=f"secret={secret}") for _ in range(2)]
        await are_shared(*machines)
        others = [await start(new_nginx, servers, f"{kept.url}/3", share=f"secret={secret} prefix=other:") for _ in range(2)]
        await are_shared(*others)
        text = await kept.command("INFO", "keyspace")
        assert re.search(rb"db0:keys=", text) and re.search(rb"db3:keys=", text)


async def test_what_the_api_shows(new_nginx, tmp_path, secret):
    async with fleet(new_nginx, tmp_path, secret) as (a, _, _, kept):
        await a.send()

        def shown() -> dict:
            report = report_of(a.nginx)
            check("report", report)
            return report["zones"]["sessions"]["share"]

        await until(lambda: shown()["round_trip_ms"] is not None)
        share = shown()
        assert (share["name"], share["store"], share["up"], share["away_ms"]) == ("mesh", f"127.0.0.1:{kept.port}", True, None)
        assert (share["waiting"], share["gaps"], share["announced"]) == (0, 1, True)
        assert share["listener"] in a.nginx.workers and share["heard_ms"] < 10_000
        # The worker that listens is gone: another one does.
        a.nginx.allowed.append(KILLED)
        await asyncio.to_thread(a.nginx.kill_worker, share["listener"])
        await until(lambda: shown()["listener"] not in (None, share["listener"]))
        assert shown()["gaps"] == 2
        kept.kill()
        await until(lambda: shown()["away_ms"] is not None)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(a.nginx.api))) as client:
            text = client.get("http://localhost/", headers={"Accept": "text/plain"}).text
        assert 'nginx_sticky_share_gaps_total{zone="sessions",share="mesh"} 2' in text
        assert 'nginx_sticky_share_listens{zone="sessions",share="mesh"}' in text
