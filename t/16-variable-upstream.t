# An upstream whose name is in a variable.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: its sessions are learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        set $backend u;
        proxy_pass http://$backend;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: two => 200 b UNKNOWN -



=== TEST 2: the request chooses among upstreams with and without sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_C;
    }
    upstream plain { server $TEST_NGINX_B; }
--- config
    location / {
        proxy_pass http://$http_x_upstream$uri?$args;
    }
--- story
    GET /?new=one | X-Upstream: u              => 200 a NEW a
    GET / | X-Session: one | X-Upstream: u     => 200 a HIT a
    GET / | X-Session: one | X-Upstream: v     => 404 - UNKNOWN -
    GET / | X-Session: one | X-Upstream: plain => 200 b - -
    GET /?new=one | X-Upstream: v              => 200 c NEW c
    GET / | X-Session: one | X-Upstream: v     => 200 c HIT c
    GET / | X-Session: one | X-Upstream: u     => 200 a HIT a



=== TEST 3: rejected requests, too
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unknown=reject unavailable=reject;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        set $backend u;
        proxy_pass http://$backend;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | X-Session: two => 404 - UNKNOWN -
    GET /                  => 200 dead NEW dead
    GET / | X-Session: one => 503 - UNAVAILABLE dead
    GET / | X-Session: one => 503 - UNAVAILABLE dead



=== TEST 4: an address in the variable has no sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        set $backend $TEST_NGINX_A;
        proxy_pass http://$backend;
    }
    location /u/ { proxy_pass http://u/; }
--- story
    GET /?new=one            => 200 a - -
    GET /u/ | X-Session: one => 200 a UNKNOWN -
