# `server NAME resolve route=ROUTE drain` (nginx since 1.27.3): addresses come and go, the route stays with the name.

use lib 't/lib';
use Sticky;
use IO::Socket::INET;
use POSIX ();

# A name server of our own: "one" and "two" are an address each, "both" is both, "moves" is the first one when it is asked
# first in a block, then the second.
# Each block has another one, and all go on to the end: after a reload the workers before it may still ask theirs.
my @children;

sub serve_names($) {
    my $dns = shift;
    my %asked;
    while (defined(my $client = $dns->recv(my $query, 512))) {
        my ($id, $name) = unpack 'n x10 C/a', $query;
        my @last = $name eq 'both' ? (2, 3) : $name eq 'two' || $name eq 'moves' && $asked{$name}++ ? (3) : (2);
        my $question = substr $query, 12;
        my $answers = join '', map { pack 'n3 N n C4', 0xc00c, 1, 1, 1, 4, 127, 0, 0, $_ } @last;
        $dns->send(pack('n6 a* a*', $id, 0x8180, 1, scalar @last, 0, 0, $question, $answers), 0, $client);
    }
}

sub stop_names() {
    kill TERM => @children;
    waitpid $_, 0 for splice @children;
}

add_block_preprocessor(sub {
    return unless nginx_is_at_least('1.27.3');
    my $block = shift;
    $block->set_value(http_config => "    \$TEST_NGINX_RESOLVER\n" . $block->http_config =~ s/PORT/server_port()/egr);
    # nginx resolves the names after it has started.
    $block->set_value(init => 'select undef, undef, undef, 0.5;');
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

also_with_two_workers;
told_by_nginx;
nginx_is_at_least('1.27.3') ? plan 'no_plan' : plan skip_all => 'nginx does not resolve the servers of an upstream';
run_tests();

__DATA__

=== TEST 1: the route of a name
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server one:PORT resolve route=one;
        server two:PORT route=two resolve;
    }
--- story
    GET / | Cookie: srv=two => 200 y HIT y | srv=two
    GET / | Cookie: srv=two => 200 y HIT y | srv=two
    GET / | Cookie: srv=one => 200 x HIT x | srv=one
    GET / | Cookie: srv=one => 200 x HIT x | srv=one
    GET / | Cookie: srv=a   => 200 a HIT a | srv=a



=== TEST 2: the addresses of a name have an id each
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server both:PORT resolve;
    }
--- story
    GET / | Cookie: srv=<x> => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<x> => 200 x HIT x | srv=<x>
    GET / | Cookie: srv=<y> => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<y> => 200 y HIT y | srv=<y>
    GET / | Cookie: srv=<x> => 200 x HIT x | srv=<x>



=== TEST 3: or one route for them all
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server both:PORT resolve route=both;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET / | Cookie: srv=both => 200 * HIT * | srv=both
    GET / | Cookie: srv=both => 200 * HIT * | srv=both
    GET / | Cookie: srv=both => 200 * HIT * | srv=both
    GET / | Cookie: srv=a    => 200 a HIT a | srv=a



=== TEST 4: a name that moves takes its route along
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server moves:PORT resolve route=moves;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET / | Cookie: srv=moves         => 200 x HIT x | srv=moves
    after 5 GET / | Cookie: srv=moves => 200 y HIT y | srv=moves
    GET / | Cookie: srv=moves         => 200 y HIT y | srv=moves



=== TEST 5: but not the id of its address
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server moves:PORT resolve;
    }
--- story
    GET / | Cookie: srv=<x>         => 200 x HIT x     | srv=<x>
    after 5 GET / | Cookie: srv=<x> => 200 y UNKNOWN y | srv=<y>
    GET / | Cookie: srv=<y>         => 200 y HIT y     | srv=<y>



=== TEST 6: a name that drains
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server one:PORT resolve drain route=one;
        server moves:PORT resolve drain route=moves;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET /                             => 200 a NEW a | srv=a
    GET /                             => 200 a NEW a | srv=a
    GET / | Cookie: srv=one           => 200 x HIT x | srv=one
    GET / | Cookie: srv=moves         => 200 x HIT x | srv=moves
    after 5 GET / | Cookie: srv=moves => 200 y HIT y | srv=moves
    GET /                             => 200 a NEW a | srv=a



=== TEST 7: backup names
--- http_config
    upstream u {
        zone servers 128k;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a down;
        server one:PORT resolve backup route=one;
        server two:PORT resolve backup route=two;
    }
    upstream v {
        zone servers;
        sticky route $arg_to;
        server one:PORT resolve route=one;
        server two:PORT resolve backup route=two;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?to=two   => 200 y HIT y
    GET /?to=two   => 200 y HIT y
    GET /?to=one   => 200 x HIT x
    GET /v/?to=two => 200 x * -
    GET /v/?to=one => 200 x HIT x



=== TEST 8: two names of one address with two routes
--- http_config
    upstream u {
        zone servers 128k;
        sticky cookie srv;
        server one:PORT resolve route=first down;
        server moves:PORT resolve route=second;
        server $TEST_NGINX_A route=a;
    }
--- story
    GET / | Cookie: srv=second         => 200 x HIT x | srv=second
    GET / | Cookie: srv=first          => 200 * UNAVAILABLE *
    after 5 GET / | Cookie: srv=second => 200 y HIT y | srv=second
