# One zone, several upstreams: each uses the sessions that the others have learned.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an upstream joins a zone that was declared before
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/ | X-Session: two => 200 b HIT b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/?new=three        => 200 X NEW
    GET /v/?new=four         => 200 Y NEW
    GET / | X-Session: three => 200 X HIT
    GET / | X-Session: four  => 200 Y HIT
    GET / | X-Session: three => 200 X HIT



=== TEST 2: an upstream joins a zone that is declared behind
--- http_config
    upstream u {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/ | X-Session: two => 200 b HIT b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/?new=three        => 200 X NEW
    GET /v/?new=four         => 200 Y NEW
    GET / | X-Session: three => 200 X HIT
    GET / | X-Session: four  => 200 Y HIT
    GET / | X-Session: three => 200 X HIT



=== TEST 3: both may give its size, if it is the same
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions:1024k create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/ | X-Session: two => 200 b HIT b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/?new=three        => 200 X NEW
    GET /v/?new=four         => 200 Y NEW
    GET / | X-Session: three => 200 X HIT
    GET / | X-Session: four  => 200 Y HIT
    GET / | X-Session: three => 200 X HIT



=== TEST 4: zones of other names know nothing of each other
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 200 a UNKNOWN -
    GET / | X-Session: one   => 200 a HIT a



=== TEST 5: three upstreams with different rules
--- http_config
    upstream u {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid unknown=reject;
        least_conn;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream w {
        sticky_learn zone=sessions create=$upstream_http_mcp_session_id lookup=$arg_id;
        zone servers 64k;
        server $TEST_NGINX_B;
        server $TEST_NGINX_A;
        keepalive 2;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
    location /w/ { proxy_pass http://w/; }
--- story
    GET /?new=one                  => 200 a NEW a
    GET /v/ | Cookie: sid=one      => 200 a HIT a
    GET /w/?id=one                 => 200 a HIT a
    GET /v/ | Cookie: sid=two      => 404 - UNKNOWN -
    GET /w/?id=two                 => 200 b UNKNOWN -
    GET /w/?id=one                 => 200 a HIT a



=== TEST 6: a session is bound to an address: the order of the servers is of no matter
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_C;
        server $TEST_NGINX_B;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/ | X-Session: two => 200 b HIT b
    GET /v/?new=three        => 200 c NEW c
    GET / | X-Session: three => 200 a REBOUND a
    GET / | X-Session: three => 200 a HIT a



=== TEST 7: an upstream with bind sees none of those without
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                          => 200 a NEW a
    GET /v/ | X-Session: one | X-User: ann => 200 a UNKNOWN -
    GET / | X-Session: one                 => 200 a HIT a
    GET /v/?new=two | X-User: ann          => 200 b NEW b
    GET / | X-Session: two                 => 200 b UNKNOWN -
    GET /v/ | X-Session: two | X-User: ann => 200 b HIT b



=== TEST 8: two zones, two upstreams, one request after the other
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:64k create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/?new=one          => 200 a NEW a
    GET /v/?new=two          => 200 b NEW b
    GET /?new=two            => 200 b NEW b
    GET / | X-Session: one   => 200 a HIT a
    GET /v/ | X-Session: two => 200 b HIT b



=== TEST 9: a session that one upstream rejects as gone is gone for the other
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 404 - GONE a
    GET / | X-Session: one   => 200 b UNKNOWN -
