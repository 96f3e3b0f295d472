# A request waits for the answer to the question "which server has this id?". The source of the answers is a fake.

use lib 't/lib';
use Sticky;

with_testing_module();
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a server, at once, after a millisecond and after 100; then the table has it
--- http_config
    upstream now {
        sticky_learn zone=now:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=0 server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream soon {
        sticky_learn zone=soon:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream later {
        sticky_learn zone=later:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_answer after=100ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /now/ { proxy_pass http://now/; }
    location /soon/ { proxy_pass http://soon/; }
    location /later/ { proxy_pass http://later/; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
[(map { ("GET /$_/", "GET /$_/") } qw(now soon later)), "GET /later/", "GET /counts"]
--- more_headers eval
[("X-Session: one") x 6, "", ""]
--- error_code eval
[(200) x 8]
--- response_body eval
[("b\n") x 6, "a\n", "asked=3 waited=2 answered=3 timed_out=0 gone=0 refused=0 waiting=0\n"]



=== TEST 2: nobody: the rule for unknown ids
--- http_config
    upstream rejects {
        sticky_learn zone=rejects:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream balances {
        sticky_learn zone=balances:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /rejects/ { proxy_pass http://rejects/; }
    location /balances/ { proxy_pass http://balances/; }
    location = /counts { sticky_test_waiting counts; }
--- story
    GET /rejects/ | X-Session: one          => 404 - UNKNOWN -
    GET /balances/ | X-Session: one         => 200 a UNKNOWN -
    GET /balances/?new=one | X-Session: one => 200 b NEW b
    GET /balances/ | X-Session: one         => 200 b HIT b



=== TEST 3: no answer: 503 with Retry-After, or balanced, and then the request's id is not bound
--- http_config
    upstream rejects {
        sticky_learn zone=rejects:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=never timeout=20ms;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream balances {
        sticky_learn zone=balances:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_test_answer after=never timeout=20ms;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream fails {
        sticky_learn zone=fails:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms failed;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream mcp {
        sticky_learn zone=mcp:1m;
        sticky_test_answer after=never timeout=20ms;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /rejects/ { proxy_pass http://rejects/; }
    location /balances/ { proxy_pass http://balances/; }
    location /fails/ { proxy_pass http://fails/; }
    location /mcp/ { proxy_pass http://mcp/; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["GET /rejects/", "GET /balances/?new=one", "GET /balances/", "GET /balances/?new=two", "GET /balances/", "GET /fails/", "GET /mcp/",
 "GET /counts"]
--- more_headers eval
["X-Session: one", "X-Session: one", "X-Session: one", "X-Session: one", "X-Session: two", "X-Session: one", "Mcp-Session-Id: one",
 ""]
--- error_code eval
[503, 200, 200, 200, 200, 503, 503, 200]
--- response_headers_like eval
["Retry-After: 1\nX-Status: UNAVAILABLE", "X-Server: a\nX-Status: UNAVAILABLE", "X-Server: b\nX-Status: UNAVAILABLE",
 "X-Server: a\nX-Status: NEW", "X-Server: a\nX-Status: HIT", "Retry-After: 1\nX-Status: UNAVAILABLE",
 "Content-Type: application/json\nRetry-After: 1\nX-Status: UNAVAILABLE", ""]
--- response_body_like eval
["503 Service", "a", "b", "a", "a", "503 Service", '"jsonrpc":"2.0"',
 "^asked=6 waited=6 answered=1 timed_out=5 gone=0 refused=0 waiting=0\$"]



=== TEST 4: a session that nobody has is revived, or not
--- http_config
    upstream revives {
        sticky_learn zone=revives:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody revive=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream now {
        sticky_learn zone=now:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=0 nobody revive=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream cannot {
        sticky_learn zone=cannot:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody revive=nobody;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream fails {
        sticky_learn zone=fails:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody revive=failed;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /revives/ { proxy_pass http://revives/; }
    location /now/ { proxy_pass http://now/; }
    location /cannot/ { proxy_pass http://cannot/; }
    location /fails/ { proxy_pass http://fails/; }
--- story
    GET /revives/ | X-Session: one => 200 b HIT b
    GET /now/ | X-Session: one     => 200 b HIT b
    GET /cannot/ | X-Session: one  => 404 - UNKNOWN -
    GET /fails/ | X-Session: one   => 503 - UNAVAILABLE -



=== TEST 5: only an id that may be a session elsewhere is asked for
--- http_config
    upstream mcp {
        sticky_learn zone=sessions:1m;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://mcp; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["GET /", "POST /200?to=5e2d1c0b9a8f4e7d8c6b5a4938271605\n{}", "GET /", "GET /", "GET /", "GET /counts"]
--- more_headers eval
["", "", "Mcp-Session-Id: one\nMcp-Session-Id: two", "Mcp-Session-Id: one\nMCP-Protocol-Version: 2026-07-28", "Mcp-Session-Id: one", ""]
--- error_code eval
[200, 200, 400, 200, 200, 200]
--- response_body_like eval
["", "", "", "", "^b\$", "^asked=1 waited=1 answered=1 timed_out=0 gone=0 refused=0 waiting=0\$"]



=== TEST 6: an upstream that a variable names: one 503, then the location asks
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    set $name u;
    location / { proxy_pass http://$name; }
    location = /counts { sticky_test_waiting counts; }
--- story
    GET / | X-Session: one => 503 - UNAVAILABLE -
    GET / | X-Session: one => 200 b HIT b
    GET / | X-Session: two => 200 b HIT b



=== TEST 7: where a directive names the upstream, it is known at the start: also in if, limit_except and nested locations
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream other { server $TEST_NGINX_C; }
--- config
    location /if/ {
        if ($arg_x) { set $y 1; }
        proxy_pass http://u;
    }
    location /except/ {
        limit_except POST { allow all; }
        proxy_pass http://u;
    }
    location /outer/ {
        proxy_pass http://other;
        location /outer/inner/ { proxy_pass http://u; }
        location /outer/gif/ { empty_gif; }
    }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["GET /if/?x=1", "GET /except/", "GET /outer/", "GET /outer/inner/", "GET /outer/gif/", "GET /counts"]
--- more_headers eval
["X-Session: one", "X-Session: two", "X-Session: three", "X-Session: four", "X-Session: five", ""]
--- error_code eval
[200, 200, 200, 200, 200, 200]
--- response_body_like eval
["^b\$", "^b\$", "^c\$", "^b\$", "^GIF", "^asked=3 waited=3 answered=3 timed_out=0 gone=0 refused=0 waiting=0\$"]



=== TEST 8: subrequests wait: auth_request, mirror, SSI
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream nobody {
        sticky_learn zone=nobody:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
    }
    upstream other { server $TEST_NGINX_C; }
--- config
    location = /auth { auth_request /checked; proxy_pass http://other/; }
    location = /checked { proxy_pass http://u/; }
    location = /mirrored { mirror /copy; proxy_pass http://u/; }
    location = /copy { internal; proxy_set_header X-Session copied; proxy_pass http://u/; }
    location = /page.html { ssi on; ssi_types text/plain; return 200 "1<!--#include virtual=\"/checked\" -->2<!--#include virtual=\"/checked\" -->3"; default_type text/html; }
    location = /rejected { proxy_pass http://nobody; error_page 404 = /sorry; }
    location = /sorry { return 200 no; }
    location = /sad.html { ssi on; return 200 "1<!--#include virtual=\"/rejected\" wait=\"yes\" -->2<!--#include virtual=\"/rejected\" wait=\"yes\" -->3"; default_type text/html; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["GET /auth", "GET /mirrored", "GET /page.html", "GET /sad.html", "GET /counts"]
--- more_headers eval
["X-Session: one", "X-Session: two", "X-Session: three", "X-Session: four", ""]
--- error_code eval
[200, 200, 200, 200, 200]
--- response_body_like eval
["^c\$", "^b\$", "^1b\n2b\n3\$", "^1no2no3\$", "^asked=\\d+ waited=\\d+ answered=\\d+ timed_out=0 gone=0 refused=0 waiting=0\$"]



=== TEST 9: internal redirects before and after a wait: try_files, error_page, X-Accel-Redirect
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream nobody {
        sticky_learn zone=nobody:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream second {
        sticky_learn zone=nobody create=$sent_http_x_session lookup=$http_x_second unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location = /try { try_files /nothing @u; }
    location @u { proxy_pass http://u; }
    location = /page { proxy_pass http://nobody/; error_page 404 = @u; }
    location = /same { proxy_pass http://nobody/; error_page 404 = @again; }
    location @again { proxy_pass http://nobody; }
    location = /other { proxy_pass http://nobody/; error_page 404 = @second; }
    location @second { proxy_pass http://second; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["GET /try", "GET /page", "GET /same", "GET /other", "GET /counts"]
--- more_headers eval
["X-Session: one", "X-Session: two", "X-Session: three", "X-Session: four\nX-Second: five", ""]
--- error_code eval
[200, 200, 404, 200, 200]
--- response_body_like eval
["^b\$", "^b\$", "404", "^b\$", "^asked=6 waited=6 answered=6 timed_out=0 gone=0 refused=0 waiting=0\$"]



=== TEST 10: a request with a body waits before the body is read
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=20ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        location / { return 500; }
    }
--- config
    location / { proxy_pass http://u; }
--- request eval
["POST /200\n" . "x" x 100_000, "POST /200\n" . "x" x 100_000]
--- more_headers
X-Session: one
--- error_code eval
[200, 200]
--- response_body eval
["b\n", "b\n"]



=== TEST 11: a server that the upstream does not have
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unavailable=reject;
        sticky_test_answer after=1ms server=127.0.0.1:1;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
--- story
    GET / | X-Session: one => 404 - GONE 127.0.0.1:1



=== TEST 12: a body that is too large never waits
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms server=$TEST_NGINX_B;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { client_max_body_size 10; proxy_pass http://u; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
["POST /\n0123456789a", "POST /\n0123456789", "GET /counts"]
--- more_headers eval
["X-Session: one", "X-Session: one", ""]
--- error_code eval
[413, 200, 200]
--- response_body_like eval
["413", "^b\$", "^asked=1 waited=1 answered=1 timed_out=0 gone=0 refused=0 waiting=0\$"]
--- no_error_log
[alert]
[emerg]



=== TEST 13: the upstream of each module that passes requests is known at the start
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
    }
--- config
    location /fastcgi { fastcgi_pass u; }
    location /uwsgi { uwsgi_pass u; }
    location /scgi { scgi_pass u; }
    location /grpc { grpc_pass u; }
    location /proxy { proxy_pass http://u; }
--- story
    GET /fastcgi | X-Session: one => 404 - UNKNOWN -
    GET /uwsgi | X-Session: one   => 404 - UNKNOWN -
    GET /scgi | X-Session: one    => 404 - UNKNOWN -
    GET /grpc | X-Session: one    => 404 - UNKNOWN -
    GET /proxy | X-Session: one   => 404 - UNKNOWN -



=== TEST 14: an initialize is not rejected, whatever the answer is
--- http_config
    upstream fails {
        sticky_learn zone=fails:1m;
        sticky_test_answer after=1ms failed;
        server $TEST_NGINX_A;
    }
    upstream nobody {
        sticky_learn zone=nobody:1m;
        sticky_test_answer after=1ms nobody;
        server $TEST_NGINX_A;
    }
--- config
    location /fails/ { proxy_pass http://fails/; }
    location /nobody/ { proxy_pass http://nobody/; }
    location = /counts { sticky_test_waiting counts; }
--- request eval
[(map { my $path = $_; map { "POST $path\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$_\"}" } qw(initialize tools/call) } qw(/fails/ /nobody/)), "GET /counts"]
--- more_headers eval
[("Mcp-Session-Id: old") x 4, ""]
--- error_code eval
[200, 503, 200, 404, 200]
--- response_body_like eval
[qr/^a$/, qr/-32/, qr/^a$/, qr/-32001/, qr/^asked=4 waited=4 answered=4 /]
