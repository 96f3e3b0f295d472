# MCP mode's own answers: JSON-RPC errors, sent as nginx sends its error pages.

use lib 't/lib';
use Sticky;

our $not_found = '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}';
our $unavailable =
    '{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Session temporarily unavailable"}}';

our $ambiguous = '{"jsonrpc":"2.0","id":null,'
    . '"error":{"code":-32600,"message":"Invalid Request: Mcp-Session-Id lines differ"}}';

our $upstreams = <<'END';
    upstream u {
        sticky_learn zone=sessions:1m warnings=off;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions warnings=off;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
END

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an unknown session is 404 with a JSON-RPC error
--- http_config eval: $::upstreams
--- request
POST /
{"jsonrpc":"2.0","id":1,"method":"tools/list"}
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_headers
Content-Type: application/json
Content-Length: 81
X-Status: UNKNOWN
! Retry-After
--- response_body eval: $::not_found



=== TEST 2: a session whose server may come back is 503 with another, and when to ask again
--- http_config eval: $::upstreams
--- config
    location / { proxy_pass http://u; }
    location = /200 { proxy_pass http://without_a; }
--- request eval
["POST /?mcp=one", "POST /200\n{}", "GET /"]
--- more_headers eval
["", "Mcp-Session-Id: one", "Mcp-Session-Id: one"]
--- error_code eval
[200, 503, 200]
--- response_headers_like eval
["X-Status: NEW", "Content-Type: application/json\nRetry-After: [1-9]\\d*\nX-Status: UNAVAILABLE", "X-Status: HIT"]
--- response_body eval
["a\n", $::unavailable, "a\n"]



=== TEST 3: with ids of one's own the answer is nginx's page
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- request
GET /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_headers
Content-Type: text/html
--- response_body_like: 404 Not Found



=== TEST 4: HEAD has no body
--- http_config eval: $::upstreams
--- request
HEAD /
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_headers
Content-Type: application/json
Content-Length: 81
--- response_body:



=== TEST 5: error_page has the last word
--- http_config eval: $::upstreams
--- config
    error_page 404 /page;
    location / { proxy_pass http://u; }
    location = /page { internal; return 404 "page\n"; }
--- request
POST /
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_body
page



=== TEST 6: but not that of another status
--- http_config eval: $::upstreams
--- config
    error_page 500 502 503 504 /page;
    location / { proxy_pass http://u; }
    location = /page { internal; return 503 "page\n"; }
--- request
POST /
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_body eval: $::not_found



=== TEST 7: error_page may turn a rejection into another answer
--- http_config eval: $::upstreams
--- config
    error_page 404 =410 /page;
    location / { proxy_pass http://u; }
    location = /page { internal; default_type text/plain; return 200 "gone\n"; }
--- request
POST /
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 410
--- response_body
gone



=== TEST 8: headers that are always added are, and the log shows the real status
--- http_config eval
$::upstreams . '    log_format brief "$request_method $status $body_bytes_sent $upstream_sticky_status [$upstream_addr]";'
--- config
    access_log logs/sticky.log brief;
    add_header X-Always yes always;
    add_header X-Success yes;
    location / { proxy_pass http://u; }
--- request
POST /
{}
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_headers
X-Always: yes
! X-Success
--- logged
POST 404 81 UNKNOWN [-]



=== TEST 9: nothing is logged above info
--- http_config eval: $::upstreams
--- request
POST /
{}
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- no_error_log
[warn]
[error]
[crit]
[alert]



=== TEST 10: the connection goes on, whatever became of the request's body
--- http_config eval: $::upstreams
--- pipelined_requests eval
["POST /\n" . ("x" x 5000), "GET /200"]
--- more_headers eval
["Mcp-Session-Id: stranger", ""]
--- error_code eval
[404, 200]
--- response_body eval
[$::not_found, "a\n"]



=== TEST 11: also if the body was not to be read first
--- http_config eval: $::upstreams
--- config
    location / {
        proxy_pass http://u;
        proxy_http_version 1.1;
        proxy_request_buffering off;
    }
--- pipelined_requests eval
["POST /\n" . ("x" x 5000), "GET /200"]
--- more_headers eval
["Mcp-Session-Id: stranger", ""]
--- error_code eval
[404, 200]
--- response_body eval
[$::not_found, "a\n"]



=== TEST 12: in a subrequest
--- http_config eval: $::upstreams
--- config
    location = /main { auth_request /auth; proxy_pass http://$TEST_NGINX_A/; }
    location = /auth { proxy_pass http://u; }
--- request
GET /main
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 500
--- error_log
auth request unexpected status: 404
--- no_error_log
[alert]
[crit]



=== TEST 13: over HTTP/2
--- http_config eval
$::upstreams . <<'END'
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Status $upstream_sticky_status always;
        location / { proxy_pass http://u; }
    }
END
--- config
    # Speaks HTTP/2 to the server above.
    location / { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_4; }
--- request eval
["POST /\n{}", "GET /"]
--- more_headers eval
["Mcp-Session-Id: stranger", "Mcp-Session-Id: stranger"]
--- error_code eval
[404, 404]
--- response_headers_like eval
["Content-Type: application/json", "Content-Type: application/json"]
--- response_body eval
[$::not_found, $::not_found]



=== TEST 14: with its own status where an error page of another one has led there
--- http_config eval: $::upstreams
--- config
    location = /denied { error_page 403 @u; return 403; }
    location @u { proxy_pass http://u; }
--- request
GET /denied
--- more_headers
Mcp-Session-Id: stranger
--- error_code: 404
--- response_body eval: $::not_found



=== TEST 15: lines of Mcp-Session-Id that differ are 400 with a third one
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unknown=balance;
        server $TEST_NGINX_A;
    }
--- request
POST /
{}
--- more_headers
Mcp-Session-Id: one
Mcp-Session-Id: two
--- error_code: 400
--- response_headers
Content-Type: application/json
X-Status: UNKNOWN
! Retry-After
--- response_body eval: $::ambiguous



=== TEST 16: or with the page of error_page
--- http_config eval: $::upstreams
--- config
    error_page 400 /page;
    location / { proxy_pass http://u; }
    location = /page { internal; return 400 "page\n"; }
--- request
POST /
--- more_headers
Mcp-Session-Id: one
Mcp-Session-Id: two
--- error_code: 400
--- response_body
page
