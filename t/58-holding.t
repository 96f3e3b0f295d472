# Small answers are held, then passed on, or the request begins again. The judge is a fake.

use lib 't/lib';
use Sticky;

with_testing_module();
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an answer is passed on, at once and later; only 400, 404, 410 and 422 are held
--- http_config
    upstream now {
        sticky_learn zone=now:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_hold after=0;
        server $TEST_NGINX_A;
    }
    upstream later {
        sticky_learn zone=later:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_hold after=20;
        server $TEST_NGINX_A;
    }
--- config
    location /now/ { proxy_pass http://now/; }
    location /later/ { proxy_pass http://later/; }
    location = /counts { sticky_test_holding counts; }
--- request eval
[map({ ("GET /$_/404", "POST /$_/404\nbody", "HEAD /$_/404", "GET /$_/500", "GET /$_/") } qw(now later)), "GET /counts"]
--- error_code eval
[(404, 404, 404, 500, 200) x 2, 200]
--- response_body_like eval
[("^a\$", "^a\$", "^\$", "^a\$", "^a\$") x 2, "^held=6 judged=6 passed=6 timed_out=0 again=0 gone=0 refused=0 holding=0\$"]



=== TEST 2: a request begins again, once
--- http_config
    upstream u {
        sticky_learn zone=u:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_hold after=1 again;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /counts { sticky_test_holding counts; }
--- request eval
["GET /404-a", "GET /404", "POST /404\nbody", "GET /counts"]
--- error_code eval
[200, 404, 404, 200]
--- response_body_like eval
["^b\$", "^[ab]\$", "^[ab]\$", "^held=3 judged=3 passed=0 timed_out=0 again=3 gone=0 refused=0 holding=0\$"]



=== TEST 3: subrequests are not held
--- http_config
    upstream u {
        sticky_learn zone=u:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_hold after=1 again;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location = /page { ssi on; default_type text/html; return 200 '1<!--#include virtual="/404" -->2'; }
    location = /counts { sticky_test_holding counts; }
--- request eval
["GET /page", "GET /counts"]
--- error_code eval
[200, 200]
--- response_body_like eval
["^1a\n2\$", "^held=0 judged=0 passed=0"]



=== TEST 4: a mirror gets one copy, and error pages are nginx's own
--- http_config
    upstream u {
        sticky_learn zone=u:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_hold after=1 again;
        server $TEST_NGINX_A;
    }
    upstream m {
        sticky_learn zone=m:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B;
    }
    log_format copies "$uri";
--- config
    location / { proxy_pass http://u; }
    location = /mirrored/404 { mirror /copy/; proxy_pass http://u/404; }
    location /copy/ { internal; log_subrequest on; access_log logs/sticky.log copies; proxy_pass http://m/; }
    location = /page/404 { proxy_intercept_errors on; error_page 404 = /own; proxy_pass http://u/404; }
    location = /own { return 200 own; }
    location = /counts { sticky_test_holding counts; }
--- request eval
["GET /mirrored/404", "GET /page/404", "GET /counts"]
--- error_code eval
[404, 200, 200]
--- response_body_like eval
["^a\$", "^own\$", "^held=1 judged=1 passed=0 timed_out=0 again=1 gone=0"]
--- logged
/copy/
