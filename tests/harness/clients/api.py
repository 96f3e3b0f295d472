"""A client of sticky_api: sends requests, and checks answers by docs/api.schema.json."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from harness.clients.http import Response, send
from harness.nginx import ROOT, Nginx
from harness.patience import PATIENCE

SCHEMA = json.loads((ROOT / "docs" / "api.schema.json").read_text())
JSON = ("Content-Type", "application/json")

# A report is no picture of one moment: a session that goes while it is made may be in one number and not yet in
# another. Asked again, it adds up; for so many seconds.
SETTLING = 20


def check(kind: str, document: Any) -> None:
    """Validates a document against a definition of the schema."""
    schema = {**SCHEMA, "$ref": f"#/$defs/{kind}"}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(document)


def last_report(nginx: Nginx) -> Any:
    """The report of an nginx without requests."""
    deadline = time.monotonic() + SETTLING
    while not holds(sessions_add_up, report := report_of(nginx)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return report


def report_of(nginx: Nginx) -> Any:
    """The report of a running nginx, for any configuration."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(nginx.api)), timeout=PATIENCE) as client:
        return client.get("http://localhost/").json()


def location(write: bool = False) -> str:
    return f"location /sticky/ {{ sticky_api {'write' if write else ''}; access_log off; }}"


class Api:
    def __init__(self, port: int):
        self.port = port

    async def send(self, path: str = "", method: str = "GET", body: object = None, **more) -> Response:
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await send(self.port, method=method, path="/sticky/" + path, body=raw, **more)

    async def get(self, path: str = "", kind: str = "report") -> Any:
        response = await self.send(path)
        assert response.status == 200, response.body
        assert response.text("content-type") == "application/json"
        document = json.loads(response.body)
        check(kind, document)
        return document

    async def change(self, method: str, path: str, kind: str, body: object = None) -> Any:
        response = await self.send(path, method, body, headers=[JSON])
        assert response.status == 200, response.body
        document = json.loads(response.body)
        check(kind, document)
        return document

    async def settled(self, requests: int) -> Any:
        """The report once so many requests have been counted, which nginx does when they are over, and add up."""
        deadline = time.monotonic() + SETTLING
        while True:
            report = await self.get()
            counted = sum(sum(zone["requests"].values()) for zone in report["zones"].values())
            if counted >= requests and holds(adds_up, report) or time.monotonic() > deadline:
                return report
            await asyncio.sleep(0.05)


def holds(check: Callable[[Any], None], report: Any) -> bool:
    try:
        check(report)
    except AssertionError:
        return False
    return True


def adds_up(report: Any) -> None:
    """In each zone the sums over the servers equal the numbers of the zone, for sessions and for hits."""
    sessions_add_up(report)
    for zone in report["zones"].values():
        assert zone["requests"]["hit"] == sum(server["hits"] for server in zone["servers"].values())


def sessions_add_up(report: Any) -> None:
    """The same for sessions only: a killed worker may have counted half of a hit."""
    for zone in report["zones"].values():
        assert zone["created"] == zone["live"] + zone["expired"] + zone["evicted"] + zone["forgotten"]
        for name in ("live", "created", "expired", "evicted", "forgotten"):
            assert zone[name] == sum(server[name] for server in zone["servers"].values()), name
        assert zone["rebound"] == sum(server["moved_in"] for server in zone["servers"].values())
        for server in zone["servers"].values():
            gone = server["moved_out"] + server["expired"] + server["evicted"] + server["forgotten"]
            assert server["created"] + server["moved_in"] == server["live"] + gone
