# A server that is gone: removed from the upstream, or unavailable for gone_after.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a server that is no longer in the upstream is gone at once: reject says 404 and forgets the session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET / | X-Session: one   => 200 a HIT a
    GET /v/ | X-Session: one => 404 - GONE a
    GET / | X-Session: one   => 200 a UNKNOWN -
    GET /v/ | X-Session: one => 200 b UNKNOWN -



=== TEST 2: gone, balance: the session stays, for those who have its server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 200 b GONE a
    GET /v/ | X-Session: one => 200 c GONE a
    GET / | X-Session: one   => 200 a HIT a



=== TEST 3: gone, rebind: the session moves
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one               => 200 a NEW a
    GET /v/404 | X-Session: one => 404 b GONE a
    GET /v/ | X-Session: one    => 200 c REBOUND c
    GET /v/ | X-Session: one    => 200 c HIT c



=== TEST 4: a server that is down for gone_after is gone: 503 becomes 404, and the session is forgotten
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=2s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                      => 200 a NEW a
    GET /v/ | X-Session: one           => 503 - UNAVAILABLE a
    after 0.8 GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    after 1.5 GET /v/ | X-Session: one => 404 - GONE a
    GET /v/ | X-Session: one           => 200 b UNKNOWN -
    GET / | X-Session: one             => 200 a UNKNOWN -



=== TEST 5: a server that is down for gone_after is gone for all of its sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=1s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                      => 200 a NEW a
    GET /?new=two                      => 200 a NEW a
    GET /v/ | X-Session: one           => 503 - UNAVAILABLE a
    after 1.2 GET /v/ | X-Session: two => 404 - GONE a
    GET /v/ | X-Session: one           => 404 - GONE a



=== TEST 6: a server that is down is gone, though it answers the requests of another upstream
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=1s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                      => 200 a NEW a
    GET /v/ | X-Session: one           => 503 - UNAVAILABLE a
    after 0.7 GET / | X-Session: one   => 200 a HIT a
    after 0.7 GET /v/ | X-Session: one => 404 - GONE a
    GET / | X-Session: one             => 200 a UNKNOWN -



=== TEST 7: without gone_after a server may be down for long (30 seconds)
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                      => 200 a NEW a
    GET /v/ | X-Session: one           => 503 - UNAVAILABLE a
    after 1.5 GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    GET / | X-Session: one             => 200 a HIT a



=== TEST 8: a server that refuses connections for gone_after is gone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=1s;
        server $TEST_NGINX_DEAD max_fails=0;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- story
    GET /                            => 200 dead NEW dead
    GET / | X-Session: one           => 503 - UNAVAILABLE dead
    after 1.2 GET / | X-Session: one => 404 - GONE dead
    GET / | X-Session: one           => 200 b UNKNOWN -
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 9: gone, balance and rebind: the status tells it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance gone_after=1s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                      => 200 a NEW a
    GET /v/ | X-Session: one           => 200 b UNAVAILABLE a
    after 1.2 GET /v/ | X-Session: one => 200 b GONE a
    GET / | X-Session: one             => 200 a HIT a



=== TEST 10: gone and unknown=reject together: first the session is gone, then it is unknown, both 404
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject unknown=reject;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 404 - GONE a
    GET /v/ | X-Session: one => 404 - UNKNOWN -



=== TEST 11: a session that is gone may be learned anew
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 404 - GONE a
    GET /v/?new=one          => 200 b NEW b
    GET /v/ | X-Session: one => 200 b HIT b



=== TEST 12: a request that is rejected as gone has no Retry-After
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- request eval
["GET /?new=one", "GET /v/"]
--- more_headers eval
["", "X-Session: one"]
--- error_code eval
[200, 404]
--- response_headers eval
["X-Status: NEW", "X-Status: GONE\n! Retry-After"]



=== TEST 13: the same in MCP mode
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions gone_after=1s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /v { proxy_pass http://v/; }
--- story
    POST /?mcp=one                          => 200 a NEW a
    GET /v | Mcp-Session-Id: one            => 503 - UNAVAILABLE a
    GET /                                   => 200 a NONE -
    after 1.5 GET /v | Mcp-Session-Id: one  => 404 - GONE a
    GET /v | Mcp-Session-Id: one            => 404 - UNKNOWN -
