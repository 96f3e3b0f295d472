# nginx 1.29.6 and later have `sticky`, `route=` and `drain` themselves: the module does not change them.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan 'no_plan' : plan skip_all => 'nginx has no sticky of its own';
also_with_two_workers;
run_tests();

__DATA__

=== TEST 1: sticky cookie works beside sticky_learn
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky cookie srv_id;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- request eval
["GET /?new=one", "GET /", "GET /", "GET /v/"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", ""]
--- response_headers_like eval
["X-Status: NEW", "X-Status: HIT\nX-Server: a", "X-Status: HIT\nX-Server: a", "Set-Cookie: srv_id=[0-9a-f]{32}\nX-Server: a"]



=== TEST 2: sticky route works beside sticky_learn
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky route $arg_to;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B route=second;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one          => 200 a NEW a
    GET /v/?to=second      => 200 b -
    GET /v/?to=second      => 200 b -
    GET /v/?to=first       => 200 a -
    GET / | X-Session: one => 200 a HIT a



=== TEST 3: sticky learn is nginx's, and has a zone of its own
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=others:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/?new=two          => 200 a -
    GET /v/ | X-Session: two => 200 a -
    GET /v/ | X-Session: two => 200 a -
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: two   => 200 * UNKNOWN -



=== TEST 4: they cannot share a zone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- emerg: the shared memory zone "sessions" is already declared for a different use



=== TEST 5: a server with a route is followed by its address
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B route=second;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET /?new=two          => 200 b NEW b
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: two => 200 b HIT b



=== TEST 6: servers that share a route are still told apart
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A route=both;
        server $TEST_NGINX_B route=both;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET /?new=two          => 200 b NEW b
    GET / | X-Session: two => 200 b HIT b
    GET / | X-Session: two => 200 b HIT b
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
