# Details of `sticky learn`. From 1.29.6 on, nginx's own passes the same tests.

use lib 't/lib';
use Sticky;

also_with_two_workers;
told_by_nginx;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: several create and lookup, the first that is not empty counts
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session create=$upstream_cookie_sid
               lookup=$http_x_session lookup=$arg_sid zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /?cookie=sid=one              => 200 a *
    GET /?new=two&cookie=sid=three    => 200 b *
    GET /?sid=one                     => 200 a HIT a
    GET /?sid=one                     => 200 a HIT a
    GET /?sid=two                     => 200 b HIT b
    GET /?sid=one | X-Session: two    => 200 b HIT b
    GET /?sid=two | X-Session: one    => 200 a HIT a
    GET /?sid=two | X-Session: one    => 200 a HIT a



=== TEST 2: names of cookies are caseless, values are exact
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one            => 200 a *
    GET / | Cookie: sid=one         => 200 a HIT a
    GET / | Cookie: SID=one         => 200 a HIT a
    GET / | Cookie: sId=one         => 200 a HIT a
    GET /?cookie=SID=two            => 200 S *
    GET / | Cookie: sid=two         => 200 S HIT *
    GET / | Cookie: SID=two         => 200 S HIT *
    GET / | Cookie: Sid=two         => 200 S HIT *



=== TEST 3: no two values are alike
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one            => 200 a *
    GET /?cookie=sid=ONE            => 200 b *
    GET / | Cookie: sid=ONE         => 200 b HIT b
    GET / | Cookie: sid=one         => 200 a HIT a
    GET / | Cookie: sid=one         => 200 a HIT a
    GET / | Cookie: sid=ONE         => 200 b HIT b



=== TEST 4: an attempt that failed teaches nothing, the answer at the end does
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B max_fails=0;
    }
--- config
    proxy_next_upstream http_503 http_404 error;
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /503-a?own=1       => 200 b *
    GET / | X-Session: b-1 => 200 b HIT b
    GET / | X-Session: b-1 => 200 b HIT b
    GET / | X-Session: a-1 => 200 * UNKNOWN -
    GET /404-a?new=2       => 200 b *
    GET / | X-Session: 2   => 200 b HIT b
    GET / | X-Session: 2   => 200 b HIT b



=== TEST 5: a session follows the server that finally answered
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B max_fails=0;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a *
    GET / | X-Session: one       => 200 a HIT a
    GET /drop-a | X-Session: one => 200 b *
    GET / | X-Session: one       => 200 b HIT b
    GET / | X-Session: one       => 200 b HIT b
    GET /drop-b | X-Session: one => 200 a *
    GET / | X-Session: one       => 200 a HIT a



=== TEST 6: an answer refreshes the session that it names, and leaves the other to age
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=2s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C down;
    }
--- story
    GET /?new=one                             => 200 a *
    GET / | X-Session: one                    => 200 a HIT a
    after 1.1 GET /?new=two | X-Session: one  => 200 a * *
    after 1.1 GET / | X-Session: two          => 200 a HIT a
    GET / | X-Session: one                    => 200 * UNKNOWN -



=== TEST 7: one that names none refreshes the session that was looked up, if it is there
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=2s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /                            => 200 a *
    GET /?new=one                    => 200 b *
    after 0.9 GET / | X-Session: one => 200 b HIT b
    after 0.9 GET / | X-Session: one => 200 b HIT b
    after 0.9 GET / | X-Session: one => 200 b HIT b
    GET / | X-Session: two           => 200 * UNKNOWN -
    GET / | X-Session: one           => 200 b HIT b



=== TEST 8: with header, as soon as the answer's headers are there
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 9: without it, when the answer has ended
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one         => 200 b UNKNOWN -
    after 3 GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one         => 200 a HIT a
