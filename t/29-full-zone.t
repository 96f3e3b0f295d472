# A full zone evicts the sessions that have been idle for longest, and learns new ones.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

# Times of use are compared in steps of 64 ms. Sessions of the same step are equals, and a quick machine makes more than
# a thousand in one: a test that says which ones go lets time pass between them.

=== TEST 1: there are more sessions than the zone has room for: the last ones are there, the first ones are not
--- http_config
    keepalive_requests 10000;
    upstream u {
        sticky_learn zone=sessions:32k create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        keepalive 2;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
--- init
    for my $batch (0 .. 5) {
        Sticky::ask_many(map { "/?new=s$_" } 500 * $batch + 1 .. 500 * ($batch + 1));
        select undef, undef, undef, 0.15;
    }
--- story
    GET / | X-Session: s3000 => 200 a HIT a
    GET / | X-Session: s2999 => 200 a HIT a
    GET / | X-Session: s1    => 404 - UNKNOWN -
    GET / | X-Session: s2    => 404 - UNKNOWN -
    GET /?new=one            => 200 a NEW a
    GET / | X-Session: one   => 200 a HIT a



=== TEST 2: a session in use is none of those that go
--- http_config
    keepalive_requests 10000;
    upstream u {
        sticky_learn zone=sessions:32k create=$upstream_http_x_session lookup=$http_x_session lookup=$arg_id
                     unknown=reject;
        server $TEST_NGINX_A;
        keepalive 2;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
--- init
    Sticky::ask_many('/?new=one');
    for my $batch (1 .. 30) {
        Sticky::ask_many('/?id=one', map { "/?new=s$batch-$_" } 1 .. 100);
        select undef, undef, undef, 0.1;
    }
--- story
    GET / | X-Session: one     => 200 a HIT a
    GET / | X-Session: s1-1    => 404 - UNKNOWN -
    GET / | X-Session: s30-100 => 200 a HIT a



=== TEST 3: sessions that have timed out make room
--- http_config
    keepalive_requests 10000;
    upstream u {
        sticky_learn zone=sessions:32k create=$upstream_http_x_session lookup=$http_x_session
                     timeout=3s unknown=reject;
        server $TEST_NGINX_A;
        keepalive 2;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
--- init
    Sticky::ask_many(map { "/?new=s$_" } 1 .. 1500);
    select undef, undef, undef, 3.3;
    Sticky::ask_many(map { "/?new=t$_" } 1 .. 300);
--- story
    GET / | X-Session: t1   => 200 a HIT a
    GET / | X-Session: t300 => 200 a HIT a
    GET / | X-Session: s1500 => 404 - UNKNOWN -
