# `server NAME resolve` (nginx since 1.27.3): addresses come and go, sessions are bound to the address.

use lib 't/lib';
use Sticky;
use IO::Socket::INET;
use POSIX ();

# A name server of our own: "a" and "b" are 127.0.0.1, "moves" is 127.0.0.1 when it is asked first in a block, then 127.0.0.2.
# Each block has another one, and all go on to the end: after a reload the workers before it may still ask theirs.
my @children;

sub serve_names($) {
    my $dns = shift;
    my %asked;
    while (defined(my $client = $dns->recv(my $query, 512))) {
        my ($id, $name) = unpack 'n x10 C/a', $query;
        my $last = $name eq 'moves' && $asked{$name}++ ? 2 : 1;
        my $question = substr $query, 12;
        $dns->send(pack('n6 a* n3 N n C4', $id, 0x8180, 1, 1, 0, 0, $question, 0xc00c, 1, 1, 1, 4, 127, 0, 0, $last), 0, $client);
    }
}

sub stop_names() {
    kill TERM => @children;
    waitpid $_, 0 for splice @children;
}

add_block_preprocessor(sub {
    return unless nginx_is_at_least('1.27.3');
    my $dns = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp') or die "cannot listen: $!";
    $ENV{TEST_NGINX_RESOLVER} = 'resolver 127.0.0.1:' . $dns->sockport . ' ipv6=off valid=3s;';
    my $child = fork() // die "cannot fork: $!";
    if ($child == 0) {
        $SIG{TERM} = sub { POSIX::_exit(0) };
        serve_names($dns);
        POSIX::_exit(0);
    }
    push @children, $child;
});
add_cleanup_handler(\&stop_names);

nginx_is_at_least('1.27.3') ? plan 'no_plan' : plan skip_all => 'nginx does not resolve the servers of an upstream';
run_tests();

__DATA__

=== TEST 1: sessions find servers that were resolved
--- http_config
    $TEST_NGINX_RESOLVER
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server a:$TEST_NGINX_RAND_PORT_1 resolve;
        server b:$TEST_NGINX_RAND_PORT_2 resolve;
    }
--- init
    select undef, undef, undef, 0.5;
--- story
    GET /?new=one          => 200 A NEW
    GET /?new=two          => 200 B NEW
    GET / | X-Session: one => 200 A HIT
    GET / | X-Session: one => 200 A HIT
    GET / | X-Session: two => 200 B HIT
    GET / | X-Session: two => 200 B HIT
    after 4.5 GET / | X-Session: one => 200 A HIT
    GET / | X-Session: two => 200 B HIT



=== TEST 2: with keepalive on either side, and a balancer
--- http_config
    $TEST_NGINX_RESOLVER
    upstream u {
        zone servers 64k;
        least_conn;
        keepalive 2;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server a:$TEST_NGINX_RAND_PORT_1 resolve;
        server b:$TEST_NGINX_RAND_PORT_2 resolve;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
--- init
    select undef, undef, undef, 0.5;
--- story
    GET /?new=one          => 200 A NEW * fresh
    GET / | X-Session: one => 200 A HIT * reused
    GET / | X-Session: one => 200 A HIT * reused



=== TEST 3: an address that its name no longer has is reached by its sessions until gone_after, and gone then, though it answers
--- http_config
    $TEST_NGINX_RESOLVER
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     unavailable=reject gone_after=4s;
        server moves:$TEST_NGINX_RAND_PORT_1 resolve;
    }
    server {
        listen 127.0.0.2:$TEST_NGINX_RAND_PORT_1;
        add_header X-Server d always;
        add_header X-Session $arg_new always;
        location / { return 200 "d\n"; }
    }
--- init
    select undef, undef, undef, 0.3;
--- story
    GET /?new=one                  => 200 a NEW a
    GET / | X-Session: one         => 200 a HIT a
    after 4.5 GET / | X-Session: one => 200 a HIT a
    GET /                          => 200 d NONE -
    after 5 GET / | X-Session: one => 404 - GONE a
    GET / | X-Session: one         => 200 d UNKNOWN -
    GET /?new=two                  => 200 d NEW
    GET / | X-Session: two         => 200 d HIT



=== TEST 4: a response that is open while its address goes does no harm
--- http_config
    $TEST_NGINX_RESOLVER
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=rebind gone_after=1s;
        server moves:$TEST_NGINX_RAND_PORT_1 resolve;
    }
    server {
        listen 127.0.0.2:$TEST_NGINX_RAND_PORT_1;
        add_header X-Server d always;
        location / { return 200 "d\n"; }
    }
--- init
    select undef, undef, undef, 0.5;
    Sticky::hold('GET /slow?new=one&rate=200');
    Sticky::wait_until_served_by('d');
    # gone_after
    select undef, undef, undef, 3;
--- story
    GET / | X-Session: one         => 200 d REBOUND
    after 5 GET / | X-Session: one => 200 d HIT
    GET / | X-Session: one         => 200 d HIT
