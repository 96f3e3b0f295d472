# gone=revive: parameters, and what it does not change. Revivals: tests/reviving/.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: without bind there is a warning, with bind there is none
--- http_config
    upstream u {
        sticky_learn zone=warned:1m gone=revive;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=bound:1m gone=revive bind=$http_authorization revive_zone=256k;
        server $TEST_NGINX_A;
    }
    upstream w {
        sticky_learn zone=plain:1m gone=reject;
        server $TEST_NGINX_A;
    }
--- request
GET /?mcp=one
--- error_code: 200
--- grep_error_log eval
qr/"gone=revive" without "bind"/
--- grep_error_log_out
"gone=revive" without "bind"



=== TEST 2: two upstreams of a zone share the records; sessions are learned, used and ended as without it
--- http_config
    upstream u {
        sticky_learn zone=mcp:1m gone=revive credential=X-Tenant credential=x_other;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=mcp gone=revive;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    POST /?mcp=one with initialize          => 200 X NEW X
    POST / with ping | Mcp-Session-Id: one  => 200 X HIT X
    POST /v/ with ping | Mcp-Session-Id: one => 200 X HIT X
    GET /404 | Mcp-Session-Id: one          => 404 X HIT X
    POST / with ping | Mcp-Session-Id: two  => 404 - UNKNOWN -
    DELETE / | Mcp-Session-Id: one          => 200 X HIT X
    POST / with ping | Mcp-Session-Id: one  => 404 - UNKNOWN -
