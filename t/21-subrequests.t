# Subrequests: pages of several parts, and requests that run before the answer (auth_request).

use lib 't/lib';
use Sticky;

nginx_was_built_with('--with-http_auth_request_module')
    ? plan 'no_plan' : plan skip_all => 'nginx has no auth_request';
run_tests();

__DATA__

=== TEST 1: SSI: each part of a page goes to the server of the session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /page { ssi on; ssi_types text/plain; root html; }
--- user_files
>>> page
<!--# include virtual="/1" --><!--# include virtual="/2" --><!--# include virtual="/3" -->
--- request eval
["GET /?new=one", "GET /page", "GET /page"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- response_body eval
["a\n", "a\na\na\n\n", "a\na\na\n\n"]



=== TEST 2: SSI: what a part teaches is known
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /page { ssi on; ssi_types text/plain; root html; }
--- user_files
>>> page
<!--# include virtual="/?own=one" wait="yes" --><!--# include virtual="/?own=one" wait="yes" -->
--- request eval
["GET /page", "GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: a-one", "X-Session: b-one", "X-Session: b-one", "X-Session: a-one"]
--- response_headers eval
["! X-Status", "X-Status: HIT", "X-Status: HIT", "X-Status: HIT", "X-Status: HIT"]
--- response_body eval
["a\nb\n\n", "a\n", "b\n", "b\n", "a\n"]



=== TEST 3: SSI: a part whose session is unknown is rejected, the others are not
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$arg_id unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /page { ssi on; ssi_types text/plain; root html; }
--- user_files
>>> page
[<!--# include virtual="/?id=one" -->][<!--# include virtual="/?id=stranger" -->][<!--# include virtual="/?id=one" -->]
--- request eval
["GET /?new=one", "GET /page"]
--- response_body_like eval
["^a\n\$", "^\\[a\n\\]\\[.*404 Not Found.*\\]\\[a\n\\]\n\$"]



=== TEST 4: SSI: each part has a status of its own
--- http_config
    log_format sticky '$uri $upstream_sticky_status';
    log_subrequest on;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$arg_id;
        server $TEST_NGINX_A;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
    location /page { ssi on; ssi_types text/plain; root html; }
--- user_files
>>> page
<!--# include virtual="/1?new=one" wait="yes" --><!--# include virtual="/2?id=one" wait="yes" --><!--# include virtual="/3?id=two" wait="yes" -->
--- request
GET /page
--- response_headers
! X-Status
--- response_body eval
"a\na\na\n\n"
--- logged
/1 NEW
/2 HIT
/3 UNKNOWN
/page -



=== TEST 5: auth_request: the question goes to the session's server, too
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /200 {
        auth_request /auth;
        auth_request_set $asked $upstream_http_x_server;
        add_header X-Asked $asked;
        proxy_pass http://u;
    }
    location = /auth {
        internal;
        proxy_pass http://u;
    }
--- request eval
["GET /?new=one", "GET /200", "GET /200", "GET /200"]
--- more_headers eval
["", ("X-Session: one") x 3]
--- response_headers eval
["X-Server: a", ("X-Asked: a\nX-Server: a") x 3]



=== TEST 6: auth_request: what its answer names is learned
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /own {
        auth_request /auth;
        root html;
        try_files /index.html =404;
    }
    location = /auth {
        internal;
        proxy_pass http://u/?new=one;
    }
--- story
    GET /own               => 200 - -
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 7: auth_request: $sent_http_ works there as well
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /own {
        auth_request /auth;
        root html;
        try_files /index.html =404;
    }
    location = /auth {
        internal;
        proxy_pass http://u/?new=one;
    }
--- story
    GET /own               => 200 - -
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 8: auth_request: an unknown session is no permission
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        auth_request /auth;
        proxy_pass http://$TEST_NGINX_B;
    }
    location = /auth {
        internal;
        proxy_pass http://u;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | X-Session: one => 500 - -
    GET /                  => 200 b -



=== TEST 9: mirror: the copy goes to the session's server
--- http_config
    log_format sticky '$uri $upstream_sticky_status';
    log_subrequest on;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
    location /200 {
        mirror /copy;
        proxy_pass http://$TEST_NGINX_C;
    }
    location = /copy {
        internal;
        proxy_pass http://u;
    }
--- story
    GET /?new=one             => 200 a NEW a
    GET /200 | X-Session: one => 200 c -
    GET /200 | X-Session: one => 200 c -
--- logged
/ NEW
/copy HIT
/200 -
/copy HIT
/200 -
