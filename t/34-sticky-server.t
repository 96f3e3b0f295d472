# `route=` and `drain` together with all other parameters of `server`. By nginx from 1.29.6 on, and by us before.

use lib 't/lib';
use Sticky;

also_with_two_workers;
told_by_nginx;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a draining server gets bound requests, and no other
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C;
    }
--- story
    GET /            => 200 b NONE -
    GET /            => 200 c NONE -
    GET /            => 200 b NONE -
    GET /?to=unheard => 200 c UNKNOWN -
    GET /?to=a       => 200 a HIT a
    GET /?to=a       => 200 a HIT a
    GET /?to=b       => 200 b HIT b



=== TEST 2: also when it is the only server
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a drain;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?to=a => 200 a HIT a
    GET /      => 502 - NONE -
    GET /?to=b => 502 - UNKNOWN -
    GET /?to=a => 200 a HIT a



=== TEST 3: also when it is the last one left
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B route=b down;
        server $TEST_NGINX_C route=c drain;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | Cookie: srv=a => 200 a HIT a | srv=a
    GET /                 => 502 - NEW - | -
    GET / | Cookie: srv=b => 502 - UNAVAILABLE - | -
    GET / | Cookie: srv=c => 200 c HIT c | srv=c



=== TEST 4: without a zone
--- http_config
    upstream u {
        sticky cookie srv;
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET /                 => 200 b NEW b | srv=b
    GET / | Cookie: srv=a => 200 a HIT a | srv=a
    GET /                 => 200 b NEW b | srv=b
    GET / | Cookie: srv=a => 200 a HIT a | srv=a
    GET / | Cookie: srv=c => 200 b UNKNOWN b | srv=b



=== TEST 5: down is down, and of down and drain the last word counts
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_B route=b;
    }
    upstream v {
        zone servers;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a drain down;
        server $TEST_NGINX_B route=b;
    }
    upstream w {
        zone servers;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a down drain;
        server $TEST_NGINX_B route=b;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
    location /w/ { proxy_pass http://w/; }
--- story
    GET /?to=a   => 200 b UNAVAILABLE -
    GET /v/?to=a => 200 b UNAVAILABLE -
    GET /v/?to=a => 200 b UNAVAILABLE -
    GET /w/?to=a => 200 a HIT a
    GET /w/?to=a => 200 a HIT a
    GET /w/      => 200 b NONE -



=== TEST 6: a backup server is reached by its id when the others are gone, and not before
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b backup;
        server $TEST_NGINX_C route=c backup;
    }
    upstream v {
        zone servers;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_B route=b backup;
        server $TEST_NGINX_C route=c backup;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?to=b   => 200 a * -
    GET /?to=c   => 200 a * -
    GET /?to=a   => 200 a HIT a
    GET /v/?to=c => 200 c HIT c
    GET /v/?to=c => 200 c HIT c
    GET /v/?to=b => 200 b HIT b
    GET /v/?to=c => 200 c HIT c



=== TEST 7: nor because the others drain for anybody but their own
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B route=b backup;
        server $TEST_NGINX_C route=c backup drain;
    }
--- story
    GET /      => 200 b NONE -
    GET /      => 200 b NONE -
    GET /?to=a => 200 a HIT a
    GET /?to=c => 200 c HIT c
    GET /?to=b => 200 b HIT b
    GET /?to=a => 200 a HIT a



=== TEST 8: a backup server after the others have failed, in the same request
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_DEAD route=dead;
        server $TEST_NGINX_B route=b backup;
        server $TEST_NGINX_C route=c backup;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?to=c => 200 c HIT c
    GET /?to=c => 200 c HIT c
    GET /?to=b => 200 b HIT b



=== TEST 9: weight counts for unbound requests only
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A weight=3 route=a max_fails=2 fail_timeout=5s;
        server $TEST_NGINX_B route=b weight=1;
    }
--- story
    GET /      => 200 a NONE -
    GET /      => 200 a NONE -
    GET /      => 200 b NONE -
    GET /      => 200 a NONE -
    GET /?to=b => 200 b HIT b
    GET /?to=b => 200 b HIT b
    GET /?to=b => 200 b HIT b



=== TEST 10: a server at max_conns is left out, bound or not (nginx's own sticky, since 1.29.6, changes the cookie)
--- skip_nginx: 40: >= 1.29.6
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_conns=1;
        server $TEST_NGINX_B route=b;
    }
--- init
    Sticky::hold("GET /slow | Cookie: srv=a");
--- story
    GET / | Cookie: srv=a         => 200 b UNAVAILABLE - | -
    GET / | Cookie: srv=a         => 200 b UNAVAILABLE - | -
    after 3 GET / | Cookie: srv=a => 200 a HIT a | srv=a



=== TEST 11: a draining server at max_conns as well (nginx's own sticky, since 1.29.6, changes the cookie)
--- skip_nginx: 40: >= 1.29.6
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_conns=1 drain;
        server $TEST_NGINX_B route=b;
    }
--- init
    Sticky::hold("GET /slow | Cookie: srv=a");
--- story
    GET / | Cookie: srv=a         => 200 b UNAVAILABLE - | -
    after 3 GET / | Cookie: srv=a => 200 a HIT a | srv=a



=== TEST 12: a server that has failed is left out for fail_timeout, draining or not
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a fail_timeout=2s;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C;
    }
    upstream v {
        zone servers;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a fail_timeout=2s drain;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /drop-a?to=a         => 200 b UNAVAILABLE -
    GET /v/drop-a?to=a       => 200 b UNAVAILABLE -
    GET /?to=a               => 200 c UNAVAILABLE -
    GET /v/?to=a             => 200 c UNAVAILABLE -
    after 3.1 GET /?to=a     => 200 a HIT a
    GET /v/?to=a             => 200 a HIT a



=== TEST 13: unix and IPv6 addresses take both
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server unix:$TEST_NGINX_SERVER_ROOT/d.sock route=d drain;
        server [::1]:$TEST_NGINX_SERVER_PORT drain route=e weight=2;
        server $TEST_NGINX_A;
    }
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/d.sock;
        add_header X-Server d;
        location / { return 200 "d\n"; }
    }
    server {
        listen [::1]:$TEST_NGINX_SERVER_PORT;
        add_header X-Server e;
        location / { return 200 "e\n"; }
    }
--- story
    GET /      => 200 a NONE -
    GET /?to=d => 200 d HIT *
    GET /?to=e => 200 e HIT *
    GET /?to=d => 200 d HIT *
    GET /?to=e => 200 e HIT *
    GET /      => 200 a NONE -



=== TEST 14: server of the upstream, and server with a block, are two directives
--- http_config
    upstream u {
        zone servers 64k;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B drain;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server_name drain route=a;
        location / { proxy_pass http://u; }
    }
--- config
    location / { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_4; }
--- story
    GET / => 200 a - -
    GET / => 200 a - -
