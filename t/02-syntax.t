# Syntax of a configuration: sizes, times, orders, repetitions.

use lib 't/lib';
use Sticky;

plan 'no_plan';

my $n = 0;
my $spec = '';

# Each of these is accepted, and works.
for (
    ['a size in kilobytes'                  => 'zone=sessions:64k'],
    ['a size in capitals'                   => 'zone=sessions:1M'],
    ['a size in bytes'                      => 'zone=sessions:65536'],
    ['the smallest zone, eight pages'       => 'zone=sessions:32k'],
    ['a size that is no number of pages'    => 'zone=sessions:100001'],
    ['a large zone'                         => 'zone=sessions:64m'],
    ['a name with all that names may hold'  => 'zone=my-sessions.2_x:1m'],
    ['a timeout in minutes and seconds'     => 'zone=sessions:1m timeout=1m30s'],
    ['a timeout in milliseconds'            => 'zone=sessions:1m timeout=5000ms'],
    ['a timeout without a unit'             => 'zone=sessions:1m timeout=90'],
    ['a timeout of weeks'                   => 'zone=sessions:1m timeout=52w'],
    ['a lifetime shorter than the timeout'  => 'zone=sessions:1m timeout=1h lifetime=1m'],
    ['a lifetime longer than the timeout'   => 'zone=sessions:1m timeout=1m lifetime=1h'],
    ['unknown and unavailable in full'      => 'zone=sessions:1m unknown=balance unavailable=rebind gone_after=1m'],
    ['unknown and unavailable that reject'  => 'zone=sessions:1m unknown=reject unavailable=reject gone_after=1d'],
    ['unavailable that keeps the session'   => 'zone=sessions:1m unavailable=balance'],
    ['a bind value'                         => 'zone=sessions:1m bind=$remote_addr'],
    ['a parameter in quotes'                => '"zone=sessions:1m" "timeout=1m"'],
) {
    my ($title, $parameters) = @$_;
    $n++;
    $spec .= <<"END";
=== TEST $n: $title
--- http_config
    upstream u {
        sticky_learn $parameters create=\$sent_http_x_session lookup=\$http_x_session;
        server \$TEST_NGINX_A;
        server \$TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
END
}

# At any place in its upstream, and over several lines.
for (
    ['the directive before the servers' => 'STICKY server $TEST_NGINX_A; server $TEST_NGINX_B;'],
    ['the directive behind the servers' => 'server $TEST_NGINX_A; server $TEST_NGINX_B; STICKY'],
    ['the directive between them'       => 'server $TEST_NGINX_A; STICKY server $TEST_NGINX_B;'],
    ['the directive before zone'        => 'STICKY zone servers 64k; server $TEST_NGINX_A; server $TEST_NGINX_B;'],
    ['the directive behind zone'        => 'zone servers 64k; STICKY server $TEST_NGINX_A; server $TEST_NGINX_B;'],
    ['the directive before a balancer'  => 'STICKY least_conn; server $TEST_NGINX_A; server $TEST_NGINX_B;'],
    ['the directive behind a balancer'  => 'least_conn; STICKY server $TEST_NGINX_A; server $TEST_NGINX_B;'],
) {
    my ($title, $upstream) = @$_;
    $n++;
    my $sticky = "\n        sticky_learn\n            create=\$sent_http_x_session # a comment\n"
        . "            lookup=\$http_x_session\n            zone=sessions:1m;\n        ";
    $upstream =~ s/STICKY /$sticky/;
    $upstream =~ s/STICKY$/$sticky/;
    $spec .= <<"END";
=== TEST $n: $title
--- http_config
    upstream u {
        $upstream
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
END
}

spec_string($spec);
run_tests();
