package Sticky::Gateway;

# Servers that speak FastCGI, SCGI or uwsgi: just enough for ngx_http_{fastcgi,scgi,uwsgi}_module, which send small
# requests without a body. They answer as those of Sticky.pm do: a letter, X-Server, X-Session on ?new=ID, X-Reused.
# They listen at $TEST_NGINX_RAND_PORT_4 (d) and _5 (e).

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();

my %port = (d => 4, e => 5);
my @children;

# For "init".
sub start {
    my $protocol = shift;
    for my $letter (sort keys %port) {
        my $listening = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1',
            LocalPort => $Test::Nginx::Util::RandPorts->{"TEST_NGINX_RAND_PORT_$port{$letter}"},
            Listen => 16,
            ReuseAddr => 1,
        ) or die "cannot listen: $!";
        my $child = fork() // die "cannot fork: $!";
        serve($listening, $protocol, $letter) if $child == 0;
        push @children, $child;
    }
}

sub stop {
    for my $child (splice @children) {
        kill TERM => $child;
        waitpid $child, 0;
    }
}

sub serve {
    my ($listening, $protocol, $letter) = @_;
    local $SIG{CHLD} = 'IGNORE';
    local $SIG{TERM} = 'DEFAULT';
    while (1) {
        my $socket = $listening->accept or next;
        if ((fork() // 0) == 0) {
            my $requests = 0;
            1 while answer($socket, $protocol, $letter, ++$requests);
            POSIX::_exit(0);
        }
        close $socket;
    }
}

# Whether the connection is kept.
sub answer {
    my ($socket, $protocol, $letter, $requests) = @_;
    my ($params, $id, $keep) = $protocol eq 'fastcgi' ? read_fastcgi($socket)
        : $protocol eq 'scgi' ? read_scgi($socket) : read_uwsgi($socket);
    return 0 unless defined $params;

    my $arguments = $params->{QUERY_STRING} // '';
    my ($code) = ($params->{REQUEST_URI} // '') =~ m{^/(\d+)};
    my @headers = ('Status: ' . ($code // 200), "X-Server: $letter", 'X-Reused: ' . ($requests > 1 ? 'reused' : 'fresh'));
    push @headers, "X-Session: $1" if $arguments =~ /\bnew=(\w+)/;
    my $response = join("\r\n", @headers, '', '') . "$letter\n";
    $response = record(6, $id, $response) . record(6, $id, '') . record(3, $id, "\0" x 8) if $protocol eq 'fastcgi';
    syswrite $socket, $response;
    return $keep;
}

sub read_exactly {
    my ($socket, $length) = @_;
    my $bytes = '';
    while (length $bytes < $length) {
        sysread($socket, $bytes, $length - length $bytes, length $bytes) or return undef;
    }
    return $bytes;
}

# https://python.ca/scgi/protocol.txt
sub read_scgi {
    my $socket = shift;
    my $length = '';
    while ($length !~ s/:$//) {
        $length .= read_exactly($socket, 1) // return;
    }
    my $text = read_exactly($socket, $length + 1) // return;
    return { split /\0/, substr $text, 0, $length };
}

# https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
sub read_uwsgi {
    my $socket = shift;
    my (undef, $length) = unpack 'C v C', read_exactly($socket, 4) // return;
    return { unpack '(v/a)*', read_exactly($socket, $length) // return };
}

# FastCGI Specification 1.0: records of begin (1), params (4), stdin (5), stdout (6), end (3).
sub read_fastcgi {
    my $socket = shift;
    my ($text, $id, $keep) = ('', 0, 0);
    while (1) {
        my (undef, $type, $of, $length, $padding) = unpack 'C C n n C x', read_exactly($socket, 8) // return;
        my $content = read_exactly($socket, $length + $padding) // return;
        substr $content, $length, $padding, '';
        ($id, $keep) = ($of, unpack('n C', $content) && (unpack 'n C', $content)[1] & 1) if $type == 1;
        $text .= $content if $type == 4;
        last if $type == 5 && $length == 0;
    }
    my %params;
    while (length $text) {
        my @lengths;
        for (1, 2) {
            my $length = unpack 'C', $text;
            my $wide = $length & 0x80;
            push @lengths, $wide ? (unpack 'N', $text) & 0x7fffffff : $length;
            substr $text, 0, $wide ? 4 : 1, '';
        }
        my $name = substr $text, 0, $lengths[0], '';
        $params{$name} = substr $text, 0, $lengths[1], '';
    }
    return \%params, $id, $keep;
}

sub record {
    my ($type, $id, $content) = @_;
    return pack('C C n n C x', 1, $type, $id, length $content, 0) . $content;
}

Test::Nginx::Util::add_test_cleanup_handler(\&stop);

1;
