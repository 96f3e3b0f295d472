# MCP: an initialize is never rejected for an id that it carries. The server decides what to do with that.

use lib 't/lib';
use Sticky;

also_with_two_workers();

our $upstream = <<'END';
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
END

# Like u, but without server a.
our $upstreams = $upstream . <<'END';
    upstream without_a {
        sticky_learn zone=sessions;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
END

our $not_found = '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}';

sub message($;$) {
    my ($method, $padding) = @_;
    return qq({"jsonrpc":"2.0","id":1,"params":{"padding":") . 'x' x ($padding // 0) . qq("},"method":"$method"});
}

sub chunked($@) {
    my ($line, @chunks) = @_;
    my $head = "$line HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: old\r\nConnection: close\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n";
    return join '', $head, map({ sprintf "%x\r\n%s\r\n", length, $_ } @chunks), "0\r\n\r\n";
}

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an unknown id is balanced, and the id of the answer is learned
--- http_config eval: $::upstream
--- story
    POST /?mcp=one with initialize | Mcp-Session-Id: null                                 => 200 A NEW A
    POST / with tools/list | Mcp-Session-Id: one                                          => 200 A HIT A
    POST /?mcp=two with initialize | Mcp-Session-Id: undefined                            => 200 B NEW B
    POST / with tools/list | Mcp-Session-Id: two                                          => 200 B HIT B
    POST /?mcp=three with initialize | Mcp-Session-Id: 7d5c5a2e-8d0f-4f3b-9f0e-2f4f6b1c9a10 => 200 C NEW C
    POST / with tools/list | Mcp-Session-Id: three                                        => 200 C HIT C
    POST / with tools/list | Mcp-Session-Id: null                                         => 404 - UNKNOWN -



=== TEST 2: an id that the server accepts is learned
--- http_config eval: $::upstream
--- story
    POST /?mcp=mine with initialize | Mcp-Session-Id: mine => 200 A NEW A
    POST / with tools/list | Mcp-Session-Id: mine          => 200 A HIT A



=== TEST 3: the server decides: its errors are passed on and teach nothing
--- http_config eval: $::upstream
--- story
    POST /404?mcp=one with initialize | Mcp-Session-Id: old => 404 * UNKNOWN -
    POST /401?mcp=one with initialize | Mcp-Session-Id: old => 401 * UNKNOWN -
    POST / with initialize | Mcp-Session-Id: old            => 200 * UNKNOWN -
    POST / with tools/list | Mcp-Session-Id: one            => 404 - UNKNOWN -



=== TEST 4: other methods with an unknown id are rejected
--- http_config eval: $::upstream
--- request eval
[
    map { "POST /?mcp=x\n$_" }
    ::message('tools/call'), ::message('notifications/initialized'), ::message('ping'), ::message('Initialize'),
    ::message('initialized'), ::message('initialize '), '', '{}', '[]', 'initialize', '"initialize"', '["initialize"]',
    '{"method":1}', '{"method":["initialize"]}', '{"params":{"method":"initialize"}}', '[[{"method":"initialize"}]]',
]
--- more_headers eval
[('Mcp-Session-Id: old') x 16]
--- error_code eval
[(404) x 16]
--- response_headers eval
[("Content-Type: application/json\nX-Status: UNKNOWN\n! X-Server") x 16]
--- response_body eval
[($::not_found) x 16]



=== TEST 5: nor are other HTTP methods read
--- http_config eval: $::upstream
--- story
    GET / | Mcp-Session-Id: old                  => 404 - UNKNOWN -
    DELETE / | Mcp-Session-Id: old               => 404 - UNKNOWN -
    PUT / with initialize | Mcp-Session-Id: old    => 404 - UNKNOWN -
    DELETE / with initialize | Mcp-Session-Id: old => 404 - UNKNOWN -



=== TEST 6: a body is read as servers read it
--- http_config eval: $::upstream
--- story
    POST / with {"method":"initialize"}                                            | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with [{"method":"ping"},{"method":"initialize"}]                        | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with [{"method":"initialize"},{"method":"ping"}]                        | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with {"params":{"method":"ping"},"method":"initialize"}                 | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with {"method":"ping","method":"initialize"}                            | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with {"method":"initialize","method":"ping"}                            | Mcp-Session-Id: old => 404 - UNKNOWN -
    POST / with {"m\u0065thod":"\u0069nitialize"}                                  | Mcp-Session-Id: old => 200 * UNKNOWN -
    POST / with { "method" : "initialize" , "params" : { "a" : [ 1 , { } ] } }     | Mcp-Session-Id: old => 200 * UNKNOWN -



=== TEST 7: in a chunked body, too
--- http_config eval: $::upstream
--- raw_request eval: ::chunked('POST /?mcp=one', ::message('initialize') =~ /.{1,3}/g)
--- error_code: 200
--- response_headers
X-Status: NEW



=== TEST 8: where another method is rejected
--- http_config eval: $::upstream
--- raw_request eval: ::chunked('POST /?mcp=one', '{"method":', '"ping"}')
--- error_code: 404
--- response_headers
X-Status: UNKNOWN
--- response_body eval: $::not_found



=== TEST 9: after 64 KiB at the latest
--- http_config eval: $::upstream
--- raw_request eval: ::chunked('POST /', '{"params":"', ('x' x 1000) x 900, '","method":"initialize"}')
--- error_code: 404
--- response_headers
Connection: close
X-Status: UNKNOWN
--- response_body eval: $::not_found



=== TEST 10: a known id whose server is available goes there
--- http_config eval: $::upstream
--- story
    POST /?mcp=one                                        => 200 A NEW A
    POST /?mcp=two with initialize | Mcp-Session-Id: one    => 200 A NEW A
    POST /?mcp=three with initialize | Mcp-Session-Id: one  => 200 A NEW A
    POST / with tools/list | Mcp-Session-Id: one            => 200 A HIT A



=== TEST 11: one whose server cannot be reached is balanced, and its session stays
--- http_config eval: $::upstreams
--- config
    location / { proxy_pass http://u; }
    location = /201 { proxy_pass http://without_a; }
--- story
    POST /?mcp=one                                           => 200 a NEW a
    POST /201 with tools/list | Mcp-Session-Id: one            => 503 - UNAVAILABLE a
    POST /201?mcp=two with initialize | Mcp-Session-Id: one    => 201 B NEW B
    POST /201?mcp=three with initialize | Mcp-Session-Id: one  => 201 C NEW C
    POST /201 with initialize | Mcp-Session-Id: one            => 201 * UNAVAILABLE -
    POST / with tools/list | Mcp-Session-Id: one               => 200 a HIT a
    POST / with tools/list | Mcp-Session-Id: two               => 200 B HIT B
    POST /201 with tools/list | Mcp-Session-Id: three          => 201 C HIT C



=== TEST 12: one whose server is not in the upstream any more is balanced, and its session stays
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /201 { proxy_pass http://v; }
--- story
    POST /?mcp=one                                        => 200 a NEW a
    POST /201?mcp=two with initialize | Mcp-Session-Id: one => 201 b NEW b
    POST / with tools/list | Mcp-Session-Id: one            => 200 a HIT a
    POST /201 with tools/list | Mcp-Session-Id: one         => 404 - GONE a
    POST / with tools/list | Mcp-Session-Id: one            => 404 - UNKNOWN -



=== TEST 13: a server that is found unreachable in the request itself is left, and the others are tried
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_DEAD;
        server 127.0.0.1:1 weight=9;
        server $TEST_NGINX_A;
    }
    upstream dead {
        sticky_learn zone=sessions;
        server $TEST_NGINX_DEAD;
    }
--- config
    location / { proxy_pass http://u; }
    location = /begin { proxy_pass http://dead/; }
--- init
    Sticky::answer_once("Mcp-Session-Id: one");
--- no_error_log
[alert]
[emerg]
--- story
    POST /begin                                        => 200 dead NEW dead
    POST /?mcp=two with initialize | Mcp-Session-Id: one => 200 A NEW A
    POST / with tools/list | Mcp-Session-Id: two         => 200 A HIT A



=== TEST 14: with lines that differ nothing is read
--- http_config eval: $::upstream
--- story
    POST / with initialize | Mcp-Session-Id: one | Mcp-Session-Id: two => 400 - UNKNOWN -



=== TEST 15: a stream of HTTP+SSE is no session that an initialize could leave
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /messages { if ($http_x_v) { proxy_pass http://v; } proxy_pass http://u; }
--- story
    GET /sse?id=one                                          => 200 a * *
    POST /messages?sessionId=one with initialize               => 200 a HIT a
    POST /messages?sessionId=one with initialize | X-V: 1      => 503 - UNAVAILABLE a



=== TEST 16: ids of one's own are rejected as before
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_mcp_session_id lookup=$http_mcp_session_id unknown=reject;
        server $TEST_NGINX_A;
    }
--- story
    POST /?mcp=one with initialize | Mcp-Session-Id: old => 404 - UNKNOWN -



=== TEST 17: error_page gets the whole body of what is rejected
--- http_config eval: $::upstream . '    upstream other { server $TEST_NGINX_C; }'
--- config
    error_page 404 = @other;
    location / { proxy_pass http://u; }
    location @other { proxy_pass http://other; }
--- request eval
["POST /\n" . ::message('ping'), "POST /\n" . ::message('ping', 900_000), "POST /\n" . ::message('initialize')]
--- more_headers
Mcp-Session-Id: old
--- response_headers_like eval
["X-Server: c", "X-Server: c", "X-Server: [ab]"]



=== TEST 18: a method at the end of a large body does not count, one within the first 64 KiB does
--- http_config eval: $::upstream
--- config
    location / { proxy_pass http://u; }
--- request eval
[
    "POST /?mcp=one\n" . ::message('initialize', 2_000_000),
    "POST /?mcp=two\n" . ::message('initialize', 60_000),
    "POST /?mcp=three\n" . '{"method":"initialize","params":"' . 'x' x 900_000 . '"}',
    "POST /?mcp=four\n" . ::message('initialize', 65_535),
]
--- more_headers
Mcp-Session-Id: old
--- error_code eval
[404, 200, 200, 404]
--- response_headers eval
["Content-Type: application/json\nConnection: close\nX-Status: UNKNOWN", "X-Status: NEW", "X-Status: NEW", "X-Status: UNKNOWN"]
--- response_body_like eval
[quotemeta $::not_found, "[ab]", "[ab]", quotemeta $::not_found]



=== TEST 19: whatever the size of the buffer
--- http_config eval: $::upstream
--- config
    client_body_buffer_size 4m;
    location / { proxy_pass http://u; }
    location = /201 { client_body_buffer_size 1k; proxy_pass http://u; }
    location = /202 { client_body_in_file_only clean; proxy_pass http://u; }
    location = /403 { client_body_in_single_buffer on; proxy_pass http://u; }
--- request eval
[
    map { my $uri = $_; map { "POST $uri\n$_" }
        ::message('initialize', 50_000), ::message('ping', 50_000), ::message('initialize', 200_000) }
    '/', '/201', '/202', '/403'
]
--- more_headers
Mcp-Session-Id: old
--- error_code eval
[200, 404, 404, 201, 404, 404, 202, 404, 404, 403, 404, 404]



=== TEST 20: with unknown=balance nothing is read
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unknown=balance;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one with initialize | Mcp-Session-Id: old => 200 A NEW A
    POST / with tools/list | Mcp-Session-Id: old         => 200 B UNKNOWN -



=== TEST 21: a mirror gets the whole body, and an upstream named by a variable decides as well
--- http_config eval: $::upstream
--- config
    location / { mirror /mirror; proxy_pass http://u; }
    location = /mirror { internal; proxy_pass http://$TEST_NGINX_C/204; }
    location = /201 { set $name u; proxy_pass http://$name; }
--- request eval
[
    map { my $uri = $_; map { "POST $uri\n$_" }
        ::message('initialize'), ::message('ping'), ::message('ping', 200_000) }
    '/', '/201'
]
--- more_headers
Mcp-Session-Id: old
--- error_code eval
[200, 404, 404, 201, 404, 404]
--- response_headers eval
[("X-Status: UNKNOWN") x 6]
