# unknown=: a request carries an id that the zone does not know.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: balance: it is sent on as if it had none, and nothing is learned from that
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=balance;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session: stranger    => 200 a UNKNOWN -
    GET / | X-Session: stranger    => 200 b UNKNOWN -
    GET /404 | X-Session: stranger => 404 a UNKNOWN -



=== TEST 2: reject: 404, and no server sees it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session: stranger    => 404 - UNKNOWN -
    GET /                          => 200 a NONE -
    GET / | X-Session: stranger    => 404 - UNKNOWN -
    GET /?new=one                  => 200 b NEW b
    GET / | X-Session: one         => 200 b HIT b
    GET / | X-Session: stranger    => 404 - UNKNOWN -



=== TEST 3: reject: whatever the method
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- story
    POST / | X-Session: stranger    => 404 - UNKNOWN -
    PUT / | X-Session: stranger     => 404 - UNKNOWN -
    DELETE / | X-Session: stranger  => 404 - UNKNOWN -
    OPTIONS / | X-Session: stranger => 404 - UNKNOWN -



=== TEST 4: reject: the answer is nginx's own
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- request
GET /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_headers
Content-Type: text/html
! Retry-After
--- response_body_like: <h1>404 Not Found</h1>



=== TEST 5: reject: HEAD has no body
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- request
HEAD /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_headers
X-Status: UNKNOWN
--- response_body



=== TEST 6: reject: error_page gives it another body
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        error_page 404 /gone.json;
    }
    location = /gone.json {
        internal;
        default_type application/json;
        return 404 '{"error":"no session"}';
    }
--- request
GET /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_headers
Content-Type: application/json
X-Status: UNKNOWN
--- response_body chomp
{"error":"no session"}



=== TEST 7: reject: error_page leads to a named location and to another upstream
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
    upstream fallback {
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        error_page 404 = @fallback;
    }
    location @fallback { proxy_pass http://fallback; }
--- story
    GET / | X-Session: stranger => 200 b UNKNOWN -
    GET /?new=one               => 200 a NEW a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 8: reject: error_page leads to another upstream with sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / {
        proxy_pass http://u;
        error_page 404 = @v;
    }
    location @v { proxy_pass http://v; }
--- story
    GET /?new=one | X-Session: stranger => 200 b NEW b
    GET / | X-Session: one              => 200 b HIT b
    GET / | X-Session: one              => 200 b HIT b
    GET /?new=one                       => 200 a NEW a
    GET / | X-Session: one              => 200 a HIT a



=== TEST 9: reject: headers are added as to any 404
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        add_header X-Always yes always;
        add_header X-On-Success yes;
    }
--- request
GET /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_headers
X-Always: yes
! X-On-Success



=== TEST 10: reject: the next request of the connection is answered
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- pipelined_requests eval
["GET /?new=one", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: stranger", "X-Session: one", "X-Session: stranger"]
--- error_code eval
[200, 404, 200, 404]
--- response_headers eval
["X-Status: NEW", "X-Status: UNKNOWN\nConnection: keep-alive", "X-Status: HIT\nX-Server: a",
 "X-Status: UNKNOWN\nConnection: close"]



=== TEST 11: reject: a request with a body leaves nothing behind for the next
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- pipelined_requests eval
["POST /200\n" . "GET /404 HTTP/1.1" x 1000, "POST /200?new=one\n" . "x" x 20000, "POST /200\nsmall", "GET /"]
--- more_headers eval
["X-Session: stranger", "", "X-Session: stranger", "X-Session: one"]
--- error_code eval
[404, 200, 404, 200]
--- response_headers eval
["X-Status: UNKNOWN", "X-Status: NEW", "X-Status: UNKNOWN", "X-Status: HIT"]



=== TEST 12: reject: a body that goes unbuffered, and is not all there yet
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_http_version 1.1;
        proxy_request_buffering off;
    }
--- raw_request eval
["POST / HTTP/1.1\r\nHost: localhost\r\nX-Session: stranger\r\nContent-Length: 100000\r\n\r\nfirst", "x" x 50000]
--- raw_request_middle_delay: 0.1
--- error_code: 404
--- response_headers
X-Status: UNKNOWN
! X-Server



=== TEST 13: reject: a chunked body that goes unbuffered
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_http_version 1.1;
        proxy_request_buffering off;
    }
--- raw_request eval
"POST / HTTP/1.1\r\nHost: localhost\r\nX-Session: stranger\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
. "5\r\nhello\r\n0\r\n\r\n"
--- error_code: 404
--- response_headers
X-Status: UNKNOWN
! X-Server



=== TEST 14: reject: the access log has it as a 404 that went to no server
--- http_config
    log_format sticky '$request_uri $status $upstream_sticky_status [$upstream_sticky_server] [$upstream_addr]';
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
--- story
    GET /1 | X-Session: stranger  => 404 - UNKNOWN -
    POST /2 | X-Session: stranger => 404 - UNKNOWN -
--- logged
/1 404 UNKNOWN [-] [-]
/2 404 UNKNOWN [-] [-]



=== TEST 15: reject: with a single server, with backups, with all servers down
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B backup;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B down;
    }
--- config
    location / { proxy_pass http://u; }
    location /v { proxy_pass http://v; }
--- story
    GET / | X-Session: stranger  => 404 - UNKNOWN -
    GET /v | X-Session: stranger => 404 - UNKNOWN -



=== TEST 16: reject: proxy_intercept_errors and proxy_next_upstream have no say
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        proxy_next_upstream error timeout http_404;
    }
--- story
    GET / | X-Session: stranger => 404 - UNKNOWN -
    GET / | X-Session: stranger => 404 - UNKNOWN -



=== TEST 17: reject: over HTTP/2
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Status $upstream_sticky_status always;
        location / { proxy_pass http://u; }
    }
--- config
    # Speaks HTTP/2 to the server above.
    location / { grpc_pass grpc://127.0.0.1:$TEST_NGINX_RAND_PORT_4; }
--- story
    GET / | X-Session: stranger  => 404 - UNKNOWN
    POST / | X-Session: stranger => 404 - UNKNOWN
    GET /?new=one                => 200 a NEW
    GET / | X-Session: one       => 200 a HIT
    GET / | X-Session: one       => 200 a HIT
