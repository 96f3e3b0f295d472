# Sessions of web applications with the directives of NGINX Plus, where they are ours.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
also_with_two_workers;

our $two = '
    upstream u {
        zone servers 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
';

our $places = '
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
';

run_tests();

__DATA__

=== TEST 1: a backup that stands in leaves the cookie as it is, and is the same each time
--- http_config
    upstream v {
        zone v 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_X route=x backup;
        server $TEST_NGINX_Y route=y backup;
        server $TEST_NGINX_C route=c backup;
    }
--- config
    location / { proxy_pass http://v; }
--- story
    GET / | Cookie: srv=a => 200 P UNAVAILABLE - | -
    GET / | Cookie: srv=a => 200 P UNAVAILABLE - | -
    GET /                 => 200 * NEW *
    GET / | Cookie: srv=a => 200 P UNAVAILABLE - | -
    GET / | Cookie: srv=c => 200 c HIT c         | srv=c
    GET / | Cookie: srv=z => 200 * UNKNOWN *



=== TEST 2: a backup that stands in after its server has refused, and another one after that
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_DEAD route=dead max_fails=0;
        server $TEST_NGINX_B route=b backup max_fails=0;
        server $TEST_NGINX_C route=c backup max_fails=0;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /drop-b | Cookie: srv=dead => 200 c UNAVAILABLE - | -
    GET /drop-c | Cookie: srv=dead => 200 b UNAVAILABLE - | -
    GET / | Cookie: srv=dead       => 200 P UNAVAILABLE - | -
    GET / | Cookie: srv=dead       => 200 P UNAVAILABLE - | -



=== TEST 3: another server than a full one leaves the cookie as it is
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_conns=1;
        server $TEST_NGINX_B route=b;
    }
--- init
    Sticky::hold('GET /slow | Cookie: srv=a');
--- story
    GET / | Cookie: srv=a           => 200 b UNAVAILABLE - | -
    GET / | Cookie: srv=a           => 200 b UNAVAILABLE - | -
    GET / | Cookie: srv=b           => 200 b HIT b         | srv=b
    GET /                           => 200 b NEW b         | srv=b
    after 3.5 GET / | Cookie: srv=a => 200 a HIT a         | srv=a



=== TEST 4: another server than one that is down changes it
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET / | Cookie: srv=a           => 200 b UNAVAILABLE b | srv=b



=== TEST 5: cookies of one name in a request: the first that names a server, of four, over all lines
--- http_config eval: $::two
--- story
    GET / | Cookie: srv=zzz; srv=b                           => 200 b HIT b     | srv=b; path=/
    GET / | Cookie: srv=zzz; srv=b                           => 200 b HIT b     | srv=b; path=/
    GET / | Cookie: srv=a; srv=b                             => 200 a HIT a     | srv=a; path=/
    GET / | Cookie: srv=; srv=b                              => 200 b HIT b     | srv=b; path=/
    GET / | Cookie: x=1; srv=z | Cookie: y=2; SRV=b; srv=a   => 200 b HIT b     | srv=b; path=/
    GET / | Cookie: srv=1; srv=2; srv=3; srv=b               => 200 b HIT b     | srv=b; path=/
    GET / | Cookie: srv=1; srv=2; srv=3; srv=4; srv=b        => 200 P UNKNOWN *
    GET / | Cookie: xsrv=b; srvx=b; srv=zzz                  => 200 Q UNKNOWN *



=== TEST 6: cookies of one name in a request: a server that cannot be had counts
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
    }
--- story
    GET / | Cookie: srv=zzz; srv=a; srv=c  => 200 b UNAVAILABLE b | srv=b
    GET / | Cookie: srv=zzz; srv=c         => 200 c HIT c         | srv=c



=== TEST 7: sticky learn: cookies of one name in a request and in an answer
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one&cookie2=sid=two   => 200 a * *
    GET / | Cookie: sid=stale; sid=one     => 200 a HIT a
    GET / | Cookie: sid=stale; sid=two     => 200 a HIT a
    GET / | Cookie: sid=two                => 200 a HIT a
    GET /?cookie=sid=x;Max-Age=0           => 200 b NONE -



=== TEST 8: X-Accel-Redirect: sticky learn, with header and without
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        zone v 64k;
        sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=other:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
    location = /file { internal; return 200 "file\n"; }
    location = /same { internal; proxy_pass http://u/; }
--- story
    GET /?cookie=sid=one&accel=/file     => 200 - NEW a
    GET / | Cookie: sid=one              => 200 a HIT a
    GET / | Cookie: sid=one              => 200 a HIT a
    GET /?cookie=sid=two&accel=/same     => 200 * NONE -
    GET / | Cookie: sid=two              => 200 b HIT b
    GET / | Cookie: sid=two              => 200 b HIT b
    GET /v/?cookie=sid=three&accel=/file => 200 - NEW a
    GET /v/ | Cookie: sid=three          => 200 a HIT a
    GET /v/ | Cookie: sid=three          => 200 a HIT a



=== TEST 9: two upstreams in one request: one cookie of a name, that of the first
--- http_config eval
$::two . '
    upstream v {
        zone v 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_C route=c;
    }
    upstream w {
        zone w 64k;
        sticky cookie other path=/;
        server $TEST_NGINX_C route=c;
    }
'
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
    location = /same { internal; proxy_pass http://u/; }
    location = /next { internal; proxy_pass http://v/; }
    location = /other { internal; proxy_pass http://w/; }
--- story
    GET /?accel=/next                  => 200 c NEW -     | srv=a; path=/
    GET /?accel=/same                  => 200 a NEW -     | srv=b; path=/
    GET /?accel=/next | Cookie: srv=b  => 200 c UNKNOWN - | srv=b; path=/
    GET /?accel=/same | Cookie: srv=b  => 200 b HIT b     | srv=b; path=/
    GET /?accel=/other | Cookie: srv=b => 200 c NEW c     | srv=b; path=/ + other=c; path=/



=== TEST 10: two upstreams in one request: a client's own cookie that is valid in the second stands
--- http_config eval
$::two . '
    upstream v {
        zone v 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_C route=c;
    }
'
--- config
    location / { proxy_pass http://u; }
    location = /next { internal; proxy_pass http://v/; }
--- story
    GET /?accel=/next | Cookie: srv=c  => 200 c HIT c     | srv=c; path=/
    GET /?accel=/next | Cookie: srv=c  => 200 c HIT c     | srv=c; path=/



=== TEST 11: two upstreams in one request: the second where all servers of the first have failed
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_A route=a down;
    }
    upstream v {
        zone v 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_C route=c;
    }
--- config
    error_page 502 = @next;
    location / { proxy_pass http://u; }
    location @next { proxy_pass http://v; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /                  => 200 c NEW c         | srv=c; path=/
    GET / | Cookie: srv=a  => 200 c UNKNOWN c     | srv=c; path=/



=== TEST 12: two upstreams in one request: the second where a server of the first has refused
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_DEAD route=dead max_fails=0;
    }
    upstream v {
        zone v 64k;
        sticky cookie srv path=/;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- config
    error_page 502 = @next;
    location / { proxy_pass http://u; }
    location @next { proxy_pass http://v; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /                    => 200 a NEW a     | srv=a; path=/
    GET / | Cookie: srv=a    => 200 a HIT a     | srv=a; path=/
    GET / | Cookie: srv=dead => 200 b UNKNOWN b | srv=b; path=/
