# $upstream_sticky_status and $upstream_sticky_server, wherever a configuration may use them.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: in the access log, when all is over
--- http_config
    log_format sticky '$request_uri [$upstream_sticky_status] [$bound]';
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
    location /own { return 200; }
--- story
    GET /?new=one              => 200 a NEW a
    GET / | X-Session: one     => 200 a HIT a
    GET / | X-Session: two     => 200 b UNKNOWN -
    GET /                      => 200 a NONE -
    GET /own | X-Session: one  => 200 - -
--- logged
/?new=one [NEW] [a]
/ [HIT] [a]
/ [UNKNOWN] []
/ [NONE] []
/own [-] []



=== TEST 2: they are empty where an upstream without sessions answers
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream plain { server $TEST_NGINX_B; }
--- config
    location / { proxy_pass http://u; }
    location /200 { proxy_pass http://plain; }
    location /201 { proxy_pass http://$TEST_NGINX_C; }
--- story
    GET /?new=one             => 200 a NEW a
    GET /200 | X-Session: one => 200 b - -
    GET /201 | X-Session: one => 201 c - -



=== TEST 3: asked before the upstream is chosen, they are empty, and are asked again later
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    set $early "[$upstream_sticky_status$upstream_sticky_server]";
    location / {
        proxy_pass http://u;
        add_header X-Early $early;
        add_header X-Late "$upstream_sticky_status";
    }
--- request
GET /?new=one
--- response_headers
X-Early: []
X-Late: NEW



=== TEST 4: in a map
--- http_config
    map $upstream_sticky_status $followed {
        default no;
        HIT     yes;
        NEW     learned;
    }
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        add_header X-Followed $followed;
    }
--- request eval
["GET /?new=one", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", ""]
--- response_headers eval
["X-Followed: learned", "X-Followed: yes", "X-Followed: no"]



=== TEST 5: in a condition of the access log
--- http_config
    map $upstream_sticky_status $strange {
        UNKNOWN 1;
        default 0;
    }
    log_format sticky '$request_uri';
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    access_log logs/sticky.log sticky if=$strange;
    location / { proxy_pass http://u; }
--- story
    GET /?new=one              => 200 a NEW a
    GET /known | X-Session: one   => 200 a HIT a
    GET /strange | X-Session: two => 200 a UNKNOWN -
    GET /none                     => 200 a NONE -
--- logged
/strange



=== TEST 6: after an error_page of nginx's own they tell of the upstream before it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        error_page 500 /own;
    }
    location = /own { return 200 "own\n"; }
--- story
    GET /?new=one             => 200 a NEW a
    GET /500 | X-Session: one => 500 - HIT a
    GET /500 | X-Session: two => 500 - UNKNOWN -



=== TEST 7: of two upstreams with sessions, they tell of the last
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_other;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        error_page 500 = @v;
    }
    location @v {
        rewrite ^ /200 break;
        proxy_pass http://v;
    }
--- story
    GET /?new=one             => 200 a NEW a
    GET /500 | X-Session: one => 200 b NONE -
    GET /500 | X-Other: two   => 200 b UNKNOWN -



=== TEST 8: the server of a session whose id cannot be followed is still told
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=balance;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /200 { proxy_pass http://without_a; }
--- story
    GET /?new=one             => 200 a NEW a
    GET /200 | X-Session: one => 200 b UNAVAILABLE a



=== TEST 9: the address of a unix socket
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server unix:$TEST_NGINX_SERVER_ROOT/a.sock;
        server $TEST_NGINX_B;
    }
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/a.sock;
        add_header X-Server s;
        add_header X-Session $arg_new;
        location / { return 200 "s\n"; }
    }
    map $upstream_sticky_server $socket {
        unix:$TEST_NGINX_SERVER_ROOT/a.sock yes;
        default no;
    }
--- config
    location / {
        proxy_pass http://u;
        add_header X-Socket $socket;
    }
--- request eval
["GET /?new=one", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- response_headers eval
["X-Server: s\nX-Socket: yes", "X-Server: s\nX-Socket: yes", "X-Server: s\nX-Socket: yes"]
