# proxy_next_upstream: nothing is learned from the server that failed, a session is learned from the next one.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: the id of the server that answered is learned, the other is not
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /503-a?own=one        => 200 b NEW b
    GET / | X-Session: a-one  => 200 * UNKNOWN -
    GET / | X-Session: b-one  => 200 b HIT b
    GET / | X-Session: b-one  => 200 b HIT b



=== TEST 2: an id that both of them name belongs to the one that answered
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /503-a?new=one     => 200 b NEW b
    GET / | X-Session: one => 200 b HIT b
    GET / | X-Session: one => 200 b HIT b



=== TEST 3: when all of them fail, the last answer is passed on, and teaches
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B max_fails=0;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /503?own=one         => 503 b NEW b
    GET / | X-Session: b-one => 200 b HIT b
    GET / | X-Session: a-one => 200 * UNKNOWN -



=== TEST 4: a server that refuses the connection is left without a trace
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one          => 200 b NEW b
    GET / | X-Session: one => 200 b HIT b



=== TEST 5: a session's server that says 503 is left for this request, and keeps its session: rebind
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=rebind;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503 http_404;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one               => 200 a NEW a
    GET /503-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 6: a session's server that says 503 is left for this request, and keeps its session: balance
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=balance;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one               => 200 a NEW a
    GET /503-a | X-Session: one => 200 b UNAVAILABLE a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 7: a session's server that says 503 has answered, as the last one would: reject
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one               => 200 a NEW a
    GET /503-a | X-Session: one => 503 a HIT a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 8: a 503 that does not lead to the next server is the answer, and keeps the session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one               => 200 a NEW a
    GET /503-a | X-Session: one => 503 a HIT a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 9: a 404 of the next server does not take the session over
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A max_fails=0;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        add_header X-Server d always;
        return 404 "d\n";
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream error timeout http_503;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one               => 200 a NEW a
    GET /503-a | X-Session: one => 404 d UNAVAILABLE a
    GET / | X-Session: one      => 200 a HIT a



=== TEST 10: a request that may not be repeated gets the error of its own server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                 => 200 a NEW a
    POST /drop-a | X-Session: one => 502 - * a
    GET / | X-Session: one        => 200 a HIT a



=== TEST 11: proxy_next_upstream_tries holds for a session, too
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=balance;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_next_upstream_tries 1;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 502 - * a
    GET / | X-Session: one       => 200 a HIT a



=== TEST 12: a server too slow to answer is left for the next
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_read_timeout 1s;
    }
--- tcp_listen: $TEST_NGINX_RAND_PORT_4
--- tcp_reply_delay: 2
--- tcp_reply eval
"HTTP/1.1 200 OK\r\nX-Session: late\r\n\r\n"
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one           => 200 b NEW b
    GET / | X-Session: one  => 200 b HIT b
    GET / | X-Session: late => 200 b UNKNOWN -
