"""The pages as documents: each link leads somewhere, docs/directives.md names what the module knows, the quick start works."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.nginx import OWN_STICKY, ROOT
from harness.ports import free_ports

FOLDERS = ["docs", "nginx-conf", "contrib", "t", "tests", "tools", "bench"]
PAGES = [*sorted(ROOT.glob("*.md")), *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md")))]
PAGES = [page for page in PAGES if "node_modules" not in page.parts]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))

# Links


def without_code(text: str) -> str:
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings; a second heading of the same text gets a number."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = 0
        while (anchor := f"{name}-{count}" if count else name) in found:
            count += 1
        found.add(anchor)
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text()))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]


def is_dead(page: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if is_dead(page, link)] == []


def test_links_of_the_issue_forms_lead_somewhere():
    """Relative to `issues/new` of the repository."""
    found = [link for form in FORMS for link in re.findall(r"\]\(\.\./blob/main/([^)\s]+)\)", form.read_text())]
    assert found
    assert [link for link in found if is_dead(ROOT / "README.md", link)] == []


def test_dead_links_are_seen():
    page = ROOT / "README.md"
    assert len(links(page)) > 20
    assert is_dead(page, "docs/nowhere.md")
    assert is_dead(page, "docs/mcp.md#nowhere")
    assert is_dead(page, "#nowhere")
    assert not is_dead(page, "docs/mcp.md#what-to-bind")


def test_each_page_is_on_the_path():
    """docs/README.md leads to each page of docs/."""
    path = ROOT / "docs" / "README.md"
    linked = {link.partition("#")[0] for link in links(path)}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"README.md"}


# Directives

REFERENCE = (ROOT / "docs" / "directives.md").read_text()


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)[1]


def in_syntax(title: str) -> set[str]:
    """The parameters in the line "Syntax"."""
    syntax = re.search(r"Syntax:(.*?);$", section(title), re.MULTILINE | re.DOTALL)[1]
    return set(re.findall(r"[\[ ]([a-z_]+)(?=[=\]])", syntax))


def in_table(title: str) -> set[str]:
    """The parameters in the first column of the table."""
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def known(nginx, http: str) -> set[str]:
    """What nginx says that it knows, when it is given something else."""
    nginx.configure(http)
    nginx.allowed.append(r"\[emerg\] .* invalid parameter \"nonsense")
    message = re.search(r"invalid parameter \"nonsense.*?\", only (.*?) (?:is|are) known", nginx.check())[1]
    return set(re.findall(r"\"(\w+)\"", message))


UPSTREAM = "upstream u {{ {} server 127.0.0.1:1; }}"


@pytest.mark.parametrize(
    ("title", "http"),
    [
        ("sticky_learn", UPSTREAM.format("sticky_learn zone=s:1m nonsense=1;")),
        ("sticky_share", "sticky_share s redis://127.0.0.1:1 nonsense=1;"),
    ],
    ids=["sticky_learn", "sticky_share"],
)
def test_the_page_has_the_parameters_that_nginx_knows(nginx, title, http):
    of_nginx = known(nginx, http)
    assert in_syntax(title) == of_nginx
    assert in_table(title) == of_nginx


def test_the_page_has_the_parameter_of_sticky_api(nginx):
    assert known(nginx, "server { listen 127.0.0.1:1; location / { sticky_api nonsense; } }") == {"write"}
    assert "sticky_api [write];" in section("sticky_api")


def source(path: str) -> str:
    return (ROOT / path).read_text()


def function(path: str, name: str) -> str:
    return re.search(rf"^fn {name}\(.*?^\}}$", source(path), re.MULTILINE | re.DOTALL)[0]


# nginx's own messages, which these directives have, do not list what is known.
@pytest.mark.parametrize(
    ("title", "path", "name"),
    [
        ("sticky cookie", "module/sticky/directive.rs", "read_cookie"),
        ("sticky learn", "module/sticky/directive.rs", "read_learn"),
        ("server", "module/balancer/server.rs", "take_out"),
    ],
)
def test_the_page_has_the_parameters_that_the_source_reads(title, path, name):
    text = function(path, name)
    if title == "server":
        read = set(re.findall(r"b\"([a-z]+)=?\"", text)) - {"down"}  # nginx's own
    else:
        read = set(re.findall(r"\(b\"(\w+)\", _\)", text)) | set(re.findall(r"Some\(\(\"(\w+)\", text", text))
    assert len(read) > 1
    assert in_syntax(title) == read
    if title == "sticky cookie":
        assert in_table(title) == read


NEEDED = {"sticky cookie": "name", "sticky learn": "create=$http_a lookup=$http_b zone=s:1m"}


@pytest.mark.parametrize("title", NEEDED)
def test_nginx_takes_each_parameter_of_sticky(nginx, title):
    if nginx.version >= OWN_STICKY:
        pytest.skip("nginx has a sticky of its own")
    for name in in_syntax(title) - {"create", "lookup", "zone"}:
        is_flag = f"[{name}]" in section(title)
        value = "" if is_flag else "=lax" if name == "samesite" else "=1h"
        nginx.configure(UPSTREAM.format(f"{title} {NEEDED[title]} {name}{value};"))
        assert nginx.check() == ""


def test_the_page_has_the_directives():
    commands = set(re.findall(r"\bcommand\(c\"(\w+)\"", source("module/lib.rs")))
    # nginx's and Lua's own, which the module only wraps.
    commands -= {"keepalive", "balancer_by_lua_block", "balancer_by_lua_file"}
    titles = set(re.findall(r"^## (\w+)(?: \w+)?$", REFERENCE, re.MULTILINE)) - {"Variables"}
    assert titles == commands


def test_the_page_has_the_variables():
    names = re.search(r"const VARIABLES.*?=\s*\[(.*?)\];", source("module/response/variables.rs"), re.DOTALL)[1]
    of_source = set(re.findall(r"\"(\w+)\"", names))
    assert of_source
    assert set(re.findall(r"^`\$(\w+)`", section("Variables"), re.MULTILINE)) == of_source
    values = set(re.findall(r"Status::\w+ => \"([A-Z]+)\"", source("affinity/src/policy/route.rs")))
    assert len(values) > 7
    assert set(re.findall(r"^\| `([A-Z]+)` \|", section("Variables"), re.MULTILINE)) == values


# The quick start


class QuickStart:
    """The page with the test's ports and folder."""

    def __init__(self, home: Path):
        text = (ROOT / "docs" / "quickstart.md").read_text()
        theirs = re.findall(r"listen 127\.0\.0\.1:(\d+);", text)
        assert len(theirs) == 3
        self.ports = dict(zip(theirs, map(str, free_ports(3)), strict=True))
        for there, here in self.ports.items():
            text = text.replace(f"127.0.0.1:{there}", f"127.0.0.1:{here}")
        text = text.replace("/var/log/nginx/", f"{home}/")
        self.configuration = re.search(r"^```nginx\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
        self.commands = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.log = re.findall(r"^ {4}(GET .*)$", text, re.MULTILINE)


def test_the_quick_start_works(nginx):
    page = QuickStart(nginx.home)
    nginx.start(page.configuration, workers=2)
    in_turn, session, log, unknown = [
        subprocess.run(["sh", "-euc", command], stdout=subprocess.PIPE, text=True, check=True).stdout
        for command in page.commands
    ]
    assert set(in_turn.splitlines()) == {"one", "two"}
    (name,) = set(session.splitlines())
    assert session == f"{name}\n" * 4
    # The page has the log of a session at the first server.
    first, second = list(page.ports.values())[1:]
    lines = [line.replace(second, first) for line in log.splitlines()]
    assert lines == page.log
    assert '"code":-32001' in unknown
