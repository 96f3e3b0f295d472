# Two workers: each knows the sessions that the other one has learned.

use lib 't/lib';
use Sticky;

plan 'no_plan';

master_on();
workers(2);

# The server of each block passes its requests on to another one, for whose connections the two workers are drawn by
# lot: X-Status and X-Bound come from there, as does a log of the workers that took part.
my $front = <<'END';
    log_format worker $pid;
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_6 reuseport;
        access_log logs/workers.log worker;
        add_header X-Status $upstream_sticky_status always;
        add_header X-Bound $bound always;
        location / { proxy_pass http://u; }
        location /v/ { proxy_pass http://v/; }
    }
END

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => $block->http_config . $front
        . ($block->http_config =~ /upstream v/ ? '' : "    upstream v { server 127.0.0.1:1; }\n"));
    $block->set_value(config => '    location / { proxy_pass http://127.0.0.1:$TEST_NGINX_RAND_PORT_6; }');
});

add_test_cleanup_handler(sub {
    my $block = shift;
    open my $log, '<', server_root() . '/logs/workers.log' or die "no log of the workers: $!";
    my %workers = map { $_ => 1 } <$log>;
    Test::More::is(keys %workers, 2, $block->name . ' - both workers took part');
});

run_tests();

__DATA__

=== TEST 1: sessions are followed by both
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
CORE::join '', (map { "GET /?new=$_ => 200 $_ NEW\n" } 'A' .. 'J'),
    (map { "GET / | X-Session: $_ => 200 $_ HIT\n" } ('A' .. 'J') x 3)



=== TEST 2: with zone
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
CORE::join '', (map { "GET /?new=$_ => 200 $_ NEW\n" } 'A' .. 'J'),
    (map { "GET / | X-Session: $_ => 200 $_ HIT\n" } ('A' .. 'J') x 3)



=== TEST 3: with least_conn and keepalive
--- http_config
    upstream u {
        least_conn;
        keepalive 8;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
CORE::join '', (map { "GET /?new=$_ => 200 $_ NEW\n" } 'A' .. 'J'),
    (map { "GET / | X-Session: $_ => 200 $_ HIT\n" } ('A' .. 'J') x 3)



=== TEST 4: unknown is unknown to both
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
"GET / | X-Session: stranger => 404 - UNKNOWN -\n" x 20



=== TEST 5: a session that has moved has moved for both
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=rebind;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=rebind;
        server $TEST_NGINX_B;
    }
--- story eval
"GET /?new=one => 200 a NEW a\n" . "GET / | X-Session: one => 200 a HIT a\n" x 10
. "GET /v/ | X-Session: one => 200 b REBOUND b\n" . "GET /v/ | X-Session: one => 200 b HIT b\n" x 10



=== TEST 6: a server that is gone is gone for both
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject gone_after=2s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- story eval
CORE::join '', "GET /?new=1 => 200 a NEW a\n", "GET /v/ | X-Session: 1 => 503 - UNAVAILABLE a\n",
    (map { "GET /?new=$_ => 200 a NEW a\n" } 2 .. 10), "after 2.5 GET /v/ | X-Session: 1 => 404 - GONE a\n",
    (map { "GET /v/ | X-Session: $_ => 404 - GONE a\n" } 2 .. 10), (map { "GET / | X-Session: $_ => 200 a UNKNOWN -\n" } 1 .. 10)



=== TEST 7: an open response of one keeps the session alive for the other
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session timeout=1s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
"GET /slow?new=A => 200 A NEW\n" . "GET / | X-Session: A => 200 A HIT\n" x 20



=== TEST 8: a session that was forgotten is forgotten by both
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session timeout=1s unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story eval
"GET /?new=A => 200 A NEW\n" . "GET / | X-Session: A => 200 A HIT\n" x 10
. "after 1.2 GET / | X-Session: A => 404 - UNKNOWN -\n" . "GET / | X-Session: A => 404 - UNKNOWN -\n" x 10
