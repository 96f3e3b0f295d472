# balancer_by_lua with sessions: Lua gets the session's server and chooses; the answer of whom it chose is learned.

use lib 't/lib';
use Sticky;
use Sticky::Lua;

# It stops where the module would take Lua's data of a request for those of round robin.
with_testing_module();
with_lua();

# What Lua says of the session's server, with a letter instead of its address.
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => <<'END' . $block->http_config);
    init_by_lua_block {
        balancer = require "ngx.balancer"
        sticky = require "resty.sticky_learn"
        letters = {
            ["127.0.0.1:$TEST_NGINX_RAND_PORT_1"] = "a", ["127.0.0.1:$TEST_NGINX_RAND_PORT_2"] = "b",
            ["127.0.0.1:$TEST_NGINX_RAND_PORT_3"] = "c", ["127.0.0.1:$TEST_NGINX_RAND_PORT_9"] = "dead",
        }
        ports = {
            a = $TEST_NGINX_RAND_PORT_1, b = $TEST_NGINX_RAND_PORT_2, c = $TEST_NGINX_RAND_PORT_3, dead = $TEST_NGINX_RAND_PORT_9,
        }
        function say(text)
            ngx.ctx.said = ngx.ctx.said and ngx.ctx.said .. " " .. text or text
        end
        -- The session's server, or the one that the request names.
        function choose()
            local server, err = sticky.session_server()
            say(server and letters[server] or err)
            if server and not ngx.var.arg_force then
                return assert(balancer.set_current_peer(server))
            end
            assert(balancer.set_current_peer("127.0.0.1", ports[ngx.var.arg_force or ngx.var.arg_to or "a"]))
        end
    }
END
    $block->set_value(config => ($block->config // "    location / { proxy_pass http://u; }\n")
        . "    header_filter_by_lua_block { ngx.header['X-Said'] = ngx.ctx.said }\n");
});

run_tests();

__DATA__

=== TEST 1: servers that only Lua knows
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 0.0.0.1;
        balancer_by_lua_block { choose() }
    }
--- story
    GET /?new=one&to=c           => 200 c NEW c
    GET /?to=a | X-Session: one  => 200 c HIT c
    GET /?new=two&to=b           => 200 b NEW b
    GET /?to=a | X-Session: two  => 200 b HIT b
    GET /?to=a | X-Session: one  => 200 c HIT c
    GET /?to=a                   => 200 a NONE -
    GET /?to=b | X-Session: none => 200 b UNKNOWN -



=== TEST 2: balancer_by_lua before sticky_learn
--- http_config
    upstream u {
        server 0.0.0.1;
        balancer_by_lua_block { choose() }
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
    }
--- story
    GET /?new=one&to=c           => 200 c NEW c
    GET /?to=a | X-Session: one  => 200 c HIT c
    GET /?to=b | X-Session: none => 404 - UNKNOWN -



=== TEST 3: what Lua is told
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block { choose() }
    }
--- config
    location / { proxy_pass http://u; }
    location = /page { content_by_lua_block { ngx.ctx.said = select(2, sticky.session_server()) ngx.say() } }
--- request eval
["GET /?new=one&to=c", "GET /", "GET /", "GET /page"]
--- more_headers eval
["", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Said: no id", "X-Said: c", "X-Said: unknown session", "X-Said: the request is not at an upstream with sticky_learn"]



=== TEST 4: Lua may choose another server: the session stays
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block { choose() }
    }
--- story
    GET /?new=one&to=c             => 200 c NEW c
    GET /?force=b | X-Session: one => 200 b UNAVAILABLE c
    GET / | X-Session: one         => 200 c HIT c
    GET /?force=c | X-Session: one => 200 c HIT c



=== TEST 5: Lua that sets no peer: the session's server of the configuration, else round robin
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
        balancer_by_lua_block { }
    }
--- story
    GET /?new=one          => 200 X NEW X
    GET /?new=two          => 200 Y NEW Y
    GET / | X-Session: one => 200 X HIT X
    GET / | X-Session: one => 200 X HIT X
    GET / | X-Session: two => 200 Y HIT Y
    GET / | X-Session: one => 200 X HIT X
    GET / | X-Session: two => 200 Y HIT Y
    GET / | X-Session: two => 200 Y HIT Y
    GET /                  => 200 * NONE -



=== TEST 6: Lua that sets no peer, and a session whose server is not in the configuration
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        balancer_by_lua_block { if ngx.var.arg_to then choose() end }
    }
    upstream strict {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        balancer_by_lua_block { if ngx.var.arg_to then choose() end }
    }
--- config
    location / { proxy_pass http://u; }
    location /strict/ { proxy_pass http://strict/; }
--- request eval
["GET /strict/?new=one&to=c", "GET /strict/?to=a", "GET /strict/", "GET /strict/?to=a", "GET /?new=two&to=c", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", "X-Session: one", "", "X-Session: two", "X-Session: two"]
--- error_code eval
[200, 200, 404, 200, 200, 200, 200]
--- response_headers_like eval
["X-Server: c\nX-Status: NEW", "X-Server: c\nX-Status: HIT", "X-Status: GONE", "X-Server: a\nX-Status: UNKNOWN", "X-Server: c\nX-Status: NEW",
 "X-Server: ([ab])\nX-Status: REBOUND", "X-Server: ([ab])\nX-Status: HIT"]



=== TEST 7: a server that is dead: Lua tries another, the session moves
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block {
            if not ngx.ctx.said then
                assert(balancer.set_more_tries(1))
            else
                say((balancer.get_last_failure()))
            end
            choose()
        }
    }
--- config
    location / { proxy_pass http://u; }
    location = /bind { content_by_lua_block { ngx.say(sticky.bind("ZONE", "one", "127.0.0.1:$TEST_NGINX_RAND_PORT_9")) } }
--- request eval
["GET /bind", "GET /?to=b", "GET /?to=c", "GET /?to=c"]
--- more_headers
X-Session: one
--- response_headers_like eval
["", "X-Server: b\nX-Status: REBOUND\nX-Said: dead failed unreachable", "X-Server: b\nX-Status: HIT\nX-Said: b", "X-Server: b\nX-Status: HIT"]
--- no_error_log
[crit]
[alert]
[emerg]
[warn]



=== TEST 8: with unavailable=reject, nobody else gets its requests
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        balancer_by_lua_block { balancer.set_more_tries(1) choose() }
    }
--- config
    location / { proxy_pass http://u; }
    location = /bind { content_by_lua_block { ngx.say(sticky.bind("ZONE", "one", "127.0.0.1:$TEST_NGINX_RAND_PORT_9")) } }
    location = /forget { content_by_lua_block { ngx.say(sticky.forget("ZONE", "one")) } }
--- request eval
["GET /bind", "GET /?to=b", "GET /?to=b", "GET /forget", "GET /?to=b"]
--- more_headers
X-Session: one
--- error_code eval
[200, 503, 503, 200, 200]
--- response_headers eval
["", "X-Status: UNAVAILABLE\nRetry-After: 1", "X-Status: UNAVAILABLE\nRetry-After: 1", "", "X-Server: b\nX-Status: UNKNOWN"]
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 9: a server of the configuration that is dead is known to be, before Lua is asked
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_DEAD;
        balancer_by_lua_block {
            if not ngx.ctx.said then
                assert(balancer.set_more_tries(1))
            end
            choose()
        }
    }
--- config
    location / { proxy_pass http://u; }
    location = /bind {
        content_by_lua_block {
            for _, id in ipairs { "one", "two" } do
                assert(sticky.bind("ZONE", id, "127.0.0.1:$TEST_NGINX_RAND_PORT_9"))
            end
            ngx.say()
        }
    }
--- request eval
["GET /bind", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers_like eval
["", "X-Server: a\nX-Status: REBOUND\nX-Said: dead unreachable", "X-Server: a\nX-Status: REBOUND\nX-Said: unreachable",
 "X-Server: a\nX-Status: HIT\nX-Said: a"]
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 10: an answer that nginx passes over for the next server moves nothing
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block {
            if not ngx.ctx.said then
                assert(balancer.set_more_tries(1))
            end
            choose()
        }
    }
--- config
    location / { proxy_pass http://u; proxy_next_upstream error http_503; }
--- request eval
["GET /?new=one&to=c", "GET /503-c?to=a", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- response_headers_like eval
["X-Server: c\nX-Status: NEW", "X-Server: a\nX-Status: UNAVAILABLE\nX-Said: c failed", "X-Server: c\nX-Status: HIT"]



=== TEST 11: keepalive of nginx, in both places
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block { choose() }
        keepalive 4;
    }
    upstream v {
        keepalive 4;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block { choose() }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one&to=c          => 200 c NEW c fresh
    GET /?to=a | X-Session: one => 200 c HIT c reused
    GET /?to=a | X-Session: one => 200 c HIT c reused
    GET /v/?new=two&to=b        => 200 b NEW b
    GET /v/ | X-Session: two    => 200 b HIT b
    GET /v/ | X-Session: two    => 200 b HIT b
    GET / | X-Session: two      => 200 b HIT b



=== TEST 12: MCP: a session, a stream and a task
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m;
        balancer_by_lua_block { choose() }
    }
--- story
    POST /?mcp=one&to=c with initialize                                                                      => 200 c NEW c
    POST /?to=a with tools/call | Mcp-Session-Id: one                                                        => 200 c HIT c
    POST /?to=a with tools/call | Mcp-Session-Id: two                                                        => 404 - UNKNOWN -
    POST /?to=b with initialize | Mcp-Session-Id: two                                                        => 200 b UNKNOWN -
    GET /sse?id=stream&to=b | Accept: text/event-stream                                                      => 200 b *
    POST /messages?sessionId=stream                                                                          => 200 b HIT b
    POST /task?id=job&to=c | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                       => 200 c *
    POST /?to=a | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: job                   => 200 c HIT c
    POST /task?id=job&to=b | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                       => 200 b *
    POST /?to=a | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: job                   => 200 c HIT c
    DELETE /204 | Mcp-Session-Id: one                                                                        => 204 c HIT *
    POST /?to=a with tools/call | Mcp-Session-Id: one                                                        => 404 - UNKNOWN -



=== TEST 13: ids that differ are rejected before Lua is asked
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m;
        balancer_by_lua_block { choose() }
    }
--- request
POST /
{}
--- more_headers
Mcp-Session-Id: one
Mcp-Session-Id: two
--- error_code: 400
--- response_headers
! X-Said



=== TEST 14: an error of Lua's code is nginx's 500, and the session stays
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block { if ngx.var.arg_raise then error("oops") end choose() }
    }
--- request eval
["GET /?new=one&to=c", "GET /?raise=1", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- error_code eval
[200, 500, 200]
--- response_headers eval
["X-Status: NEW", "X-Status: HIT", "X-Server: c\nX-Status: HIT"]
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 15: in balancer_by_lua the status is known; what it binds, ends or sets does not count for this request
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$asked bind=$user;
        balancer_by_lua_block {
            say(ngx.var.upstream_sticky_status)
            local id, alice = ngx.var.http_x_session, { bind = "alice" }
            if ngx.var.arg_bind then
                assert(sticky.bind("ZONE", id, "127.0.0.1:$TEST_NGINX_RAND_PORT_3", alice))
                ngx.var.asked, ngx.var.user = "one", "mallory"
            elseif ngx.var.arg_end then
                assert(sticky.forget("ZONE", id, alice))
                ngx.var.asked, ngx.var.user = "", ""
            end
            choose()
        }
    }
--- config
    location / { set $asked $http_x_session; set $user alice; proxy_pass http://u; }
--- request eval
["GET /?new=one&to=c", "GET /", "GET /?bind=1&to=a", "GET /", "GET /?end=1&to=a", "GET /?to=a", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: two", "X-Session: two", "X-Session: two", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Said: NONE no id", "X-Server: c\nX-Said: HIT c", "X-Server: a\nX-Status: UNKNOWN\nX-Said: UNKNOWN unknown session",
 "X-Server: c\nX-Status: HIT\nX-Said: HIT c", "X-Server: c\nX-Status: HIT\nX-Said: HIT c",
 "X-Server: a\nX-Status: UNKNOWN\nX-Said: UNKNOWN unknown session", "X-Server: c\nX-Status: HIT\nX-Said: HIT c"]



=== TEST 16: an initialize whose old id leads to a dead server begins a session where Lua wants
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m;
        balancer_by_lua_block { if not ngx.ctx.said then balancer.set_more_tries(1) end choose() }
    }
--- config
    location / { proxy_pass http://u; }
    location = /bind { content_by_lua_block { ngx.say(sticky.bind("ZONE", "one", "127.0.0.1:$TEST_NGINX_RAND_PORT_9")) } }
--- request eval
my $call = sub { qq({"jsonrpc":"2.0","id":1,"method":"$_[0]","params":{}}) };
["GET /bind", "POST /?to=b\n" . $call->("tools/call"), "POST /?to=b&mcp=new\n" . $call->("initialize"), "POST /?to=a\n" . $call->("tools/call")]
--- more_headers eval
["", "Mcp-Session-Id: one", "Mcp-Session-Id: one", "Mcp-Session-Id: new"]
--- error_code eval
[200, 503, 200, 200]
--- response_headers eval
["", "X-Status: UNAVAILABLE\n! X-Server", "X-Server: b\nX-Status: NEW\nX-Said: dead unknown session", "X-Server: b\nX-Status: HIT"]
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 17: balancer.enable_keepalive
--- skip_eval: 24: !main::lua_has('ngx_http_lua_ffi_balancer_enable_keepalive')
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        balancer_by_lua_block {
            choose()
            assert(balancer.enable_keepalive(60, 100))
        }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one&to=c          => 200 c NEW c fresh
    GET /?to=a | X-Session: one => 200 c HIT c reused
    GET /?to=b                  => 200 b NONE - fresh
    GET /?to=a | X-Session: one => 200 c HIT c reused



=== TEST 18: a kept connection that the session's server has closed: Lua is asked again, and gets the same server
--- http_config
    upstream u {
        server 0.0.0.1;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        # With OpenResty's patches nginx counts the closed connection as a try, otherwise a third one follows.
        balancer_by_lua_block { if not ngx.ctx.said then balancer.set_more_tries(1) end choose() }
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- request eval
["GET /?new=one&to=c", "GET /drop-c", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- error_code_like eval
["^200\$", "^(?:200|502)\$", "^200\$"]
--- response_headers_like eval
["X-Server: c\nX-Said: no id", "X-Status: UNAVAILABLE\nX-Said: c c(?: failed)?", "X-Server: c\nX-Status: HIT\nX-Said: c"]
--- no_error_log
[crit]
[alert]
[emerg]
