"""The page of sticky_api in a real browser. SCREENSHOTS=docs keeps its pictures there."""

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from harness.clients.api import JSON, Api, location
from harness.clients.http import Response, send
from harness.conf import LEARN, STREAMING, listen, upstream
from harness.patience import PATIENCE, until
from harness.ports import free_ports
from harness.servers.replica import replicas

WIDTHS = {390: 844, 1280: 900}  # and heights
# The page polls ten times as often: a history of one minute takes six seconds.
FASTER = "const slow = setInterval; window.setInterval = (work, ms) => slow(work, ms / 10);"


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or pytest.skip("no chromium in PATH")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=PATIENCE * 1000)
        try:
            yield started
        finally:
            await started.close()


@contextlib.asynccontextmanager
async def opened(
    browser: Browser, port: int, width: int = 1280, scheme: str = "light", expected: str = "never"
) -> AsyncIterator[Page]:
    """The page; it must not complain, neither of itself nor of its Content-Security-Policy."""
    context = await browser.new_context(
        viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme, device_scale_factor=1
    )
    context.set_default_timeout(PATIENCE * 1000)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.add_init_script(FASTER)
    await page.goto(f"http://127.0.0.1:{port}/sticky/")
    await page.wait_for_selector(".server")
    yield page
    await context.close()
    assert [complaint for complaint in complaints if expected not in complaint] == []
    assert all(url.startswith(f"http://127.0.0.1:{port}/sticky/") for url in asked)


def conf(port: int, servers, write: bool) -> str:
    return upstream("mcp", servers, f"{LEARN} unknown=reject unavailable=reject;") + listen(
        port, "mcp", STREAMING + location(write)
    )


@contextlib.asynccontextmanager
async def traffic(port: int) -> AsyncIterator[None]:
    firsts: list[Response] = []

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError, AssertionError):
                dice = random.random()
                if dice < 0.12 or not firsts:
                    firsts.append(await send(port))
                elif dice < 0.14:
                    await send(port, b"stranger")
                else:
                    await send(port, random.choice(firsts[-60:]).id)
            await asyncio.sleep(random.uniform(0.02, 0.08))

    clients = [asyncio.ensure_future(client()) for _ in range(6)]
    try:
        yield
    finally:
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
async def test_page_is_readable(nginx, tmp_path, width, scheme):
    (port,) = free_ports(1)
    nginx.allowed += [r"\[error\]", r"\[warn\]"]
    async with replicas(4) as servers, traffic(port), browser() as chromium:
        nginx.start(conf(port, servers, write=True))
        api = Api(port)

        async def all_have_sessions() -> bool:
            shown = await api.get("upstreams/mcp", "upstream")
            return all(server["live"] for server in shown["servers"].values())

        await until(all_have_sessions)
        async with opened(chromium, port, width, scheme) as page:
            await page.locator("svg.bars rect").nth(100).wait_for(state="attached")
            await api.change("PATCH", f"upstreams/mcp/servers/{servers[1].address}", "server", {"drain": True})
            await page.wait_for_selector(".state.draining")
            servers[2].stop()
            await page.wait_for_selector(".state.unreachable")
            assert await page.locator(".server").count() == 4
            assert await page.locator(".state.draining").count() == 1
            assert await page.locator(".state.unreachable").count() == 1
            # Nothing is wider than the page.
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            clipped = "[...document.querySelectorAll('button, .number, .tile')].filter(e => e.scrollWidth > e.clientWidth + 1)"
            assert await page.evaluate(f"{clipped}.length") == 0
            home = Path(os.environ.get("SCREENSHOTS", tmp_path))
            await page.screenshot(path=home / f"page-{width}-{scheme}.png", full_page=True)


async def test_page_can_be_steered_without_a_mouse(nginx):
    (port,) = free_ports(1)
    api = Api(port)
    async with replicas(2) as servers, browser() as chromium:
        nginx.start(conf(port, servers, write=True))
        firsts = [await send(port) for _ in range(10)]
        path = f"upstreams/mcp/servers/{servers[0].address}"
        async with opened(chromium, port) as page:

            async def press(name: str) -> None:
                """Goes to a button of the first server, and presses it."""
                # The page is drawn anew each second; the focus then goes on from where it was.
                for _ in range(300):
                    await page.keyboard.press("Tab")
                    if await page.evaluate("document.activeElement.dataset.key ?? ''") == f"{name} mcp {servers[0].address}":
                        break
                else:
                    raise AssertionError(f"no button {name} within reach")
                await page.keyboard.press("Enter")

            async def drains() -> bool:
                return (await api.get(path, "server"))["drain"]

            async def drains_no_more() -> bool:
                return not await drains()

            async def is_empty() -> bool:
                return (await api.get(path, "server"))["live"] == 0

            await press("drain")
            await page.wait_for_selector("dialog[open]")
            await page.keyboard.press("Escape")
            await page.wait_for_selector("dialog", state="hidden")
            await asyncio.sleep(0.3)
            assert not await drains()
            await press("drain")
            await page.focus("#yes")
            await page.keyboard.press("Enter")
            await until(drains)
            await page.wait_for_selector(".state.draining")
            await press("end")
            await until(drains_no_more)
            await press("forget")
            await page.focus("#yes")
            await page.keyboard.press("Enter")
            await until(is_empty)

            other = next(first for first in firsts if first.replica == servers[1].name)
            await page.fill("#id", other.id.decode())
            await page.keyboard.press("Enter")
            await page.wait_for_selector(f"#found:has-text('{servers[1].address}')")
            await page.click("#found button")
            await page.wait_for_selector("#found:has-text('Forgotten')")
            assert (await api.send("zones/sessions/session", id=other.id, headers=[JSON])).status == 404


async def test_page_without_write_has_no_buttons(nginx):
    (port,) = free_ports(1)
    async with replicas(2) as servers, browser() as chromium:
        nginx.start(conf(port, servers, write=False))
        first = await send(port)
        async with opened(chromium, port) as page:
            assert await page.locator(".actions button:visible").count() == 0
            await page.fill("#id", first.id.decode())
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#found:has-text('127.0.0.1')")
            assert await page.locator("#found button").count() == 0


async def test_page_says_that_it_gets_no_answer(nginx):
    (port,) = free_ports(1)
    async with replicas(1) as servers, browser() as chromium:
        nginx.start(conf(port, servers, write=False))
        async with opened(chromium, port, expected="status of 503") as page:
            await page.wait_for_selector("#now:has-text('live')")
            await page.route("**/*", lambda route: route.fulfill(status=503))
            await page.wait_for_selector("#now.late")
            await page.unroute("**/*")
            await page.wait_for_selector("#now:has-text('live')")
