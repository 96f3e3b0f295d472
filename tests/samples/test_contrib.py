"""contrib/: a pod is drained before it stops, as in contrib/kubernetes.yaml. (The dashboard: test_api.py.)"""

import asyncio
import copy
import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kubernetes_validate
import pytest
import yaml

from harness.clients.api import Api
from harness.clients.http import send
from harness.conf import LEARN, STREAMING, listen, sample, upstream
from harness.nginx import ROOT, Nginx
from harness.patience import PATIENCE
from harness.ports import free_ports
from harness.servers.replica import Replica, replicas

PASSWORD = "secret"
SHELLS = ["dash", "busybox sh"]
DEADLINE = 3  # seconds, instead of its ten minutes


def manifests() -> dict[str, dict]:
    """The resources of contrib/kubernetes.yaml by their kind."""
    text = (ROOT / "contrib" / "kubernetes.yaml").read_text()
    return {resource["kind"]: resource for resource in yaml.safe_load_all(text)}


def test_kubernetes_takes_the_manifests():
    version = kubernetes_validate.latest_version()
    stateful = list(yaml.safe_load_all((ROOT / "contrib" / "kubernetes-statefulset.yaml").read_text()))
    assert [manifest["kind"] for manifest in stateful] == ["Service", "StatefulSet"]
    assert stateful[0]["metadata"]["name"] == stateful[1]["spec"]["serviceName"]
    for manifest in (*manifests().values(), *stateful):
        kubernetes_validate.validate(manifest, version, strict=True)
        wrong = copy.deepcopy(manifest)
        wrong["spec"]["selectors"] = wrong["spec"].pop("selector")
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, version, strict=True)


def test_the_manifests_fit_each_other():
    service, deployment = manifests()["Service"], manifests()["Deployment"]
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert [port["port"] for port in service["spec"]["ports"]] == [port["containerPort"] for port in container["ports"]]
    (_, _, command) = container["lifecycle"]["preStop"]["exec"]["command"]
    drain, api, _, address, deadline = shlex.split(command)
    (volume,), (mount,) = template["spec"]["volumes"], container["volumeMounts"]
    assert drain == f"{mount['mountPath']}/drain" and volume["name"] == mount["name"]
    assert volume["configMap"]["defaultMode"] & 0o111 == 0o111
    assert address == f"$POD_IP:{container['ports'][0]['containerPort']}"
    assert template["spec"]["terminationGracePeriodSeconds"] > 60 * int(deadline.removesuffix("m"))


class Pod:
    """A server whose container runs what stands in contrib/kubernetes.yaml before it stops."""

    def __init__(self, nginx: Nginx, api: int, replica: Replica, shell: str):
        (container,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
        _, _, self._command = container["lifecycle"]["preStop"]["exec"]["command"]
        for theirs, ours in {
            "/sticky/drain": f"{shell} {ROOT}/contrib/drain",
            "http://nginx:8081": f"http://127.0.0.1:{api}",
            ":8000": f":{replica.port}",
            "10m": f"{DEADLINE}s",
        }.items():
            assert self._command.count(theirs) == 1
            self._command = self._command.replace(theirs, ours)
        self._shell = [*shell.split(), "-c"]
        self._environment = {"PATH": os.environ["PATH"], "POD_IP": replica.host, "CURL_ARGS": f"--user drain:{PASSWORD}"}

    async def leave(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(*self._shell, self._command, env=self._environment)


@asynccontextmanager
async def started(nginx: Nginx, shell: str) -> AsyncIterator[tuple[Pod, Api, str]]:
    """An nginx with nginx-conf/api.conf, and a server with sessions: its pod, the API, and where the server stands."""
    shutil.which(shell.split()[0]) or pytest.skip(f"no {shell} in PATH")
    port, api = free_ports(2)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
    (nginx.home / "sticky.passwd").write_text(f"drain:{hashed}")
    async with replicas(2) as servers:
        nginx.start(sample("api.conf", api, []) + upstream("mcp", servers, f"{LEARN};") + listen(port, "mcp", STREAMING))
        for _ in range(20):
            await send(port)
        yield Pod(nginx, api, servers[0], shell), Api(api), f"upstreams/mcp/servers/{servers[0].address}"


@pytest.mark.parametrize("shell", SHELLS)
def test_drain_says_what_it_needs(shell):
    done = subprocess.run([*shell.split(), ROOT / "contrib" / "drain", "http://nginx:8081"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: drain API UPSTREAM ADDRESS [DEADLINE]\n"


async def draining(api: Api, server: str) -> dict:
    """How it stands there, once it drains."""
    async with asyncio.timeout(PATIENCE):
        while (shown := await api.get(server, "server"))["admin"] != "draining":
            await asyncio.sleep(0.01)
    return shown


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_pod_leaves(nginx, shell):
    async with started(nginx, shell) as (pod, api, server):
        leaving = await pod.leave()
        shown = await draining(api, server)
        assert shown["live"] > 0
        assert leaving.returncode is None
        # The client repeats the request after a reload has closed its connection.
        await asyncio.to_thread(nginx.reload)
        assert await asyncio.wait_for(leaving.wait(), PATIENCE) == 0
        assert (await api.get(server, "server"))["live"] == 0


async def test_a_pod_waits_for_no_nginx_that_is_gone(nginx):
    async with started(nginx, "dash") as (pod, api, server):
        leaving = await pod.leave()
        await draining(api, server)
        await asyncio.to_thread(nginx.stop)
        assert await asyncio.wait_for(leaving.wait(), PATIENCE) != 0
