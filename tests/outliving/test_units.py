"""contrib/: the units that keep the files of zones."""

import asyncio
import configparser
import re
import subprocess

import yaml

from harness.clients.http import send
from harness.conf import LEARN, listen, upstream
from harness.nginx import ROOT
from harness.ports import free_ports
from harness.servers.replica import replicas
from harness.zonefile import ZoneFile


def commands() -> dict[str, str]:
    """ExecStartPre and ExecStopPost of the drop-in, as systemd passes them to the shell."""
    unit = configparser.ConfigParser(interpolation=None, delimiters="=")
    unit.optionxform = str
    text = (ROOT / "contrib" / "systemd-sticky.conf").read_text().replace("\\\n", "")
    unit.read_string(text)
    found = {}
    for name in ("ExecStartPre", "ExecStopPost"):
        shell, quoted = unit["Service"][name].split(" -c ")
        assert shell == "+/bin/sh" and quoted[0] == quoted[-1] == "'"
        # systemd replaces what looks like a variable of the unit, here an empty one, also within quotes.
        found[name] = re.sub(r"\$\$|\$\{[^}]*\}", lambda match: "$" if match[0] == "$$" else "", quoted[1:-1])
        assert "%" not in quoted
    return found


async def test_drop_in_of_systemd_keeps_sessions_over_a_reboot(nginx):
    (port,) = free_ports(1)
    nginx.allowed.append("imported from its file")
    run, state = nginx.home / "run", nginx.home / "state"
    for folder in (run, state):
        folder.mkdir(mode=0o700)
    hooks = {
        name: text.replace("/run/nginx-sticky", str(run)).replace("/var/lib/nginx-sticky", str(state))
        for name, text in commands().items()
    }

    def hook(name: str) -> None:
        subprocess.run(["sh", "-c", hooks[name]], check=True)

    async with replicas(3) as servers:
        hook("ExecStartPre")
        nginx.start(upstream("mcp", servers, f"{LEARN} file={run}/sessions;") + listen(port, "mcp"))
        firsts = [await send(port) for _ in range(50)]
        for reboot in (False, True):
            await asyncio.to_thread(nginx.stop)
            hook("ExecStopPost")
            if reboot:
                (run / "sessions").unlink()
                ZoneFile(state / "sessions").set_boot(b"another boot....")
            hook("ExecStartPre")
            nginx.start_again()
            said = [await send(port, first.id) for first in firsts]
            assert {response.sticky for response in said} == {"HIT"}
            assert [response.replica for response in said] == [first.replica for first in firsts]


def test_volume_of_docker_is_where_the_zone_is():
    compose = yaml.safe_load((ROOT / "contrib" / "docker" / "compose.yaml").read_text())
    service = compose["services"]["nginx"]
    (volume,) = compose["volumes"]
    assert f"{volume}:/var/lib/nginx-sticky" in service["volumes"] and service["stop_signal"] == "SIGQUIT"
