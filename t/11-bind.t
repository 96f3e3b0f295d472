# bind=: an id is known only with the value that it was learned with.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: the same id from somebody else is unknown
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-User: ann          => 200 a NEW a
    GET / | X-Session: one | X-User: ann => 200 a HIT a
    GET / | X-Session: one | X-User: bob => 200 b UNKNOWN -
    GET / | X-Session: one               => 200 a UNKNOWN -
    GET / | X-Session: one | X-User: ann => 200 a HIT a



=== TEST 2: and may be rejected
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user unknown=reject create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-User: ann          => 200 a NEW a
    GET / | X-Session: one | X-User: bob => 404 - UNKNOWN -
    GET / | X-Session: one | X-User: an  => 404 - UNKNOWN -
    GET / | X-Session: one | X-User: ANN => 404 - UNKNOWN -
    GET / | X-Session: one               => 404 - UNKNOWN -
    GET / | X-Session: one | X-User: ann => 200 a HIT a



=== TEST 3: two who have the same id have two sessions
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-User: ann          => 200 a NEW a
    GET /?new=one | X-User: bob          => 200 b NEW b
    GET / | X-Session: one | X-User: ann => 200 a HIT a
    GET / | X-Session: one | X-User: bob => 200 b HIT b
    GET / | X-Session: one | X-User: ann => 200 a HIT a



=== TEST 4: an empty value is a value
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                        => 200 a NEW a
    GET / | X-Session: one               => 200 a HIT a
    GET / | X-Session: one               => 200 a HIT a
    GET / | X-Session: one | X-User: ann => 200 b UNKNOWN -



=== TEST 5: id and value are not run together
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user unknown=reject create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-User: two          => 200 a NEW a
    GET / | X-Session: on | X-User: etwo => 404 - UNKNOWN -
    GET / | X-Session: onetwo            => 404 - UNKNOWN -
    GET / | X-Session: onet | X-User: wo => 404 - UNKNOWN -
    GET / | X-Session: two | X-User: one => 404 - UNKNOWN -



=== TEST 6: a value of several parts
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user@$http_x_tenant create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-User: ann | X-Tenant: x          => 200 a NEW a
    GET / | X-Session: one | X-User: ann | X-Tenant: x => 200 a HIT a
    GET / | X-Session: one | X-User: ann | X-Tenant: x => 200 a HIT a
    GET / | X-Session: one | X-User: ann | X-Tenant: y => 200 b UNKNOWN -



=== TEST 7: the value is that of the request, also when a session is learned before its response ends
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one | X-User: ann');
--- story
    GET / | X-Session: one | X-User: bob => 200 b UNKNOWN -
    GET / | X-Session: one | X-User: ann => 200 a HIT a



=== TEST 8: a bound session moves with its value
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user unavailable=rebind create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::answer_once('X-Session: one');
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | X-User: ann                  => 200 dead NEW dead
    GET / | X-Session: one | X-User: ann => 200 b REBOUND b
    GET / | X-Session: one | X-User: ann => 200 b HIT b
    GET / | X-Session: one | X-User: bob => 200 * UNKNOWN -
