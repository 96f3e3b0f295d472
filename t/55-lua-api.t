# resty.sticky_learn: Lua asks which server has a session, binds ids and ends sessions.

use lib 't/lib';
use Sticky;
use Sticky::Lua;

with_lua();
run_tests();

__DATA__

=== TEST 1: lookup names the server that has a session, and the reason if there is none
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /lookup {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local server, err = sticky.lookup("ZONE", ngx.var.arg_id)
            ngx.say(server == "127.0.0.1:$TEST_NGINX_RAND_PORT_1" and "a" or tostring(server), " ", tostring(err))
        }
    }
--- request eval
["GET /?new=one", "GET /lookup?id=one", "GET /lookup?id=two"]
--- response_body eval
["a\n", "a nil\n", "nil unknown session\n"]



=== TEST 2: an id that Lua binds leads to its server; bound again, to the new one; forgotten, to none
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location = /lua {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local port = ngx.var.arg_port
            local done, err
            if port then
                done, err = sticky.bind("ZONE", "one", "127.0.0.1:" .. port)
            else
                done, err = sticky.forget("ZONE", "one")
            end
            ngx.header["X-Done"] = tostring(done) .. " " .. tostring(err)
        }
    }
    location = /c { rewrite ^ /lua?port=$TEST_NGINX_RAND_PORT_3? last; }
    location = /b { rewrite ^ /lua?port=$TEST_NGINX_RAND_PORT_2? last; }
--- request eval
["GET /c", "GET /", "GET /", "GET /b", "GET /", "GET /lua", "GET /", "GET /lua"]
--- more_headers
X-Session: one
--- response_headers eval
["X-Done: true nil", "X-Server: c\nX-Status: HIT", "X-Server: c\nX-Status: HIT", "X-Done: true nil", "X-Server: b\nX-Status: HIT",
 "X-Done: true nil", "X-Status: UNKNOWN", "X-Done: nil unknown session"]



=== TEST 3: kinds and bind are part of the id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /lookup {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local function ask(id, options)
                local server = sticky.lookup("ZONE", id, options)
                ngx.print(server and "yes " or "no ")
            end
            ask("one")
            ask("one", { bind = "alice" })
            ask("one", { bind = "mallory" })
            ask("one", { kind = "session", bind = "alice" })
            ask("one", { kind = "sse", bind = "alice" })
            ask("stream", { kind = "sse", bind = "alice" })
            ask("job", { kind = "task", bind = "alice" })
            ask("job", { kind = "session", bind = "alice" })
            ngx.say()
        }
    }
--- request eval
["GET /?mcp=one", "GET /sse?id=stream", "POST /task?id=job\n{}", "GET /lookup"]
--- more_headers eval
["X-User: alice", "X-User: alice\nAccept: text/event-stream",
 "X-User: alice\nMCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call", ""]
--- response_body_like eval
[".*", ".*", ".*", "^no yes no yes no yes yes no \$"]



=== TEST 4: wrong arguments give nil and what is wrong
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location = /t {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local zone, server = "ZONE", "127.0.0.1:80"
            local function say(...)
                local done, err = ...
                ngx.say(tostring(done), " ", (tostring(err):gsub(zone, "Z")))
            end
            for _, wrong in ipairs { 1, true, {}, print, ngx.null } do
                say(sticky.lookup(wrong, "one"))
                say(sticky.lookup(zone, wrong))
                say(sticky.forget(zone, wrong))
                say(sticky.bind(zone, "one", wrong))
                say(sticky.counters(wrong))
            end
            say(sticky.lookup())
            say(sticky.lookup(zone))
            say(sticky.lookup(zone, ""))
            say(sticky.lookup(zone, "one", "session"))
            say(sticky.lookup(zone, "one", { kind = "handle" }))
            say(sticky.lookup(zone, "one", { kind = 1 }))
            say(sticky.lookup(zone, "one", { bind = 1 }))
            say(sticky.bind(zone, "one", server, 5))
            say(sticky.lookup("nothing", "one"))
            say(sticky.counters("nothing"))
            say(sticky.counters(zone, 5))
        }
    }
--- request
GET /t
--- response_body eval
CORE::join('', map {
    "nil bad argument #1 (zone): string expected, got $_\n" .
    "nil bad argument #2 (id): string expected, got $_\n" x 2 .
    "nil bad argument #3 (server): string expected, got $_\n" .
    "nil bad argument #1 (zone): string expected, got $_\n"
} qw(number boolean table function userdata)) . <<'END'
nil bad argument #1 (zone): string expected, got nil
nil bad argument #2 (id): string expected, got nil
nil bad argument #2 (id): it is empty
nil bad argument #3 (options): table expected, got string
nil bad argument #3 (options): invalid kind "handle", "session", "sse" and "task" are known
nil bad argument #3 (options): invalid kind "1", "session", "sse" and "task" are known
nil bad argument #3 (options.bind): string expected, got number
nil bad argument #4 (options): table expected, got number
nil unknown zone "nothing"
nil unknown zone "nothing"
nil bad argument #2 (counters): table expected, got number
END



=== TEST 5: any bytes are an id: NUL, 1 MB; a server is an address with a port
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location = /t {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local zone = "ZONE"
            local megabyte = ("x"):rep(1048576)
            local ids = { "a\0b", "a\0c", "a", megabyte, megabyte .. "y" }
            for place, id in ipairs(ids) do
                assert(sticky.bind(zone, id, "10.0.0." .. place .. ":80", { bind = id }))
            end
            for _, id in ipairs(ids) do
                ngx.print(sticky.lookup(zone, id, { bind = id }), " ")
            end
            ngx.say()
            for _, server in ipairs { "[::1]:8000", "unix:/run/one.sock", "", "one", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536",
                "localhost:80", "10.0.0.1:80 ", "unix:", "unix:a\0b", "10.0.0.1:80\0", "unix:" .. ("x"):rep(251) } do
                local bound, err = sticky.bind(zone, "one", server)
                ngx.say(bound and sticky.lookup(zone, "one") or err:sub(1, 30))
            end
        }
    }
--- request
GET /t
--- response_body eval
"10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80 \n[::1]:8000\nunix:/run/one.sock\n" . <<"END"
invalid server "", an address 
invalid server "one", an addre
invalid server "10.0.0.1", an 
invalid server "10.0.0.1:0", a
invalid server "10.0.0.1:65536
invalid server "localhost:80",
invalid server "10.0.0.1:80 ",
invalid server "unix:", an add
invalid server "unix:a\0b", an 
invalid server "10.0.0.1:80\0",
invalid server "unix:xxxxxxxxx
END



=== TEST 6: a zone whose list of servers is full
--- http_config
    upstream u {
        sticky_learn zone=sessions:32k create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location = /t {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local bound = 0
            for place = 1, 100 do
                local done, err = sticky.bind("ZONE", "id" .. place, "10.0.0." .. place .. ":80")
                if not done then
                    ngx.say(bound >= 15, " ", bound < 100, " ", err:match("has no room for the server"))
                    return
                end
                bound = bound + 1
            end
        }
    }
--- request
GET /t
--- response_body
true true has no room for the server



=== TEST 7: counters
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location = /t {
        content_by_lua_block {
            local sticky = require "resty.sticky_learn"
            local zone = "ZONE"
            sticky.bind(zone, "two", "10.0.0.1:80")
            sticky.bind(zone, "two", "10.0.0.2:80")
            sticky.bind(zone, "three", "10.0.0.1:80")
            sticky.forget(zone, "three")
            local counters = sticky.counters(zone)
            local same = {}
            ngx.say(sticky.counters(zone, same) == same, " ", same.live == counters.live, " ", counters.capacity > 30000)
            for _, name in ipairs { "live", "created", "moved", "forgotten", "hits", "unknown", "expired", "evicted" } do
                ngx.print(name, " ", counters[name], " ")
            end
            ngx.say()
        }
    }
--- request eval
["GET /?new=one", "GET /", "GET /t"]
--- more_headers eval
["", "X-Session: one", ""]
--- response_body eval
["a\n", "a\n", "true true true\nlive 2 created 3 moved 1 forgotten 1 hits 1 unknown 0 expired 0 evicted 0 \n"]



=== TEST 8: before there are zones; in a worker from its start on, timers included
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    init_by_lua_block {
        sticky = require "resty.sticky_learn"
        function ask()
            local results = {}
            local function note(done, err) results[#results + 1] = done and tostring(done) or err end
            note(sticky.bind("ZONE", "one", "10.0.0.1:80"))
            note(sticky.lookup("ZONE", "one"))
            note(sticky.forget("ZONE", "one"))
            note(sticky.counters("ZONE") and "counted" or select(2, sticky.counters("ZONE")))
            return table.concat(results, ", ")
        end
        before = ask()
    }
    init_worker_by_lua_block {
        start = ask()
        ngx.timer.at(0, function() timer = ask() end)
    }
--- config
    location = /t {
        content_by_lua_block { ngx.say(before, "\n", start, "\n", timer) }
    }
--- request
GET /t
--- response_body eval
my $reason = 'no zones yet: sticky_learn has them from init_worker_by_lua on';
CORE::join(', ', ($reason) x 4) . "\n" . "true, 10.0.0.1:80, true, counted\n" x 2



=== TEST 9: each of Lua's phases of a request
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    init_by_lua_block {
        local sticky = require "resty.sticky_learn"
        function all(phase)
            local id = "id of " .. phase
            local bound = sticky.bind("ZONE", id, "10.0.0.1:80")
            local server = sticky.lookup("ZONE", id)
            local gone = sticky.forget("ZONE", id)
            local done = bound == true and server == "10.0.0.1:80" and gone == true and sticky.lookup("ZONE", id) == nil
            ngx.log(ngx.NOTICE, done and "all done in " or "failed in ", phase)
        end
    }
    upstream lua {
        server 0.0.0.1;
        balancer_by_lua_block {
            all("balancer")
            assert(require("ngx.balancer").set_current_peer("127.0.0.1", $TEST_NGINX_RAND_PORT_1))
        }
    }
--- config
    location / {
        set_by_lua_block $x { all("set") return "" }
        rewrite_by_lua_block { all("rewrite") }
        access_by_lua_block { all("access") }
        header_filter_by_lua_block { all("header_filter") }
        body_filter_by_lua_block { if ngx.arg[2] then all("body_filter") end }
        log_by_lua_block { all("log") }
        proxy_pass http://lua;
    }
--- request
GET /
--- response_body
a
--- told
all done in set
all done in rewrite
all done in access
all done in balancer
all done in header_filter
all done in body_filter
all done in log
--- grep_error_log eval
qr/failed in/
--- grep_error_log_out



=== TEST 10: without a code cache, each request loads the file anew
--- http_config
    lua_code_cache off;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /lua {
        content_by_lua_block {
            ngx.header["X-Done"] = tostring(require("resty.sticky_learn").bind("ZONE", "one", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        }
    }
--- request eval
["GET /lua", "GET /", "GET /lua", "GET /"]
--- more_headers
X-Session: one
--- response_headers eval
["X-Done: true", "X-Server: b\nX-Status: HIT", "X-Done: true", "X-Server: b\nX-Status: HIT"]
--- suppress_stderr
--- no_error_log
[error]
[crit]
[emerg]



=== TEST 11: without the nginx module, and with one of another release
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location = /t {
        content_by_lua_block {
            local ffi = require "ffi"
            local real = ffi.C
            local name = "resty.sticky_learn"
            for _, instead in ipairs { function() error("undefined symbol") end, function() return function() return 7 end end } do
                package.loaded[name] = nil
                ffi.C = setmetatable({}, { __index = function(_, symbol)
                    if symbol == "ngx_http_sticky_learn_lua_interface" then
                        return instead()
                    end
                    return real[symbol]
                end })
                local done, err = pcall(require, name)
                ngx.say(done, " ", (err:gsub("^%S+ ", "")))
            end
            ffi.C = real
            package.loaded[name] = nil
        }
    }
--- request
GET /t
--- response_body_like
^false .*needs the nginx module ngx_http_sticky_learn_module 0.1.0 or later: load_module, or ./configure --add-module
false .*0.1.0 is of another release than ngx_http_sticky_learn_module: its interface is 1, that of the module is 7
