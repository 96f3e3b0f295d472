"""contrib/: the units that keep the files of zones."""

import asyncio
import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.clients.http import send
from harness.conf import LEARN, listen, upstream
from harness.nginx import ROOT
from harness.ports import free_ports
from harness.servers.replica import replicas
from harness.zonefile import ZoneFile


def commands() -> dict[str, str]:
    """The commands of the units, as systemd passes them to the shell."""
    found = {}
    for name in ("systemd-sticky.conf", "systemd-sticky-copy.service"):
        unit = configparser.ConfigParser(interpolation=None, delimiters="=")
        unit.optionxform = str
        unit.read_string((ROOT / "contrib" / name).read_text().replace("\\\n", ""))
        for key, command in unit["Service"].items():
            if not key.startswith("Exec"):
                continue
            shell, quoted = command.split(" -c ", 1)
            assert shell.lstrip("+") == "/bin/sh" and quoted[0] == quoted[-1] == "'"
            # systemd replaces what looks like a variable of the unit, here an empty one, also within quotes.
            found[key] = re.sub(r"\$\$|\$\{[^}]*\}", lambda match: "$" if match[0] == "$$" else "", quoted[1:-1])
            assert "%" not in quoted
    assert sorted(found) == ["ExecStart", "ExecStartPre", "ExecStopPost"]
    return found


class Hooks:
    """The commands, with folders of a test."""

    def __init__(self, home: Path):
        self.run, self.state = home / "run", home / "state"
        for folder in (self.run, self.state):
            folder.mkdir(mode=0o700)

    def __call__(self, name: str, before: str = "") -> subprocess.CompletedProcess:
        text = commands()[name].replace("/run/nginx-sticky", str(self.run))
        text = text.replace("/var/lib/nginx-sticky", str(self.state))
        return subprocess.run(["sh", "-c", before + text], capture_output=True, text=True)

    def ends_well(self, name: str) -> None:
        done = self(name)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("copied_by", ["ExecStopPost", "ExecStart"], ids=["stop", "timer"])
async def test_drop_in_of_systemd_keeps_sessions_over_a_reboot(nginx, copied_by):
    """Also over a crash of the machine, with the copy of the timer."""
    (port,) = free_ports(1)
    nginx.allowed.append("imported from its file")
    hooks = Hooks(nginx.home)
    async with replicas(3) as servers:
        hooks.ends_well("ExecStartPre")
        nginx.start(upstream("mcp", servers, f"{LEARN} file={hooks.run}/sessions;") + listen(port, "mcp"))
        firsts = [await send(port) for _ in range(50)]
        for reboot in (False, True):
            if copied_by == "ExecStart":
                hooks.ends_well(copied_by)
                await asyncio.to_thread(nginx.kill_all)
            else:
                await asyncio.to_thread(nginx.stop)
                hooks.ends_well(copied_by)
            if reboot:
                (hooks.run / "sessions").unlink()
                ZoneFile(hooks.state / "sessions").set_boot(b"another boot....")
            hooks.ends_well("ExecStartPre")
            nginx.start_again()
            said = [await send(port, first.id) for first in firsts]
            assert {response.sticky for response in said} == {"HIT"}
            assert [response.replica for response in said] == [first.replica for first in firsts]


@pytest.mark.parametrize("name", ["ExecStopPost", "ExecStart", "ExecStartPre"])
def test_units_copy_files_of_zones_only_and_say_what_fails(tmp_path, name):
    hooks = Hooks(tmp_path)
    source, target = (hooks.run, hooks.state) if name != "ExecStartPre" else (hooks.state, hooks.run)
    for file in ("sessions", "sessions.damaged", "sessions.damaged.1", "sessions.new", "sessions.oldbin", "a.copy"):
        (source / file).write_text(file)
    hooks.ends_well(name)
    assert [path.name for path in target.iterdir()] == ["sessions"]
    # A disk that is full leaves the copy before, and nothing else; nginx starts.
    (source / "sessions").write_text("newer")
    if name == "ExecStartPre":
        (target / "sessions").unlink()
    done = hooks(name, 'cp() { printf ne >"$3"; echo "cp: No space left on device" >&2; return 1; }; ')
    assert done.stderr == "cp: No space left on device\n" and (done.returncode != 0) == (name == "ExecStart")
    left = {path.name: path.read_text() for path in target.iterdir()}
    assert left == ({} if name == "ExecStartPre" else {"sessions": "sessions"})


def test_volume_of_docker_is_where_the_zone_is():
    compose = yaml.safe_load((ROOT / "contrib" / "docker" / "compose.yaml").read_text())
    service = compose["services"]["nginx"]
    (volume,) = compose["volumes"]
    assert f"{volume}:/var/lib/nginx-sticky" in service["volumes"] and service["stop_signal"] == "SIGQUIT"
