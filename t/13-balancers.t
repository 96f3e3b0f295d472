# Every stock balancer, with and without zone, with keepalive before and behind: sessions find their servers through
# all of them, connections are reused, and requests without a session go where the balancer sends them.

use lib 't/lib';
use Sticky;

plan 'no_plan';

my $n = 0;
my $spec = '';

for my $balancer (
    '', 'least_conn;', 'ip_hash;', 'hash $uri;', 'hash $uri consistent;', 'random;', 'random two;',
    'random two least_conn;',
) {
    for my $zone ('', 'zone servers 64k;') {
        for my $order (
            'STICKY',
            'STICKY keepalive 8;',
            'keepalive 8; STICKY',
        ) {
            $n++;
            my $name = $balancer || 'round robin';
            $name =~ s/;//;
            my $title = join ', ', $name, $zone ? 'zone' : (),
                $order =~ /^keepalive/ ? 'keepalive before sticky_learn' : $order =~ /keepalive/ ? 'keepalive behind it' : ();
            # Since 1.29.7 connections are kept unless the configuration forbids it.
            my $reused = $order =~ /keepalive/ ? 'reused' : nginx_is_at_least('1.29.7') ? '*' : 'fresh';
            my $upstream = join ' ', grep { $_ } $zone, $balancer, $order;
            $upstream =~ s/STICKY/sticky_learn zone=sessions create=\$upstream_http_x_session lookup=\$http_x_session;/;
            $spec .= <<"END";
=== TEST $n: $title
--- http_config
    # Learns sessions of a server that the test names.
    upstream learn {
        hash \$uri;
        sticky_learn zone=sessions:1m create=\$upstream_http_x_session lookup=\$http_none;
        server \$TEST_NGINX_A;
    }
    upstream learn_b {
        sticky_learn zone=sessions create=\$upstream_http_x_session lookup=\$http_none;
        server \$TEST_NGINX_B;
    }
    upstream learn_c {
        sticky_learn zone=sessions create=\$upstream_http_x_session lookup=\$http_none;
        server \$TEST_NGINX_C;
    }
    upstream u {
        $upstream
        server \$TEST_NGINX_A;
        server \$TEST_NGINX_B;
        server \$TEST_NGINX_C;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /a/ { proxy_pass http://learn/; }
    location /b/ { proxy_pass http://learn_b/; }
    location /c/ { proxy_pass http://learn_c/; }
--- story
    GET /a/?new=one            => 200 a NEW a
    GET /b/?new=two            => 200 b NEW b
    GET /c/?new=three          => 200 c NEW c
    GET / | X-Session: one     => 200 a HIT a fresh
    GET / | X-Session: two     => 200 b HIT b fresh
    GET / | X-Session: three   => 200 c HIT c fresh
    GET / | X-Session: three   => 200 c HIT c $reused
    GET / | X-Session: one     => 200 a HIT a $reused
    GET / | X-Session: two     => 200 b HIT b $reused
    GET /                      => 200 * NONE - $reused
    GET / | X-Session: four    => 200 * UNKNOWN - $reused
    POST /201 | X-Session: one => 201 a HIT a $reused
    HEAD / | X-Session: two    => 200 b HIT b $reused
    GET /404 | X-Session: one  => 404 a HIT a $reused
    GET / | X-Session: one     => 200 a HIT a $reused
END
        }
    }
}

spec_string($spec);
run_tests();
