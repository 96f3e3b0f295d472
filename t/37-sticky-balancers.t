# Every stock balancer with sticky, before or behind it.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
also_with_two_workers;

# Each block runs with each balancer, in both orders.
my @balancers = ('', 'least_conn;', 'ip_hash;', 'hash $arg_key;', 'hash $arg_key consistent;', 'random;', 'random two;',
    'random two least_conn;');
my ($text) = do { local $/; <DATA> };
my $number = 0;
my $blocks = '';
for my $balancer (@balancers) {
    my $name = $balancer || 'round robin';
    for my $block (split /^(?==== )/m, $text) {
        # ip_hash, hash and random know no backup servers.
        next if $block =~ /backup/ && $balancer =~ /^(?:ip_hash|hash|random)/;
        for my $order ($balancer ? ('before', 'behind') : 'before') {
            my ($first, $last) = $order eq 'before' ? ($balancer, '') : ('', $balancer);
            $number++;
            $blocks .= $block =~ s/^=== /=== TEST $number: $name $order: /r =~ s/FIRST/$first/gr =~ s/LAST/$last/gr;
        }
    }
}
spec_string($blocks);
run_tests();

__DATA__
=== a cookie
--- http_config
    upstream u {
        zone servers 64k;
        FIRST
        sticky cookie srv;
        LAST
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
    }
--- story
    GET /                       => 200 * NEW *
    GET /?key=1 | Cookie: srv=c => 200 c HIT c | srv=c
    GET /?key=2 | Cookie: srv=c => 200 c HIT c | srv=c
    GET /?key=3 | Cookie: srv=a => 200 a HIT a | srv=a
    GET /?key=4 | Cookie: srv=b => 200 b HIT b | srv=b
    GET /?key=4 | Cookie: srv=d => 200 * UNKNOWN *


=== a route, a server that drains, and no zone
--- http_config
    upstream u {
        FIRST
        sticky route $arg_to;
        LAST
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B;
    }
--- story
    GET /?key=1      => 200 b NONE -
    GET /?key=2      => 200 b NONE -
    GET /?key=3      => 200 b NONE -
    GET /?key=4      => 200 b NONE -
    GET /?key=1&to=a => 200 a HIT a
    GET /?key=2&to=a => 200 a HIT a
    GET /?key=1&to=x => 200 b UNKNOWN -


=== a bound server that fails
--- http_config
    upstream u {
        zone servers 64k;
        FIRST
        sticky cookie srv;
        LAST
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /drop-a?key=1 | Cookie: srv=a => 200 b UNAVAILABLE b | srv=b
    GET /?key=2 | Cookie: srv=a       => 200 b UNAVAILABLE b | srv=b
    GET /?key=3                       => 200 b NEW b         | srv=b


=== a learned session
--- http_config
    upstream u {
        zone servers 64k;
        FIRST
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        LAST
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /?new=one&key=1          => 200 S NEW
    GET /?key=2 | X-Session: one => 200 S HIT
    GET /?key=3 | X-Session: one => 200 S HIT
    GET /?key=4 | X-Session: one => 200 S HIT


=== a backup server
--- http_config
    upstream u {
        zone servers 64k;
        FIRST
        sticky cookie srv;
        LAST
        server $TEST_NGINX_A route=a down;
        server $TEST_NGINX_B route=b backup;
        server $TEST_NGINX_C route=c backup;
    }
--- story
    GET / | Cookie: srv=c => 200 c HIT c | srv=c
    GET / | Cookie: srv=c => 200 c HIT c | srv=c
    GET / | Cookie: srv=b => 200 b HIT b | srv=b
    GET / | Cookie: srv=a => 200 * UNAVAILABLE *


