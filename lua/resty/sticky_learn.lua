-- Asks the zones of sticky_learn which server has a session, and changes that. docs/openresty.md is the manual.
--
-- The functions are those of the nginx module, called by FFI: they do not yield, and work in each phase that runs in
-- a worker.

local base = require "resty.core.base"
local ffi = require "ffi"

local C = ffi.C
local ffi_string = ffi.string
local get_request = base.get_request
local get_string_buf = base.get_string_buf
local pcall = pcall
local tonumber = tonumber
local tostring = tostring
local type = type

ffi.cdef [[
    int ngx_http_sticky_learn_lua_interface(void);
    int ngx_http_sticky_learn_lua_lookup(const char *zone, size_t zone_len, int kind,
        const char *id, size_t id_len, const char *bind, size_t bind_len, unsigned char *address);
    int ngx_http_sticky_learn_lua_bind(const char *zone, size_t zone_len, int kind,
        const char *id, size_t id_len, const char *bind, size_t bind_len, const char *server, size_t server_len);
    int ngx_http_sticky_learn_lua_forget(const char *zone, size_t zone_len, int kind,
        const char *id, size_t id_len, const char *bind, size_t bind_len);
    int ngx_http_sticky_learn_lua_session_server(ngx_http_request_t *r, unsigned char *address);
    int ngx_http_sticky_learn_lua_counters(const char *zone, size_t zone_len, uint64_t *counters);
]]

-- The number of the module's interface that this file is written for.
local INTERFACE = 1

-- Bytes of the longest address in a zone.
local MAX_ADDRESS = 255

local KINDS = { session = 1, sse = 2, task = 3 }

local COUNTERS = { "capacity", "live", "hits", "unknown", "created", "moved", "expired", "evicted", "forgotten" }

local _M = { _VERSION = "0.1.0" }

do
    local found, interface = pcall(function() return C.ngx_http_sticky_learn_lua_interface() end)
    if not found then
        error("resty.sticky_learn needs the nginx module ngx_http_sticky_learn_module 0.1.0 or later: "
            .. "load_module, or ./configure --add-module", 2)
    end
    if interface ~= INTERFACE then
        error("resty.sticky_learn " .. _M._VERSION .. " is of another release than ngx_http_sticky_learn_module: its interface is "
            .. INTERFACE .. ", that of the module is " .. interface, 2)
    end
end

-- Written by each call before it is used. No call yields.
local numbers = ffi.new("uint64_t[?]", #COUNTERS)

local REASONS = {
    [-1] = "no zones yet: sticky_learn has them from init_worker_by_lua on",
    [-3] = "unknown session",
    [-7] = "the request is not at an upstream with sticky_learn",
    [-8] = "no id",
    [-9] = "unreachable",
    [-10] = "gone",
    [-11] = "failed",
}

local function failure(code, zone, server)
    if code == -2 then
        return 'unknown zone "' .. zone .. '"'
    elseif code == -4 then
        return 'invalid server "' .. server .. '", an address with a port is needed'
    elseif code == -5 then
        return 'zone "' .. zone .. '" has no room for the server'
    end
    return REASONS[code]
end

local function wrong(number, name, wanted, got)
    return "bad argument #" .. number .. " (" .. name .. "): " .. wanted .. " expected, got " .. type(got)
end

-- The number of the kind and the value of bind; nil and what is wrong with the arguments. `number` is the place of the
-- options.
local function read(zone, id, options, number)
    if type(zone) ~= "string" then
        return nil, wrong(1, "zone", "string", zone)
    end
    if type(id) ~= "string" then
        return nil, wrong(2, "id", "string", id)
    end
    if id == "" then
        return nil, "bad argument #2 (id): it is empty"
    end
    local kind, bind = 1, ""
    if options ~= nil then
        if type(options) ~= "table" then
            return nil, wrong(number, "options", "table", options)
        end
        if options.kind ~= nil then
            kind = KINDS[options.kind]
            if not kind then
                return nil, 'bad argument #' .. number .. ' (options): invalid kind "' .. tostring(options.kind)
                    .. '", "session", "sse" and "task" are known'
            end
        end
        if options.bind ~= nil then
            bind = options.bind
            if type(bind) ~= "string" then
                return nil, wrong(number, "options.bind", "string", bind)
            end
        end
    end
    return kind, bind
end

-- The address of the server that has a session; nil and the reason if there is none. The session is not refreshed.
function _M.lookup(zone, id, options)
    local kind, bind = read(zone, id, options, 3)
    if not kind then
        return nil, bind
    end
    local address = get_string_buf(MAX_ADDRESS)
    local len = C.ngx_http_sticky_learn_lua_lookup(zone, #zone, kind, id, #id, bind, #bind, address)
    if len < 0 then
        return nil, failure(len, zone)
    end
    return ffi_string(address, len)
end

-- Binds an id to a server, wherever it was before.
function _M.bind(zone, id, server, options)
    local kind, bind = read(zone, id, options, 4)
    if not kind then
        return nil, bind
    end
    if type(server) ~= "string" then
        return nil, wrong(3, "server", "string", server)
    end
    local code = C.ngx_http_sticky_learn_lua_bind(zone, #zone, kind, id, #id, bind, #bind, server, #server)
    if code < 0 then
        return nil, failure(code, zone, server)
    end
    return true
end

-- Ends a session.
function _M.forget(zone, id, options)
    local kind, bind = read(zone, id, options, 3)
    if not kind then
        return nil, bind
    end
    local code = C.ngx_http_sticky_learn_lua_forget(zone, #zone, kind, id, #id, bind, #bind)
    if code < 0 then
        return nil, failure(code, zone)
    end
    return true
end

-- For balancer_by_lua: the address of the server that has the request's session; nil and the reason if there is none, or
-- if the request cannot go there: "no id", "unknown session", "unreachable", "gone", "failed".
function _M.session_server()
    local r = get_request()
    if not r then
        return nil, REASONS[-7]
    end
    local address = get_string_buf(MAX_ADDRESS)
    local len = C.ngx_http_sticky_learn_lua_session_server(r, address)
    if len < 0 then
        return nil, failure(len)
    end
    return ffi_string(address, len)
end

-- The counters of a zone, in `counters` or a new table.
function _M.counters(zone, counters)
    if type(zone) ~= "string" then
        return nil, wrong(1, "zone", "string", zone)
    end
    if counters ~= nil and type(counters) ~= "table" then
        return nil, wrong(2, "counters", "table", counters)
    end
    local code = C.ngx_http_sticky_learn_lua_counters(zone, #zone, numbers)
    if code < 0 then
        return nil, failure(code, zone)
    end
    counters = counters or {}
    for place = 1, #COUNTERS do
        counters[COUNTERS[place]] = tonumber(numbers[place - 1])
    end
    return counters
end

return _M
