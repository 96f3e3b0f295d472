# The module can be loaded with all of nginx's own modules, and has no effect without its directives.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an upstream without sticky_learn works as before
--- http_config
    upstream u {
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a -
    GET / | X-Session: one => 200 b -
    GET / | X-Session: one => 200 a -



=== TEST 2: an upstream without sticky_learn reuses its connections as before
--- http_config
    upstream u {
        server $TEST_NGINX_A;
        keepalive 4;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
--- story
    GET / => 200 a - - fresh
    GET / => 200 a - - reused



=== TEST 3: the variables are empty where no upstream takes part
--- config
    location / { return 200 "[$upstream_sticky_status] [$upstream_sticky_server]\n"; }
--- request
GET /
--- response_body
[] []



=== TEST 4: it is not loaded twice
--- main_config
    load_module $TEST_NGINX_LOAD_MODULES;
--- emerg: module "ngx_http_sticky_learn_module" is already loaded



=== TEST 5: an upstream that nobody uses is no mistake
--- http_config
    upstream u { server $TEST_NGINX_A; }
    upstream unused {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B;
    }
--- story
    GET / => 200 a -



=== TEST 6: two modules in one object, in their places: upstreams are wired, headers are seen
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
