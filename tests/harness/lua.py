"""nginx's Lua module, or OpenResty, in front of the tests that need one."""

import os
import re

import pytest

_modules = os.environ.get("TEST_NGINX_LUA_MODULES", "")

# The objects to load; none where Lua is compiled in.
LUA = re.findall(r"load_module (\S+);", _modules)

needs_lua = pytest.mark.skipif(not _modules, reason="no Lua module, and no OpenResty")

# A part of http {}: where Lua's own libraries and resty.sticky_learn are.
PATH = f"lua_package_path '{os.environ.get('TEST_NGINX_STICKY_LUA', '')}';\n"
