# Defaults: without create= and lookup= the directive follows Mcp-Session-Id, and rejects unknown ids.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: with ids of one's own, an unknown one is balanced
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session: stranger => 200 a UNKNOWN -
    GET / | X-Session: stranger => 200 b UNKNOWN -



=== TEST 2: with ids of one's own, a session whose server is away moves
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /200 { proxy_pass http://without_a; }
--- story
    GET /?new=one             => 200 a NEW a
    GET /200 | X-Session: one => 200 b REBOUND b



=== TEST 3: in MCP mode Mcp-Session-Id is learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one              => 200 a NEW a
    GET / | Mcp-Session-Id: one => 200 a HIT a
    GET / | Mcp-Session-Id: one => 200 a HIT a
    GET / | X-Session: one      => 200 b NONE -
    GET /?new=two               => 200 a NONE -



=== TEST 4: in MCP mode an unknown session is rejected
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST / | Mcp-Session-Id: stranger => 404 - UNKNOWN -
    POST /                            => 200 a NONE -



=== TEST 5: in MCP mode, if so written, an unknown session is balanced
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unknown=balance;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | Mcp-Session-Id: stranger => 200 a UNKNOWN -
    GET / | Mcp-Session-Id: stranger => 200 b UNKNOWN -



=== TEST 6: in MCP mode a session whose server is away is rejected
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /200 { proxy_pass http://without_a; }
--- request eval
["GET /?mcp=one", "GET /200", "GET /"]
--- more_headers eval
["", "Mcp-Session-Id: one", "Mcp-Session-Id: one"]
--- error_code eval
[200, 503, 200]
--- response_headers_like eval
["X-Status: NEW", "X-Status: UNAVAILABLE\nRetry-After: [1-9]\\d*\nX-Bound: a", "X-Status: HIT\nX-Server: a"]



=== TEST 7: in MCP mode, if so written, a session whose server is away moves
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions unavailable=rebind;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /200 { proxy_pass http://without_a; }
--- story
    GET /?mcp=one                  => 200 a NEW a
    GET /200 | Mcp-Session-Id: one => 200 b REBOUND b
    GET /200 | Mcp-Session-Id: one => 200 b HIT b



=== TEST 8: in MCP mode only success teaches
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /401?mcp=one             => 401 a NONE -
    POST /301?mcp=one             => 301 b NONE -
    POST /500?mcp=one             => 500 a NONE -
    POST / | Mcp-Session-Id: one  => 404 - UNKNOWN -
    POST /202?mcp=two             => 202 b NEW b
    POST / | Mcp-Session-Id: two  => 200 b HIT b



=== TEST 9: timeout, lifetime and bind may be said in MCP mode
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=5m lifetime=1h bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?mcp=one | X-User: ann                => 200 a NEW a
    GET / | Mcp-Session-Id: one | X-User: ann  => 200 a HIT a
    GET / | Mcp-Session-Id: one | X-User: bob  => 404 - UNKNOWN -
