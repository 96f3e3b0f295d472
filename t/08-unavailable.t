# unavailable=: the server of a session is down, has failed, or is full.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: balance: the request goes elsewhere, the session stays
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one             => 200 a NEW a
    GET /v/ | X-Session: one  => 200 b UNAVAILABLE a
    GET /v/ | X-Session: one  => 200 b UNAVAILABLE a
    GET / | X-Session: one    => 200 a HIT a



=== TEST 2: rebind: the session moves to the server that answers 2xx
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 200 b REBOUND b
    GET /v/ | X-Session: one => 200 b HIT b
    GET /v/ | X-Session: one => 200 b HIT b



=== TEST 3: rebind: an answer that is no success moves nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one               => 200 a NEW a
    GET /v/404 | X-Session: one => 404 b UNAVAILABLE a
    GET /v/500 | X-Session: one => 500 b UNAVAILABLE a
    GET /v/403 | X-Session: one => 403 b UNAVAILABLE a
    GET / | X-Session: one      => 200 a HIT a
    GET /v/204 | X-Session: one => 204 b REBOUND b
    GET /v/404 | X-Session: one => 404 b HIT b



=== TEST 4: rebind: an answer that names the session moves it as well, but no other status does
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                       => 200 a NEW a
    GET /v/404?new=one | X-Session: one => 404 b UNAVAILABLE a
    GET / | X-Session: one              => 200 a HIT a
    GET /v/?new=one | X-Session: one    => 200 b REBOUND b
    GET /v/ | X-Session: one            => 200 b HIT b



=== TEST 5: rebind: a server that answers with a session of its own keeps that one
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                    => 200 a NEW a
    GET /v/?new=two | X-Session: one => 200 b NEW b
    GET /v/ | X-Session: two         => 200 b HIT b



=== TEST 6: reject: 503, and no server sees the request
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
--- no_error_log
[error]
[crit]
[alert]
[emerg]
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    GET /v/                  => 200 b NONE -
    GET /v/ | X-Session: two => 200 b UNKNOWN -
    GET / | X-Session: one   => 200 a HIT a



=== TEST 7: reject: the client is told when to come back
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A down fail_timeout=7;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- request eval
["GET /?new=one", "GET /v/", "HEAD /v/", "POST /v/\nbody"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", "X-Session: one"]
--- error_code eval
[200, 503, 503, 503]
--- response_headers_like eval
["X-Status: NEW", ("Retry-After: [1-7]\nX-Status: UNAVAILABLE\nContent-Type: text/html") x 3]
--- response_body_like eval
["^a\$", "503 Service Temporarily Unavailable", "^\$", "503 Service Temporarily Unavailable"]



=== TEST 8: reject: the header is nginx's to pass on, also through error_page
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
    location /v/ {
        proxy_pass http://v/;
        error_page 503 /busy.json;
    }
    location = /busy.json {
        internal;
        default_type application/json;
        return 503 '{"error":"busy"}';
    }
--- request eval
["GET /?new=one", "GET /v/"]
--- more_headers eval
["", "X-Session: one"]
--- error_code eval
[200, 503]
--- response_headers_like eval
["X-Status: NEW", "Retry-After: [1-9]\\d*\nX-Status: UNAVAILABLE\nContent-Type: application/json"]
--- response_body eval
["a\n", '{"error":"busy"}']



=== TEST 9: reject: the next request of the connection is answered
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
--- pipelined_requests eval
["GET /?new=one", "POST /v/\n" . "x" x 20000, "GET /", "GET /v/"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", "X-Session: one"]
--- error_code eval
[200, 503, 200, 503]
--- response_headers eval
["X-Status: NEW", "X-Status: UNAVAILABLE\nConnection: keep-alive", "X-Status: HIT", "X-Status: UNAVAILABLE"]



=== TEST 10: balance: a server that refuses connections costs the request nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- story
    GET /                  => 200 dead NEW dead
    GET / | X-Session: one => 200 b UNAVAILABLE dead
    GET / | X-Session: one => 200 b UNAVAILABLE dead
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 11: rebind: a server that refuses connections loses its sessions, request by request
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- story
    GET /                    => 200 dead NEW dead
    GET / | X-Session: one   => 200 * REBOUND *
    GET / | X-Session: one   => 200 * HIT *
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 12: reject: a server that refuses connections means 503, not 502, and not another server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- request eval
["GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", ""]
--- error_code eval
[200, 503, 503, 200]
--- response_headers_like eval
["X-Server: dead\nX-Status: NEW", "Retry-After: [1-9]\\d*\nX-Status: UNAVAILABLE\nX-Bound: dead",
 "Retry-After: [1-9]\\d*\nX-Status: UNAVAILABLE\nX-Bound: dead", "X-Server: b\nX-Status: NONE"]
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 13: reject: the same with a single server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_DEAD;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- request eval
["GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- error_code eval
[200, 503, 503]
--- response_headers_like eval
["X-Server: dead\nX-Status: NEW", ("Retry-After: [1-9]\\d*\nX-Status: UNAVAILABLE\nX-Bound: dead") x 2]
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 14: reject: the same with zone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        zone servers 64k;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- story
    GET /                  => 200 dead NEW dead
    GET / | X-Session: one => 503 - UNAVAILABLE dead
    GET / | X-Session: one => 503 - UNAVAILABLE dead
    GET /                  => 200 b NONE -
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 15: reject: a session's server that breaks off is not replaced by another, and keeps its sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 502 - HIT a
    GET / | X-Session: one       => 200 a HIT a
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 16: rebind: a session's server that breaks off is replaced for this request, and keeps its session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 17: balance: a session's server that breaks off is replaced for this request
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 18: max_fails: what round robin counts takes no session away: reject
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A max_fails=1 fail_timeout=2s;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 502 - HIT a
    GET / | X-Session: one       => 200 a HIT a
    GET /                        => 200 b NONE -
    GET /                        => 200 b NONE -
    GET / | X-Session: one       => 200 a HIT a
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 19: max_fails: what round robin counts takes no session away: balance, with zone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        zone servers 64k;
        server $TEST_NGINX_A max_fails=1 fail_timeout=2s;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a
    GET /                        => 200 b NONE -
    GET /                        => 200 b NONE -
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 20: max_fails: failures of a session's requests count for new ones, as any do
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_A max_fails=2 fail_timeout=1m;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a
    GET /drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a
    GET /                        => 200 b NONE -
    GET /                        => 200 b NONE -
--- no_error_log
no live upstreams
[crit]
[alert]
[emerg]



=== TEST 21: max_conns: a full server is unavailable: balance
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_A max_conns=1;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one           => 200 b UNAVAILABLE a
    GET / | X-Session: one           => 200 b UNAVAILABLE a
    after 3.5 GET / | X-Session: one => 200 a HIT a



=== TEST 22: max_conns: a full server is unavailable: rebind, and its sessions stay
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=rebind;
        server $TEST_NGINX_A max_conns=1;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one           => 200 b UNAVAILABLE a
    GET / | X-Session: one           => 200 b UNAVAILABLE a
    after 3.5 GET / | X-Session: one => 200 a HIT a



=== TEST 23: max_conns: a full server is unavailable: reject, and however long, it is not gone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=1s;
        server $TEST_NGINX_A max_conns=1;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one&rate=500');
--- story
    GET / | X-Session: one           => 503 - UNAVAILABLE a
    after 1.3 GET / | X-Session: one => 503 - UNAVAILABLE a
    after 5 GET / | X-Session: one   => 200 a HIT a



=== TEST 24: max_conns: with zone as well
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        zone servers 64k;
        server $TEST_NGINX_A max_conns=1;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one => 503 - UNAVAILABLE a
    GET /                  => 200 b NONE -



=== TEST 25: max_conns: what a session's requests take, they give back
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A max_conns=1;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one             => 200 a NEW a
    GET / | X-Session: one    => 200 a HIT a
    GET /404 | X-Session: one => 404 a HIT a
    HEAD / | X-Session: one   => 200 a HIT a
    GET / | X-Session: one    => 200 a HIT a



=== TEST 26: all servers down: a session of one of them is answered as its policy says
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=balance;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B down;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 502 - UNAVAILABLE a
    GET / | X-Session: one   => 200 a HIT a
--- no_error_log
[crit]
[alert]
[emerg]



=== TEST 27: several sessions: only those of the missing server are touched
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions
                     create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    GET /v/ | X-Session: two => 200 b HIT b
    GET /v/ | X-Session: one => 503 - UNAVAILABLE a
    GET /v/ | X-Session: two => 200 b HIT b
