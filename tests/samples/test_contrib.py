"""contrib/: a pod is drained before it stops, as in contrib/kubernetes.yaml; nginx starts with the configurations in the files for
Docker and Kubernetes. (The dashboard: test_api.py.)"""

import asyncio
import copy
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

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


# `server ... resolve` and `resolver` in upstream {}.
RESOLVE = (1, 27, 3)


def documents(name: str) -> dict[tuple[str, str], dict]:
    """The resources of a file for Kubernetes by kind and name."""
    resources = yaml.safe_load_all((ROOT / "contrib" / name).read_text())
    return {(resource["kind"], resource["metadata"]["name"]): resource for resource in resources}


def manifests() -> dict[tuple[str, str], dict]:
    return documents("kubernetes.yaml")


def test_kubernetes_takes_the_manifests():
    version = kubernetes_validate.latest_version()
    stateful = documents("kubernetes-statefulset.yaml")
    ((service, _), (_, state)) = stateful.items()
    assert [kind for kind, _ in stateful] == ["Service", "StatefulSet"]
    assert service[1] == state["spec"]["serviceName"]
    ingress = documents("kubernetes-ingress-controller.yaml")["ConfigMap", "nginx-config"]
    for manifest in (*manifests().values(), *stateful.values(), ingress):
        kubernetes_validate.validate(manifest, version, strict=True)
        wrong = copy.deepcopy(manifest)
        body = "spec" if "spec" in wrong else "data"
        wrong[f"{body}s"] = wrong.pop(body)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, version, strict=True)


def test_the_manifests_fit_each_other():
    for name in ("mcp-server", "nginx"):
        service, deployment = manifests()["Service", name], manifests()["Deployment", name]
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        assert [port["port"] for port in service["spec"]["ports"]] == [port["containerPort"] for port in container["ports"]]
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert volumes.keys() == {mount["name"] for mount in container["volumeMounts"]}
        if name == "nginx":
            assert volumes["conf"]["configMap"]["name"] == manifests()["ConfigMap", "nginx"]["metadata"]["name"]
            continue
        (_, _, command) = container["lifecycle"]["preStop"]["exec"]["command"]
        drain, api, _, address, deadline = shlex.split(command)
        (mount,) = container["volumeMounts"]
        assert drain == f"{mount['mountPath']}/drain"
        assert volumes[mount["name"]]["configMap"]["defaultMode"] & 0o111 == 0o111
        assert address == f"$POD_IP:{container['ports'][0]['containerPort']}"
        assert template["spec"]["terminationGracePeriodSeconds"] > 60 * int(deadline.removesuffix("m"))
        conf = manifests()["ConfigMap", "nginx"]["data"]["api.conf"]
        assert all(line in conf for line in (f"listen {urlsplit(api).port};", f"location {urlsplit(api).path} {{"))


def snippets(resources: dict[tuple[str, str], dict]) -> dict[str, str]:
    """What the controllers put into main, http {} and server {}."""
    if ("SnippetsFilter", "mcp") in resources:
        found = resources["SnippetsFilter", "mcp"]["spec"]["snippets"]
        return {snippet["context"].rpartition(".")[2]: snippet["value"] for snippet in found}
    data = resources["ConfigMap", "nginx-config"]["data"]
    server = resources["VirtualServer", "mcp"]["spec"]["server-snippets"]
    return {"main": data["main-snippets"], "http": data["http-snippets"], "server": server}


def behind_a_controller(name: str) -> str:
    found = snippets(documents(name))
    assert found["main"] == "load_module modules/ngx_http_sticky_learn_module.so;\n"
    return f"{found['http']}\nserver {{\nlisten 80;\n{found['server']}\n}}"


# The configurations: the text of http {}.
CONFIGURATIONS = {
    "docker/compose.yaml": lambda: (ROOT / "contrib" / "docker" / "mcp.conf").read_text(),
    "kubernetes.yaml": lambda: "\n".join(manifests()["ConfigMap", "nginx"]["data"].values()),
    "kubernetes-ingress-controller.yaml": lambda: behind_a_controller("kubernetes-ingress-controller.yaml"),
    "kubernetes-gateway-fabric.yaml": lambda: behind_a_controller("kubernetes-gateway-fabric.yaml"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_nginx_starts_with_the_configuration(nginx, name):
    port, api = free_ports(2)
    text = CONFIGURATIONS[name]()
    text = re.sub(r"listen 80\b", f"listen 127.0.0.1:{port}", text)
    text = text.replace("listen 8081", f"listen 127.0.0.1:{api}").replace("/var/log/nginx/", "")
    text = text.replace("/var/lib/nginx-sticky", str(nginx.home)).replace("/etc/nginx/secret/", "")
    if nginx.version >= RESOLVE and " resolve " in text:
        # As it stands but for the resolver, whose address nginx looks up when it starts.
        assert text.count("kube-dns.kube-system.svc.cluster.local") == 1
        nginx.configure(text.replace("kube-dns.kube-system.svc.cluster.local", "127.0.0.1"))
        assert nginx.check() == ""
    async with replicas(3) as servers:
        ours = "".join(f"server {server.address} max_fails=3;\n" for server in servers)
        text = re.sub(r" *resolver .*;\n", "", text)
        text, replaced = re.subn(r"( *server [\w.-]+:\d+ .*max_fails=3;\n)+", ours, text)
        assert replaced == 1
        nginx.configure(text)
        assert nginx.check() == ""
        nginx.start(text)
        firsts = [await send(port, path="/mcp") for _ in range(6)]
        assert {first.replica for first in firsts} == {server.name for server in servers}
        for first in firsts:
            again = await send(port, first.id, path="/mcp")
            assert (again.sticky, again.replica) == ("HIT", first.replica)


def test_compose_has_the_servers_of_its_configuration():
    compose = yaml.safe_load((ROOT / "contrib" / "docker" / "compose.yaml").read_text())
    services, conf = compose["services"], (ROOT / "contrib" / "docker" / "mcp.conf").read_text()
    servers = re.findall(r"server (\S+):(\d+)", conf)
    assert [name for name, _ in servers] == services["nginx"]["depends_on"] == list(services)[1:]
    assert {port for _, port in servers} == {services[name]["environment"]["PORT"] for name, _ in servers}
    build = services["nginx"]["build"]
    folder = ROOT / "contrib" / "docker"
    assert (folder / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).exists()
    # The version that the tests of the module use.
    lock = json.loads((ROOT / "tests" / "sdk" / "node" / "package-lock.json").read_text())["packages"]
    package = "@modelcontextprotocol/server-everything"
    assert f"{package}@{lock[f'node_modules/{package}']['version']}" in services["mcp-1"]["command"]


class Pod:
    """A server whose container runs what stands in contrib/kubernetes.yaml before it stops."""

    def __init__(self, nginx: Nginx, api: int, replica: Replica, shell: str):
        (container,) = manifests()["Deployment", "mcp-server"]["spec"]["template"]["spec"]["containers"]
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
