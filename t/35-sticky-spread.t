# Bound requests do not change how round robin distributes the others.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
also_with_two_workers;
run_tests();

__DATA__

=== TEST 1: round robin without sticky
--- http_config
    upstream u {
        zone servers 64k;
        server $TEST_NGINX_A weight=3;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET / => 200 a - -
    GET / => 200 b - -
    GET / => 200 a - -
    GET / => 200 c - -
    GET / => 200 a - -
    GET / => 200 a - -
    GET / => 200 b - -



=== TEST 2: the same with a cookie
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A weight=3 route=a;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
    }
--- story
    GET / => 200 a NEW a
    GET / => 200 b NEW b
    GET / => 200 a NEW a
    GET / => 200 c NEW c
    GET / => 200 a NEW a
    GET / => 200 a NEW a
    GET / => 200 b NEW b



=== TEST 3: the same with bound requests in between
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A weight=3 route=a;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
    }
--- story
    GET /                 => 200 a NEW a
    GET / | Cookie: srv=c => 200 c HIT c
    GET / | Cookie: srv=c => 200 c HIT c
    GET /                 => 200 b NEW b
    GET / | Cookie: srv=b => 200 b HIT b
    GET /                 => 200 a NEW a
    GET / | Cookie: srv=b => 200 b HIT b
    GET / | Cookie: srv=b => 200 b HIT b
    GET /                 => 200 c NEW c
    GET / | Cookie: srv=a => 200 a HIT a
    GET /                 => 200 a NEW a
    GET / | Cookie: srv=a => 200 a HIT a
    GET /                 => 200 a NEW a
    GET /                 => 200 b NEW b



=== TEST 4: the same with routes, and with bound requests that fail over
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A weight=3 route=a;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
        server $TEST_NGINX_DEAD route=dead drain;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /         => 200 a NONE -
    GET /?to=c    => 200 c HIT c
    GET /         => 200 b NONE -
    GET /?to=dead => 200 a UNAVAILABLE -
    GET /?to=c    => 200 c HIT c
    GET /         => 200 c NONE -
    GET /?to=none => 200 a UNKNOWN -
    GET /         => 200 a NONE -
    GET /         => 200 b NONE -



=== TEST 5: an answer of sticky learn
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A weight=3;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /                  => 200 a NONE -
    GET /?new=one          => 200 b NEW b
    GET / | X-Session: one => 200 b HIT b
    GET / | X-Session: one => 200 b HIT b
    GET /                  => 200 a NONE -
    GET / | X-Session: one => 200 b HIT b
    GET /                  => 200 c NONE -
    GET /                  => 200 a NONE -
    GET /                  => 200 a NONE -
    GET /                  => 200 b NONE -
