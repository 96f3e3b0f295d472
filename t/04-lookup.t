# Where lookup= finds the id, and which id leads to a session.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a request header
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one              => 200 a NEW a
    GET / | x-SESSION: one     => 200 a HIT a
    GET / | X-Session:   one   => 200 a HIT a
    GET / | X-Sessions: one    => 200 b NONE -



=== TEST 2: a cookie
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$cookie_sid;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                  => 200 a NEW a
    GET / | Cookie: a=b; sid=one   => 200 a HIT a
    GET / | Cookie: sid=one; a=b   => 200 a HIT a
    GET / | Cookie: other=one      => 200 b NONE -



=== TEST 3: an argument of the query
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$arg_id;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one => 200 a NEW a
    GET /?id=one  => 200 a HIT a
    GET /?id=one  => 200 a HIT a
    GET /?x=one   => 200 b NONE -



=== TEST 4: a part of the path
--- http_config
    map $uri $session {
        ~^/sessions/(?<id>[^/]+) $id;
    }
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET /sessions/one      => 200 a HIT a
    GET /sessions/one/file => 200 a HIT a
    GET /one               => 200 b NONE -



=== TEST 5: of several lookup, the first that is not empty counts
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session
                     lookup=$http_x_session lookup=$cookie_sid lookup=$arg_id;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                                         => 200 a NEW a
    GET /?new=two                                         => 200 b NEW b
    GET /?id=one                                          => 200 a HIT a
    GET /?id=one | Cookie: sid=two                        => 200 b HIT b
    GET /?id=one | Cookie: sid=two | X-Session: one       => 200 a HIT a
    GET /?id=one | Cookie: sid=two | X-Session: stranger  => 200 * UNKNOWN -
    GET /?id=two | X-Session:                             => 200 b HIT b



=== TEST 6: an empty id is none
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session:   => 200 a NONE -
    GET / | X-Session:   => 200 b NONE -



=== TEST 7: an id holds as a whole, to the last byte
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=abcdef           => 200 a NEW a
    GET / | X-Session: abcde   => 404 - UNKNOWN -
    GET / | X-Session: abcdefg => 404 - UNKNOWN -
    GET / | X-Session: ABCDEF  => 404 - UNKNOWN -
    GET / | X-Session: abcdeg  => 404 - UNKNOWN -
    GET / | X-Session: fedcba  => 404 - UNKNOWN -
    GET / | X-Session: abcdef  => 200 a HIT a



=== TEST 8: many requests of one session stay on its server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
"    GET /?new=one => 200 a NEW a\n" . "    GET / | X-Session: one => 200 a HIT a\n" x 20



=== TEST 9: sessions do not disturb the turns of those who have none (nginx's own sticky, since 1.29.6, takes part in them)
--- skip_nginx: 72: >= 1.29.6
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 b NONE -
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 c NONE -
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 a NONE -
    GET /                  => 200 b NONE -
