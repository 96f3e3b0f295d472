"""nginx's Lua module, or OpenResty, in front of the tests that need one."""

import os
import re
from pathlib import Path

import pytest

from harness.nginx import BINARY

_modules = os.environ.get("TEST_NGINX_LUA_MODULES", "")

# The objects to load; none where Lua is compiled in.
LUA = re.findall(r"load_module (\S+);", _modules)

HAS_LUA = bool(_modules)
needs_lua = pytest.mark.skipif(not HAS_LUA, reason="no Lua module, and no OpenResty")

# A part of http {}: where Lua's own libraries and resty.sticky_learn are.
PATH = f"lua_package_path '{os.environ.get('TEST_NGINX_STICKY_LUA', '')}';\n"

# Debian's package lua-cjson, for Debian's nginx; OpenResty has its own.
_home = Path("/usr/lib") if LUA else Path(BINARY).resolve().parent / "../../lualib"
HAS_CJSON = any(_home.glob("**/cjson.so"))
