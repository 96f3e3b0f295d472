# `sticky cookie`: the answer names its server in a cookie. Each header is the same as that of nginx 1.29.6 and later.

use lib 't/lib';
use Sticky;
use Socket ();

also_with_two_workers;
told_by_nginx;
plan 'no_plan';

# tools/test-t gives it two addresses, where it can.
our ($error, @addresses) = Socket::getaddrinfo('two.test', '', { socktype => Socket::SOCK_STREAM() });

run_tests();

__DATA__

=== TEST 1: a cookie names the server by the MD5 of its address, and leads back to it
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_X;
        server $TEST_NGINX_Y;
    }
--- story
    GET /                        => 200 x NEW x | srv=<x>
    GET /                        => 200 y NEW y | srv=<y>
    GET / | Cookie: srv=<x>      => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<x>      => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<y>      => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<y>      => 200 y HIT y | srv=<y>



=== TEST 2: one that matches no server is balanced, and gets a new one
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_X;
        server $TEST_NGINX_Y;
    }
--- story
    GET / | Cookie: srv=nonsense                         => 200 x UNKNOWN x | srv=<x>
    GET / | Cookie: srv=<127.0.0.9:1>                    => 200 y UNKNOWN y | srv=<y>
    GET / | Cookie: srv=                                 => 200 x NEW x     | srv=<x>
    GET / | Cookie: other=<x>                            => 200 y NEW y     | srv=<y>
    GET / | Cookie: srv=0<x>                             => 200 x UNKNOWN x | srv=<x>



=== TEST 3: names of cookies are caseless, values are not
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET / | Cookie: srv=A                      => 200 a UNKNOWN a | srv=a
    GET / | Cookie: srv=A                      => 200 b UNKNOWN b | srv=b
    GET / | Cookie: SRV=b                      => 200 b HIT b     | srv=b
    GET / | Cookie: one=1; srv=b; two=2        => 200 b HIT b     | srv=b
    GET / | Cookie: one=1; srv=a; srv=b        => 200 a HIT a     | srv=a



=== TEST 4: a route instead of the MD5, where there is one
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_X route=first;
        server $TEST_NGINX_Y;
    }
--- story
    GET /                        => 200 x NEW x     | srv=first
    GET /                        => 200 y NEW y     | srv=<y>
    GET / | Cookie: srv=<x>      => 200 x UNKNOWN x | srv=first
    GET / | Cookie: srv=<x>      => 200 y UNKNOWN y | srv=<y>
    GET / | Cookie: srv=first    => 200 x HIT x     | srv=first
    GET / | Cookie: srv=<y>      => 200 y HIT y     | srv=<y>



=== TEST 5: all attributes, in nginx's order
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv path=/app samesite=strict secure domain=.example.com httponly expires=1h;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET / => 200 a NEW a | srv=a; expires=<+3600>; max-age=3600; domain=.example.com; httponly; secure; samesite=strict; path=/app
    GET / | Cookie: srv=a => 200 a HIT a | srv=a; expires=<+3600>; max-age=3600; domain=.example.com; httponly; secure; samesite=strict; path=/app



=== TEST 6: until the end of time
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv expires=max;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET / => 200 a NEW a | srv=a; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000



=== TEST 7: no time at all, and a day
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv expires=0;
        server $TEST_NGINX_A route=a;
    }
    upstream v {
        zone servers;
        sticky cookie srv expires=1d;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /   => 200 a NEW a | srv=a; expires=<+0>; max-age=0
    GET /v/ => 200 a NEW a | srv=a; expires=<+86400>; max-age=86400



=== TEST 8: each attribute alone
--- http_config
    upstream u1 { zone servers 64k; sticky cookie srv domain=example.com; server $TEST_NGINX_A route=a; }
    upstream u2 { zone servers; sticky cookie srv httponly; server $TEST_NGINX_A route=a; }
    upstream u3 { zone servers; sticky cookie srv secure; server $TEST_NGINX_A route=a; }
    upstream u4 { zone servers; sticky cookie srv samesite=Lax; server $TEST_NGINX_A route=a; }
    upstream u5 { zone servers; sticky cookie srv path=/; server $TEST_NGINX_A route=a; }
    upstream u6 { zone servers; sticky cookie srv samesite=NONE secure; server $TEST_NGINX_A route=a; }
--- config
    location /1/ { proxy_pass http://u1/; }
    location /2/ { proxy_pass http://u2/; }
    location /3/ { proxy_pass http://u3/; }
    location /4/ { proxy_pass http://u4/; }
    location /5/ { proxy_pass http://u5/; }
    location /6/ { proxy_pass http://u6/; }
--- story
    GET /1/ => 200 a NEW a | srv=a; domain=example.com
    GET /2/ => 200 a NEW a | srv=a; httponly
    GET /3/ => 200 a NEW a | srv=a; secure
    GET /4/ => 200 a NEW a | srv=a; samesite=Lax
    GET /5/ => 200 a NEW a | srv=a; path=/
    GET /6/ => 200 a NEW a | srv=a; secure; samesite=NONE



=== TEST 9: a domain with variables, left out where it is empty
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv domain=$arg_domain httponly;
        server $TEST_NGINX_A route=a;
    }
    upstream v {
        zone servers;
        sticky cookie srv domain=.$arg_domain.com;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?domain=example.org => 200 a NEW a | srv=a; domain=example.org; httponly
    GET /                    => 200 a NEW a | srv=a; httponly
    GET /v/?domain=example   => 200 a NEW a | srv=a; domain=.example.com



=== TEST 10: a samesite with variables: strict if it is none of the three, left out where it is empty
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv samesite=$arg_site;
        server $TEST_NGINX_A route=a;
    }
    upstream v {
        zone servers;
        sticky cookie srv samesite=l$arg_site;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?site=strict => 200 a NEW a | srv=a; samesite=strict
    GET /?site=Lax    => 200 a NEW a | srv=a; samesite=Lax
    GET /?site=NONE   => 200 a NEW a | srv=a; samesite=NONE
    GET /?site=laxer  => 200 a NEW a | srv=a; samesite=strict
    GET /?site=       => 200 a NEW a | srv=a
    GET /             => 200 a NEW a | srv=a
    GET /v/?site=ax   => 200 a NEW a | srv=a; samesite=lax
    GET /v/?site=     => 200 a NEW a | srv=a; samesite=strict



=== TEST 11: a path is no variable, and a name may be any text
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie my-app.srv path=/$arg_path;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET /?path=x                   => 200 a NEW a | my-app.srv=a; path=/$arg_path
    GET / | Cookie: my-app.srv=b   => 200 b HIT b | my-app.srv=b; path=/$arg_path
    GET / | Cookie: my-app.srv=b   => 200 b HIT b | my-app.srv=b; path=/$arg_path



=== TEST 12: beside the server's own cookies, and before them
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / { proxy_pass http://u; }
    location /hidden/ {
        proxy_hide_header Set-Cookie;
        proxy_pass http://u/;
    }
--- story
    GET /?cookie=own=1                         => 200 a NEW a | srv=a + own=1
    GET /?cookie=srv=1 | Cookie: srv=a         => 200 a HIT a | srv=a + srv=1
    GET /hidden/?cookie=own=1                  => 200 a NEW a | srv=a



=== TEST 13: with whatever the server answers
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
    }
--- no_error_log
[error]
--- story
    GET /404   => 404 a NEW a | srv=a
    GET /301   => 301 a NEW a | srv=a
    GET /503   => 503 a NEW a | srv=a
    GET /204   => 204 a NEW a | srv=a
    GET /304   => 304 a NEW a | srv=a
    HEAD /     => 200 a NEW a | srv=a
    POST /     => 200 a NEW a | srv=a



=== TEST 14: with a page of nginx's own instead
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        error_page 404 = /page;
    }
    location = /page { return 200 "page"; }
--- story
    GET /404              => 200 - NEW a | srv=a
    GET / | Cookie: srv=a => 200 a HIT a | srv=a



=== TEST 15: not with what comes from the cache
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $uri;
    proxy_cache_valid 1h;
    location / { proxy_pass http://u; }
--- story
    GET /                   => 200 a NEW a | srv=a
    GET /                   => 200 a * *   | -
    GET / | Cookie: srv=b   => 200 a * *   | -
    GET /b | Cookie: srv=b  => 200 b HIT b | srv=b



=== TEST 16: without a zone
--- http_config
    upstream u {
        sticky cookie srv;
        server $TEST_NGINX_X;
        server $TEST_NGINX_Y;
    }
--- story
    GET / | Cookie: srv=<y> => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<y> => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<x> => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<y> => 200 y HIT y | srv=<y>



=== TEST 17: addresses of IPv6 and of this machine's files, as nginx prints them
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server unix:$TEST_NGINX_SERVER_ROOT/d.sock;
        server [::1]:$TEST_NGINX_SERVER_PORT;
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
--- story eval
my ($d, $e) = ('unix:' . Test::Nginx::Util::server_root() . '/d.sock', '[::1]:' . Test::Nginx::Util::server_port());
"
    GET / => 200 d NEW * | srv=<$d>
    GET / => 200 e NEW * | srv=<$e>
    GET / | Cookie: srv=<$d> => 200 d HIT * | srv=<$d>
    GET / | Cookie: srv=<$d> => 200 d HIT * | srv=<$d>
    GET / | Cookie: srv=<$e> => 200 e HIT * | srv=<$e>
"



=== TEST 18: a name with several addresses: an id for each, and one route for them all
--- skip_eval: 1: @main::addresses < 2
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server two.test:$TEST_NGINX_SERVER_PORT;
    }
    upstream v {
        zone servers;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server two.test:$TEST_NGINX_SERVER_PORT route=both;
        server $TEST_NGINX_B route=b;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET / | Cookie: srv=<x>    => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<x>    => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<y>    => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<y>    => 200 y HIT y | srv=<y>
    GET /v/ | Cookie: srv=both => 200 P HIT * | srv=both
    GET /v/ | Cookie: srv=both => 200 P HIT * | srv=both
    GET /v/ | Cookie: srv=b    => 200 b HIT b | srv=b
    GET /v/ | Cookie: srv=a    => 200 a HIT a | srv=a



=== TEST 19: with what X-Accel-Redirect leads to
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
    }
--- config
    location / { proxy_pass http://u; }
    location = /page {
        internal;
        return 200 "page";
    }
--- story
    GET /?accel=/page | Cookie: srv=a => 200 - HIT a | srv=a
    GET / | Cookie: srv=a             => 200 a HIT a | srv=a



=== TEST 20: not with subrequests
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- config
    ssi on;
    location / { proxy_pass http://u; }
    location = /page {
        default_type text/html;
        return 200 '<!--# include virtual="/" -->';
    }
--- story
    GET /page | Cookie: srv=b => 200 * * * | -
    GET / | Cookie: srv=b     => 200 b HIT b | srv=b
