# Nothing is learned from a cached answer, or from an answer of nginx itself. A session is learned from an answer that
# redirects the request.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a response from the cache
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $uri;
    proxy_cache_valid 1h;
    add_header X-Cache $upstream_cache_status;
    # Fills the cache, and knows of no sessions.
    location = /fill {
        proxy_cache_key /cached;
        proxy_pass http://$TEST_NGINX_C/;
    }
    location = /cached {
        proxy_pass http://u/;
    }
    location / {
        proxy_cache off;
        proxy_pass http://u/;
    }
--- request eval
["GET /fill?new=one", "GET /cached", "GET /cached", "GET /"]
--- more_headers eval
["", "", "", "X-Session: one"]
--- response_headers eval
["X-Cache: MISS\nX-Server: c\nX-Session: one", "X-Cache: HIT\nX-Server: c\nX-Session: one",
 "X-Cache: HIT\nX-Server: c\nX-Session: one", "X-Status: UNKNOWN\nX-Server: a"]



=== TEST 2: but the response that fills it does teach
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /201 {
        proxy_cache cache;
        proxy_cache_valid any 1h;
        proxy_pass http://u;
    }
--- story
    GET /201?new=one       => 201 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 3: a stale response from the cache, after its server has failed
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_DEAD;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $request_method;
    proxy_cache_valid 1s;
    proxy_cache_use_stale error;
    add_header X-Cache $upstream_cache_status;
    location = /fill { proxy_pass http://$TEST_NGINX_C/; }
    location = /stale { proxy_pass http://u/; }
    location / {
        proxy_cache off;
        proxy_pass http://v;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- request eval
["GET /fill?new=one", ["G", { value => "ET /stale", delay_before => 2.1 }], "GET /"]
--- more_headers eval
["", "", "X-Session: one"]
--- response_headers eval
["X-Cache: MISS\nX-Session: one", "X-Cache: STALE\nX-Session: one", "X-Status: UNKNOWN\nX-Server: a"]



=== TEST 4: a response from the cache that a server has confirmed
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session create=$upstream_http_x_session
                     lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $request_method;
    proxy_cache_valid 200 1s;
    proxy_cache_revalidate on;
    add_header X-Cache $upstream_cache_status;
    location = /fill { proxy_pass http://$TEST_NGINX_C/; }
    location = /again { proxy_pass http://u/304; }
    location / {
        proxy_cache off;
        proxy_pass http://u;
    }
--- request eval
["GET /fill?new=one", ["G", { value => "ET /again", delay_before => 2.1 }], "GET /"]
--- more_headers eval
["", "", "X-Session: one"]
--- response_headers eval
["X-Cache: MISS\nX-Session: one", "X-Cache: REVALIDATED\nX-Session: one", "X-Status: UNKNOWN\nX-Server: b"]



=== TEST 5: a response that leads to a file of nginx's does teach
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /file {
        internal;
        return 200 "file\n";
    }
--- story
    GET /?accel=/file&new=one => 200 - NEW a
    GET / | X-Session: one    => 200 a HIT a
    GET / | X-Session: one    => 200 a HIT a



=== TEST 6: a response that leads to another server: each teaches what it has given itself
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location = /next {
        internal;
        proxy_pass http://v/?new=two;
    }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?accel=/next&new=one => 200 b NEW b
    GET /v/ | X-Session: two  => 200 b HIT b
    GET /v/ | X-Session: two  => 200 b HIT b
    GET / | X-Session: one    => 200 a HIT a



=== TEST 7: a response that leads to a server without sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location = /next {
        internal;
        proxy_pass http://$TEST_NGINX_C/?new=two;
    }
--- story
    GET /?accel=/next&new=one => 200 c *
    GET / | X-Session: one    => 200 a HIT a
    GET / | X-Session: two    => 200 a UNKNOWN -



=== TEST 8: a response that nginx keeps from the client
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        error_page 500 /own;
    }
    location = /own {
        internal;
        return 500 "own\n";
    }
--- story
    GET /500?new=one       => 500 - NONE -
    GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 9: an answer of nginx itself, even if it has the header
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /own {
        add_header X-Session one;
        return 200;
    }
    location = /index.html {
        add_header X-Session one;
        root html;
    }
--- story
    GET /own               => 200 - *
    GET /index.html        => 200 - *
    GET / | X-Session: one => 200 a UNKNOWN -



=== TEST 10: a 502 of nginx's own
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$http_x_new lookup=$http_x_session;
        server $TEST_NGINX_DEAD;
    }
    upstream v {
        sticky_learn zone=sessions create=$http_x_new lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | X-New: one       => 502 - NONE -
    GET /v/ | X-Session: one => 200 a UNKNOWN -
    GET /v/ | X-New: one     => 200 a NEW a



=== TEST 11: a rejection, though the request names an id to create
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$http_x_new lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session: one | X-New: two => 404 - UNKNOWN -
    GET / | X-Session: two              => 404 - UNKNOWN -



=== TEST 12: a response that is no HTTP
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_4
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nX-Session: one\r\n: nonsense\r\n\r\n"
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /                    => 502 - NONE -
    GET /v/ | X-Session: one => 200 a UNKNOWN -



=== TEST 5: a stale response from the cache, where the session's server is away and no other may answer
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $request_method;
    proxy_cache_valid 1s;
    proxy_cache_use_stale error;
    add_header X-Cache $upstream_cache_status always;
    location = /fill { proxy_pass http://$TEST_NGINX_C/; }
    location = /stale { proxy_pass http://u/; }
    location = /rejected { proxy_cache off; proxy_pass http://u/; }
    location / {
        proxy_cache off;
        proxy_pass http://v;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- request eval
["GET /?new=one", "GET /fill", ["G", { value => "ET /stale", delay_before => 2.1 }], "GET /rejected"]
--- more_headers eval
["", "", "X-Session: one", "X-Session: one"]
--- error_code eval
[200, 200, 200, 503]
--- response_headers eval
["X-Status: NEW", "X-Cache: MISS", "X-Cache: STALE", "X-Status: UNAVAILABLE"]
