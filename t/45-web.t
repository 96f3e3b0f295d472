# Sessions of web applications: cookies, backup servers, redirects.

use lib 't/lib';
use Sticky;

also_with_two_workers;
plan 'no_plan';

our $home = '
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
';

our $places = '
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
';

run_tests();

__DATA__

=== TEST 1: backup: one stands in, and the session keeps its home
--- http_config eval
$::home . '
    upstream v {
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid gone_after=1s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B down;
        server $TEST_NGINX_C backup;
    }
'
--- config eval: $::places
--- story
    GET /?cookie=sid=one                       => 200 a NEW a
    GET /v/ | Cookie: sid=one                  => 200 c UNAVAILABLE a
    GET /v/?cookie=sid=one | Cookie: sid=one   => 200 c UNAVAILABLE a
    GET / | Cookie: sid=one                    => 200 a HIT a
    after 2 GET /v/ | Cookie: sid=one          => 200 c GONE a
    GET /v/ | Cookie: sid=one                  => 200 c GONE a
    GET / | Cookie: sid=one                    => 200 a HIT a



=== TEST 2: backup: a session that begins at one is bound to it, also that of a client who had another
--- http_config eval
$::home . '
    upstream v {
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B down;
        server $TEST_NGINX_C backup;
    }
    upstream w {
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C backup;
    }
'
--- config
    location / { proxy_pass http://w; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /v/?cookie=sid=one                     => 200 c NEW c
    GET / | Cookie: sid=one                    => 200 c HIT c
    GET /?cookie=sid=two                       => 200 a NEW a
    GET /v/?cookie=sid=three | Cookie: sid=two => 200 c NEW c
    GET / | Cookie: sid=three                  => 200 c HIT c
    GET / | Cookie: sid=two                    => 200 a HIT a



=== TEST 3: backup: the same one for the same session
--- http_config eval
$::home . '
    upstream v {
        zone v 64k;
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B down;
        server $TEST_NGINX_X backup;
        server $TEST_NGINX_Y backup;
        server $TEST_NGINX_C backup;
    }
'
--- config eval: $::places
--- story
    GET /?cookie=sid=one      => 200 a NEW a
    GET /?cookie=sid=two      => 200 b NEW b
    GET /?cookie=sid=three    => 200 a NEW a
    GET /v/ | Cookie: sid=one   => 200 P UNAVAILABLE a
    GET /v/ | Cookie: sid=two   => 200 Q UNAVAILABLE b
    GET /v/ | Cookie: sid=three => 200 R UNAVAILABLE a
    GET /v/ | Cookie: sid=one   => 200 P UNAVAILABLE a
    GET /v/ | Cookie: sid=one   => 200 P UNAVAILABLE a
    GET /v/ | Cookie: sid=two   => 200 Q UNAVAILABLE b
    GET /v/ | Cookie: sid=three => 200 R UNAVAILABLE a
    GET /v/                     => 200 * NONE -
    GET /v/ | Cookie: sid=three => 200 R UNAVAILABLE a
    GET /v/ | Cookie: sid=two   => 200 Q UNAVAILABLE b
    GET / | Cookie: sid=one     => 200 a HIT a



=== TEST 4: backup: after the home has refused, in the same request and from then on
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_C backup;
    }
--- init
    Sticky::answer_once('Set-Cookie: sid=one');
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /                   => 200 dead NEW dead
    GET / | Cookie: sid=one => 200 c UNAVAILABLE dead
    GET / | Cookie: sid=one => 200 c UNAVAILABLE dead
    GET / | Cookie: sid=one => 200 c UNAVAILABLE dead



=== TEST 5: rebind: to whatever answers below 400
--- http_config eval
$::home . '
    upstream v {
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
'
--- config eval: $::places
--- story
    GET /?cookie=sid=one            => 200 a NEW a
    GET /v/404 | Cookie: sid=one    => 404 P UNAVAILABLE a
    GET /v/403 | Cookie: sid=one    => 403 * UNAVAILABLE a
    GET /v/304 | Cookie: sid=one    => 304 * REBOUND *
    GET /v/ | Cookie: sid=one       => 200 Q HIT *
    GET /v/ | Cookie: sid=one       => 200 Q HIT *
    GET /?cookie=sid=x              => 200 * NEW *
    GET /?cookie=sid=two            => 200 a NEW a
    GET /v/301 | Cookie: sid=two    => 301 * REBOUND *
    GET /v/ | Cookie: sid=two       => 200 R HIT *
    GET /v/ | Cookie: sid=two       => 200 R HIT *
    GET /v/404 | Cookie: sid=two    => 404 R HIT *



=== TEST 6: an answer of another server after the home has had the request moves nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- config
    proxy_next_upstream error timeout http_500;
    location / { proxy_pass http://u; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?cookie=sid=one          => 200 a NEW a
    GET /500-a | Cookie: sid=one  => 200 b UNAVAILABLE a
    GET / | Cookie: sid=one       => 200 a HIT a
    GET /drop-a | Cookie: sid=one => 200 b UNAVAILABLE a
    GET / | Cookie: sid=one       => 200 a HIT a



=== TEST 7: cookies of one name in a request: the first that is a session's id, of four, over all lines
--- http_config eval: $::home
--- story
    GET /?cookie=sid=one                                           => 200 a NEW a
    GET /?cookie=sid=two                                           => 200 b NEW b
    GET / | Cookie: sid=stale; sid=one                             => 200 a HIT a
    GET / | Cookie: sid=one; sid=stale                             => 200 a HIT a
    GET / | Cookie: sid=two; sid=one                               => 200 b HIT b
    GET / | Cookie: sid=; sid=two                                  => 200 b HIT b
    GET / | Cookie: x=1; sid=stale; SID=old | Cookie: y=2; sid=one => 200 a HIT a
    GET / | Cookie: sid=1; sid=2; sid=3; sid=one                   => 200 a HIT a
    GET / | Cookie: sid=1; sid=2; sid=3; sid=4; sid=one            => 200 * UNKNOWN -
    GET / | Cookie: xsid=one; sid2=one; sid=stale                  => 200 * UNKNOWN -
    GET / | Cookie: sid=; x=one                                    => 200 * NONE -



=== TEST 8: cookies of one name in a request: none is known
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid lookup=$arg_sid unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one                         => 200 a NEW a
    GET / | Cookie: sid=stale; sid=one           => 200 a HIT a
    GET / | Cookie: sid=stale; sid=old           => 404 - UNKNOWN -
    GET /?sid=one                                => 200 a HIT a
    GET /?sid=one | Cookie: sid=stale; sid=old   => 404 - UNKNOWN -



=== TEST 9: cookies of one name in a request: another value comes before them
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$arg_sid lookup=$cookie_sid;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one                         => 200 a NEW a
    GET / | Cookie: sid=stale; sid=one           => 200 a HIT a
    GET /?sid=stale | Cookie: sid=old; sid=one   => 200 b UNKNOWN -



=== TEST 10: cookies of one name in a request: a map has made the variable something else
--- http_config eval
$::home . '
    map $arg_sid $cookie_sid { default $arg_sid; }
'
--- story
    GET /?cookie=sid=one                         => 200 a NEW a
    GET /?sid=one                                => 200 a HIT a
    GET /?sid=stale | Cookie: sid=old; sid=one   => 200 b UNKNOWN -



=== TEST 11: cookies of one name in an answer: each that is set is learned
--- http_config eval: $::home
--- story
    GET /?cookie=sid=one&cookie2=sid=two         => 200 a NEW a
    GET / | Cookie: sid=one                      => 200 a HIT a
    GET / | Cookie: sid=two                      => 200 a HIT a
    GET /                                        => 200 b NONE -
    GET / | Cookie: sid=one                      => 200 a HIT a
    GET / | Cookie: sid=two                      => 200 a HIT a
    GET /?cookie=sid=one&cookie2=sid=three | Cookie: sid=one => 200 a NEW a
    GET / | Cookie: sid=three                    => 200 a HIT a



=== TEST 12: cookies of one name in an answer: not one that is deleted
--- http_config eval: $::home
--- story
    GET /?cookie=sid=abc;Path=/&cookie2=sid=;Path=/old;Max-Age=0       => 200 a NEW a
    GET /                                                              => 200 b NONE -
    GET / | Cookie: sid=abc                                            => 200 a HIT a
    GET /?cookie=sid=;Max-Age=0&cookie2=sid=def                        => 200 * NEW *
    GET / | Cookie: sid=def                                            => 200 P HIT *
    GET / | Cookie: sid=def                                            => 200 P HIT *
    GET /?cookie=sid=deleted;Max-Age=0                                 => 200 * NONE -
    GET / | Cookie: sid=deleted                                        => 200 * UNKNOWN -
    GET /?cookie=sid=gone;Expires=Thu,01-Jan-1970-00:00:01-GMT         => 200 * NONE -
    GET / | Cookie: sid=gone                                           => 200 * UNKNOWN -
    GET /?cookie=sid=far;Expires=Fri,01-Jan-2100-00:00:00-GMT          => 200 Q NEW *
    GET / | Cookie: sid=far                                            => 200 Q HIT *
    GET / | Cookie: sid=far                                            => 200 Q HIT *



=== TEST 13: X-Accel-Redirect: to a file, to the same upstream, to another one
--- http_config eval
$::home . '
    upstream v {
        sticky_learn zone=sessions create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_C;
    }
'
--- config
    location / { proxy_pass http://u; }
    location = /file { internal; return 200 "file\n"; }
    location = /same { internal; proxy_pass http://u/; }
    location = /other { internal; proxy_pass http://v/; }
    location = /both { internal; proxy_pass http://v/?cookie=sid=four; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?cookie=sid=one&accel=/file   => 200 - NEW a    | sid=one
    GET / | Cookie: sid=one            => 200 a HIT a
    GET /?cookie=sid=two&accel=/other  => 200 c NONE -   | sid=two
    GET / | Cookie: sid=two            => 200 b HIT b
    GET / | Cookie: sid=two            => 200 b HIT b
    GET /?accel=/other | Cookie: sid=two => 200 c GONE b
    GET / | Cookie: sid=two            => 200 b HIT b
    GET /?cookie=sid=three&accel=/same => 200 b NONE -   | sid=three
    GET / | Cookie: sid=three          => 200 a HIT a
    GET / | Cookie: sid=three          => 200 a HIT a
    GET /?cookie=sid=five&accel=/both  => 200 c NEW c    | sid=five + sid=four
    GET / | Cookie: sid=five           => 200 P HIT *
    GET / | Cookie: sid=five           => 200 P HIT *
    GET /v/ | Cookie: sid=four         => 200 c HIT c



=== TEST 14: X-Accel-Redirect: what is not followed teaches as any other, and what is kept from the client nothing
--- http_config eval: $::home
--- config
    location / { proxy_pass http://u; proxy_ignore_headers X-Accel-Redirect; }
    location = /404 {
        proxy_ignore_headers X-Accel-Redirect;
        proxy_intercept_errors on;
        error_page 404 /own;
        proxy_pass http://u;
    }
    location = /own { internal; return 404 "own\n"; }
--- story
    GET /?cookie=sid=one&accel=/file    => 200 a NEW a
    GET /404?cookie=sid=two&accel=/file => 404 - NONE -
    GET / | Cookie: sid=one             => 200 a HIT a
    GET / | Cookie: sid=two             => 200 * UNKNOWN -



=== TEST 15: an id that its client made: the first binding stands
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$http_x_new lookup=$http_x_new;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow | X-New: one', 0.5);
    Sticky::hold('GET /slow | X-New: one', 0.5);
--- story
    GET / | X-New: one         => 200 a HIT a
    after 4 GET / | X-New: one => 200 a HIT a
    GET / | X-New: one         => 200 a HIT a



=== TEST 16: cookies of one name in a request: the second of two names
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid create=$upstream_cookie_io
                     lookup=$cookie_sid lookup=$cookie_io;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=io=one                          => 200 a NEW a
    GET / | Cookie: io=stale; io=one             => 200 a HIT a
    GET / | Cookie: sid=; io=stale; io=one       => 200 a HIT a
    GET / | Cookie: sid=stale; io=one            => 200 b UNKNOWN -
