"""The question is asked when no other handler can change the id any more."""

import pytest

from harness.clients.http import send
from harness.clients.questions import settled, site
from harness.ports import free_ports


@pytest.mark.parametrize("loaded", ["first", "last"])
async def test_an_id_set_at_the_end_of_precontent_is_asked_for(testing_nginx, compiled, loaded):
    """A module moves itself behind ours at its first run, as ngx_lua does for `precontent_by_lua`."""
    (port,) = free_ports(1)
    late = compiled("ngx_http_late_module")
    testing_nginx.modules.insert(0 if loaded == "first" else 1, late)
    source = "after=1ms server={b}"
    testing_nginx.start(site(port, source, location="late_header Mcp-Session-Id $arg_id;"), workers=1)
    for number in range(3):
        response = await send(port, b"from-the-client", path=f"/?id=late-{number}")
        assert (response.status, response.sticky, response.replica) == (200, "HIT", "b")
    await settled(port, asked=3, answered=3)
    # The client's own id was never asked for: it has no session.
    response = await send(port, b"from-the-client", path="/?id=late-0")
    assert (response.status, response.sticky) == (200, "HIT")
    await settled(port, asked=3, answered=3)
