# `sticky route`: the request names its server's route. By nginx from 1.29.6 on, and by us before.

use lib 't/lib';
use Sticky;

also_with_two_workers;
told_by_nginx;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a route leads to its server
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B route=second;
    }
--- story
    GET /          => 200 a NONE - | -
    GET /          => 200 b NONE - | -
    GET /?to=first  => 200 a HIT a | -
    GET /?to=first  => 200 a HIT a | -
    GET /?to=second => 200 b HIT b | -
    GET /?to=second => 200 b HIT b | -



=== TEST 2: one that no server has, and none, are balanced
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B route=second;
    }
--- story
    GET /?to=third => 200 a UNKNOWN -
    GET /?to=third => 200 b UNKNOWN -
    GET /?to=      => 200 a NONE -
    GET /          => 200 b NONE -
    GET /?to=FIRST => 200 a UNKNOWN -
    GET /?to=FIRST => 200 b UNKNOWN -
    GET /?to=firs  => 200 a UNKNOWN -
    GET /?to=firs  => 200 b UNKNOWN -



=== TEST 3: servers without a route are not found by an empty one
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /?to=      => 200 a NONE -
    GET /?to=      => 200 b NONE -
    GET /          => 200 c NONE -
    GET /?to=other => 200 a UNKNOWN -
    GET /?to=other => 200 b UNKNOWN -
    GET /?to=other => 200 c UNKNOWN -
    GET /?to=first => 200 a HIT a



=== TEST 4: no server has a route
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?to=first => 200 a UNKNOWN -
    GET /?to=first => 200 b UNKNOWN -
    GET /?to=      => 200 a NONE -



=== TEST 5: the first variable that is not empty counts
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $cookie_to $arg_to $http_x_to;
        server $TEST_NGINX_A route=first;
        server $TEST_NGINX_B route=second;
    }
--- story
    GET /?to=second                                     => 200 b HIT b
    GET /?to=second | Cookie: to=first                  => 200 a HIT a
    GET /?to=second | Cookie: to=                       => 200 b HIT b
    GET /?to=second | Cookie: other=first               => 200 b HIT b
    GET / | X-To: first                                 => 200 a HIT a
    GET /?to=first | X-To: second                       => 200 a HIT a
    GET /?to=first | X-To: second | Cookie: to=unheard  => 200 * UNKNOWN -



=== TEST 6: a variable of a map, as for session ids that end with the name of their server
--- http_config
    map $cookie_jsessionid $route_of_cookie {
        "~.+\.(?<route>\w+)$" $route;
    }
    map $request_uri $route_of_uri {
        "~jsessionid=.+\.(?<route>\w+)$" $route;
    }
    upstream u {
        zone servers 64k;
        sticky route $route_of_cookie $route_of_uri;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET / | Cookie: JSESSIONID=0815.b => 200 b HIT b
    GET / | Cookie: JSESSIONID=0815.a => 200 a HIT a
    GET /;jsessionid=0815.b           => 200 b HIT b
    GET /;jsessionid=0815.a           => 200 a HIT a



=== TEST 7: a route of 32 characters, and of one
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=12345678901234567890123456789012;
        server $TEST_NGINX_B route=1;
        server $TEST_NGINX_C route=$arg_to;
    }
--- story
    GET /?to=12345678901234567890123456789012 => 200 a HIT a
    GET /?to=12345678901234567890123456789012 => 200 a HIT a
    GET /?to=1                                => 200 b HIT b
    GET /?to=1                                => 200 b HIT b
    GET /?to=$arg_to                          => 200 c HIT c
    GET /?to=$arg_to                          => 200 c HIT c



=== TEST 8: routes in two upstreams are two things
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=one;
        server $TEST_NGINX_B route=two;
    }
    upstream v {
        zone servers;
        sticky route $arg_to;
        server $TEST_NGINX_B route=one;
        server $TEST_NGINX_A route=two;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?to=one   => 200 a HIT a
    GET /v/?to=one => 200 b HIT b
    GET /?to=two   => 200 b HIT b
    GET /v/?to=two => 200 a HIT a



=== TEST 9: the same address with two routes
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=one;
        server $TEST_NGINX_B route=two;
        server $TEST_NGINX_A route=three;
    }
--- story
    GET /?to=three => 200 a HIT a
    GET /?to=three => 200 a HIT a
    GET /?to=two   => 200 b HIT b
    GET /?to=one   => 200 a HIT a



=== TEST 10: the last word counts
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=one route=two weight=1;
        server $TEST_NGINX_B;
    }
--- story
    GET /?to=one => 200 a UNKNOWN -
    GET /?to=one => 200 b UNKNOWN -
    GET /?to=two => 200 a HIT a
    GET /?to=two => 200 a HIT a



=== TEST 11: route= in an upstream without sticky is no mistake
--- http_config
    upstream u {
        zone servers 64k;
        server $TEST_NGINX_A route=one;
        server $TEST_NGINX_B route=two;
    }
--- story
    GET /?to=one => 200 a - -
    GET /?to=one => 200 b - -



=== TEST 12: an upstream that a variable names
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=one;
        server $TEST_NGINX_B route=two;
    }
--- config
    location / {
        set $where u;
        proxy_pass http://$where;
    }
--- story
    GET /?to=two => 200 b HIT b
    GET /?to=two => 200 b HIT b
    GET /?to=one => 200 a HIT a



=== TEST 13: without a zone
--- http_config
    upstream u {
        sticky route $arg_to;
        server $TEST_NGINX_A route=one;
        server $TEST_NGINX_B route=two;
        server $TEST_NGINX_C route=three;
    }
--- story
    GET /?to=three => 200 c HIT c
    GET /?to=three => 200 c HIT c
    GET /?to=two   => 200 b HIT b
    GET /?to=two   => 200 b HIT b
    GET /?to=one   => 200 a HIT a
    GET /?to=three => 200 c HIT c



=== TEST 14: more than a word of servers
--- http_config eval
my $many = CORE::join '', map { "        server 127.0.0.1:$_ down;\n" } 1 .. 70;
"    upstream u {
        zone servers 256k;
        sticky route \$arg_to;
        server \$TEST_NGINX_A route=one;
$many        server \$TEST_NGINX_B route=two;
        server \$TEST_NGINX_C route=three max_fails=0;
    }
"
--- story
    GET /?to=two         => 200 b HIT b
    GET /?to=two         => 200 b HIT b
    GET /?to=three       => 200 c HIT c
    GET /?to=one         => 200 a HIT a
