# keepalive: connections are kept for each server, and a session gets one of its own server.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a session reuses the connection that made it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        keepalive 4;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET /                  => 200 b NONE - fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET /                  => 200 * NONE - reused



=== TEST 2: the same with keepalive written first
--- http_config
    upstream u {
        keepalive 4;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET /                  => 200 b NONE - fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET /                  => 200 * NONE - reused



=== TEST 3: and with the servers between them
--- http_config
    upstream u {
        keepalive 4;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET /                  => 200 b NONE - fresh
    GET / | X-Session: one => 200 a HIT a reused



=== TEST 4: a kept connection to another server is not mistaken for the session's
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        keepalive 1;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET /?new=two          => 200 b NEW b fresh
    GET / | X-Session: one => 200 a HIT a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET / | X-Session: two => 200 b HIT b fresh



=== TEST 5: keepalive_requests and keepalive_timeout of the upstream hold
--- http_config
    upstream u {
        keepalive 4;
        keepalive_requests 2;
        keepalive_timeout 1m;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET / | X-Session: one => 200 a HIT a fresh
    GET / | X-Session: one => 200 a HIT a reused
    GET / | X-Session: one => 200 a HIT a fresh



=== TEST 6: responses of every kind leave the connection usable
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one              => 200 a NEW a fresh
    HEAD / | X-Session: one    => 200 a HIT a reused
    GET /204 | X-Session: one  => 204 a HIT a reused
    GET /404 | X-Session: one  => 404 a HIT a reused
    GET /503 | X-Session: one  => 503 a HIT a reused
    POST /201 | X-Session: one => 201 a HIT a reused
    GET /slow | X-Session: one => 200 a HIT a reused
    GET / | X-Session: one     => 200 a HIT a reused



=== TEST 7: a server that closes kept connections is no server that has failed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        keepalive_requests 2;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        location / { return 200 "d\n"; }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET / | X-Session: one => 200 d HIT * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET / | X-Session: one => 200 d HIT * fresh



=== TEST 8: a kept connection that its server has closed costs the session nothing: two servers
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        location / {
            # As if it had been closed a moment before.
            if ($connection_reused = reused) { return 444; }
            return 200 "d\n";
        }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * fresh
    GET / | X-Session: one => 200 d HIT * fresh



=== TEST 9: a kept connection that its server has closed costs the session nothing: with zone
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        location / {
            # As if it had been closed a moment before.
            if ($connection_reused = reused) { return 444; }
            return 200 "d\n";
        }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * fresh
    GET / | X-Session: one => 200 d HIT * fresh



=== TEST 10: a kept connection that its server has closed costs the session nothing: a single server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        location / {
            # As if it had been closed a moment before.
            if ($connection_reused = reused) { return 444; }
            return 200 "d\n";
        }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * fresh
    GET / | X-Session: one => 200 d HIT * fresh



=== TEST 11: a session whose server breaks off gets a new connection
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A max_fails=1 fail_timeout=1m;
        server $TEST_NGINX_B;
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a NEW a fresh
    GET / | X-Session: one       => 200 a HIT a reused
    POST /200 | X-Session: one   => 200 a HIT a reused
    GET /drop-a | X-Session: one => 502 - HIT a
    GET / | X-Session: one       => 200 a HIT a fresh



=== TEST 12: upstreams without sessions keep theirs beside it
--- http_config
    upstream u {
        keepalive 4;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream plain {
        server $TEST_NGINX_B;
        keepalive 4;
    }
    upstream none { server $TEST_NGINX_C; }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /plain/ { proxy_pass http://plain/; }
--- story
    GET /plain/   => 200 b - - fresh
    GET /?new=one => 200 a NEW a fresh
    GET /plain/   => 200 b - - reused
    GET /         => 200 a NONE - reused



=== TEST 13: wrong values are nginx's to refuse: none
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        keepalive;
    }
--- emerg: invalid number of arguments in "keepalive" directive



=== TEST 14: wrong values are nginx's to refuse: no number
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        keepalive some;
    }
--- emerg: invalid value "some" in "keepalive" directive



=== TEST 15: wrong values are nginx's to refuse: twice
--- http_config
    upstream u {
        keepalive 2;
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        keepalive 2;
    }
--- emerg: "keepalive" directive is duplicate



=== TEST 16: outside of an upstream there is no keepalive
--- http_config
    keepalive 2;
--- emerg: "keepalive" directive is not allowed here
