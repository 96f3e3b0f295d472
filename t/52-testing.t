# A suite can ask for the object that also has the directives of module/testing/.

use lib 't/lib';
use Sticky;

with_testing_module();
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: the module of the tests runs beside the product's
--- http_config
    sticky_test_connect $TEST_NGINX_DEAD;
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
--- told
test of "\S+": connect\(\) failed \(111: Connection refused\)
