# Which ids are possible, and where an id is never shown.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an id of one byte
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=x          => 200 a NEW a
    GET /?new=y          => 200 b NEW b
    GET / | X-Session: x => 200 a HIT a
    GET / | X-Session: x => 200 a HIT a
    GET / | X-Session: y => 200 b HIT b
    GET / | X-Session: z => 404 - UNKNOWN -
    GET / | X-Session: 0 => 404 - UNKNOWN -



=== TEST 2: an id of one byte that is neither letter nor digit
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- request eval
[("GET /") x 74]
--- more_headers eval
my @bytes = map { chr } 0x21 .. 0x2f, 0x3a .. 0x40, 0x5b .. 0x60, 0x7b .. 0x7e, 0x80, 0x85, 0xa0, 0xc3, 0xff;
[(map { "X-New: $_" } @bytes), map { "X-Session: $_" } @bytes]
--- response_headers eval
my @servers = map { $_ % 2 ? "b" : "a" } 0 .. 36;
[(map { "X-Status: NEW\nX-Bound: $_" } @servers), map { "X-Status: HIT\nX-Server: $_" } @servers]



=== TEST 3: every byte that a header may hold, in one id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- request eval
["GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
my $id = CORE::join '', map { chr } 0x21 .. 0x7e, 0x20, 0x09, 0x80 .. 0xff;
my $other = $id;
$other =~ s/~ \t\x80/~\t \x80/;
["X-New: $id", "X-Session: $id", "X-Session: $id", "X-Session: $other"]
--- error_code eval
[200, 200, 200, 404]
--- response_headers eval
["X-Status: NEW\nX-Bound: a", "X-Status: HIT\nX-Server: a", "X-Status: HIT\nX-Server: a", "X-Status: UNKNOWN"]



=== TEST 4: an id of 8 KiB, to its last byte
--- http_config
    large_client_header_buffers 4 32k;
    client_header_buffer_size 32k;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- request eval
["GET /", "GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
my $id = "0123456789abcdef" x 512;
["X-New: $id", "X-Session: $id", "X-Session: $id", "X-Session: " . substr($id, 0, -1) . "e", "X-Session: " . substr($id, 0, -1)]
--- error_code eval
[200, 200, 200, 404, 404]
--- response_headers eval
["X-Status: NEW\nX-Bound: a", ("X-Status: HIT\nX-Server: a") x 2, ("X-Status: UNKNOWN") x 2]



=== TEST 5: ids of many lengths are all different
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
    }
--- request eval
[("GET /") x 72]
--- more_headers eval
my @lengths = (2 .. 33, 63, 64, 65, 200);
[(map { "X-New: " . "x" x $_ } @lengths), map { "X-Session: " . "x" x $_ } @lengths]
--- response_headers eval
[("X-Status: NEW") x 36, ("X-Status: HIT") x 36]



=== TEST 6: an id is in no log: learned, followed, unknown, refused, gone
--- http_config
    log_format sticky '$status $upstream_sticky_status $bound';
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unknown=reject unavailable=reject;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
    upstream w {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_B;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
    location /v { proxy_pass http://v; }
    location /w { proxy_pass http://w; }
--- request eval
["GET /", "GET /", "GET /", "GET /drop-a", "GET /v", "GET /w"]
--- more_headers eval
["X-New: s3cr3t", "X-Session: s3cr3t", "X-Session: s3cr3t-too", "X-Session: s3cr3t", "X-Session: s3cr3t", "X-Session: s3cr3t"]
--- error_code eval
[200, 200, 404, 502, 503, 404]
--- no_error_log
s3cr3t
[alert]
[emerg]
--- logged
200 NEW a
200 HIT a
404 UNKNOWN 
502 HIT a
503 UNAVAILABLE a
404 GONE a



=== TEST 7: an id in the query may be whatever a query may be
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$arg_id unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=%7B1%2F2%7D%3D-_.~!$'()*+,;:@ => 200 a NEW a
    GET /?id=%7B1%2F2%7D%3D-_.~!$'()*+,;:@  => 200 a HIT a
    GET /?id=%7B1%2F2%7D%3D-_.~!$'()*+,;:@  => 200 a HIT a
    GET /?id=%7b1%2f2%7d%3d-_.~!$'()*+,;:@  => 404 - UNKNOWN -
