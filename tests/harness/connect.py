"""`sticky_test_connect`, a directive of module/testing/: each worker connects when it starts, sends a line and expects one."""

import re

from harness.nginx import Nginx
from harness.patience import until

SAY = "send=ping expect=pong"
# In milliseconds; longer than a test waits for anything.
NO_DEADLINE = "timeout=3600000"


def connect(address: object, parameters: str = SAY) -> str:
    return f"sticky_test_connect {address} {parameters};\n"


async def results(nginx: Nginx, count: int = 1) -> list[str]:
    """What the log says of so many of these directives; one for each worker."""
    found: list[str] = []

    def are_there() -> bool:
        found[:] = [m[1] for line in nginx.errors() if (m := re.search(r'test of "[^"]*": (.*)', line))]
        return len(found) >= count

    await until(are_there)
    return found


async def result(nginx: Nginx, address: object, parameters: str = SAY, http: str = "") -> str:
    """Starts the nginx; what becomes of one connection of its one worker."""
    nginx.start(http + connect(address, parameters), workers=1)
    return (await results(nginx))[0]
