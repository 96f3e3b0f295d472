package Sticky;

# Shared code of the suites.
#
# Three servers, a, b and c, which answer with their letter, and say in X-Server who they are and in X-Reused whether
# their connection has seen requests before. A request tells them what to do:
#     ?new=ID, X-New: ID    issue a session, in header X-Session     ?own=ID   issue one of their own: a-ID, b-ID, c-ID
#     ?mcp=ID, ?cookie=TEXT the same in Mcp-Session-Id, Set-Cookie   ?mcp2=ID  a second Mcp-Session-Id
#     /blanks?mcp=ID        Mcp-Session-Id and X-Session with spaces and tabs around
#     ?cookie2=TEXT         a second Set-Cookie
#     ?encoding=NAME        say that the body is encoded
#     /sse?id=ID            issue a session in an endpoint event     /endpoint, X-To: DATA  the same with these data
#     /task?id=ID&ttl=MS    issue a task; /task-in-events does so in a stream, /long-task
#                           at the end of a long answer
#     /404                  answer with that status                  /404-a    a answers with that status, the others 200
#     /slow, /slow?rate=500 take two, four seconds for a body        /drop-a   a closes the connection, the others answer
#                                                                              (and so on for each of them)
# Two more servers, x and y, do the same, at addresses that are the same in every block: $TEST_NGINX_X and _Y.
# In a configuration their addresses are $TEST_NGINX_A, _B and _C; nobody listens at $TEST_NGINX_DEAD, but for the one
# request that "answer_once" takes there.
#
# A block without "config" proxies everything to the upstream "u". $upstream_sticky_status and the letter of
# $upstream_sticky_server come back in X-Status and X-Bound.
#
# "story" is a list of requests, each on a connection of its own, and what comes of them:
#
#     [after SECONDS] METHOD URI [with BODY] [| Header: value]... => CODE SERVER STATUS [BOUND [REUSED]] [| COOKIE [+ COOKIE]...]
#
# A body that is one word stands for the JSON-RPC request with that method. A dash stands for a header that is not there,
# an asterisk for anything, a capital letter for a server that is the same wherever the story names it. If cookies are
# named, they are all that the answer sets, in this order. In a story, <x> is the MD5 of that server's address, <TEXT>
# that of a text, and <+SECONDS> such a time from now, as cookies have it.
#
# A file that says "also_with_two_workers" passes with two as well (tools/test-t). "told_by_nginx" says that the stories
# are those of nginx's own sticky, too, which knows none of our variables.
#
# A file that says "with_testing_module" runs with the object that also has the directives of module/testing/.
#
# "ZONE" is the name of the block's first zone, for Lua.
#
# "logged" is what logs/sticky.log holds when all requests are done.
#
# "told" is a pattern for a line of the error log when all requests are done.
#
# "wrong" is a line of an upstream that nginx must refuse with one message, that of "emerg", at that line.

use Sticky::Events;
use Test::Nginx::Socket -Base;
use Digest::MD5 qw(md5_hex);
use IO::Select;
use IO::Socket::INET;
use POSIX ();

our @EXPORT = qw(nginx_is_at_least nginx_was_built_with hold let_go ask_many answer_once also_with_two_workers
    told_by_nginx with_testing_module);

my %port = (A => 1, B => 2, C => 3, DEAD => 9);

# The port that nginx listens on anyway, at other addresses of this machine.
my %known = (x => '127.0.0.2:' . server_port(), y => '127.0.0.3:' . server_port());

my $zones = 0;

my $told_by_nginx;

my ($ephemeral) = do {
    open my $range, '<', '/proc/sys/net/ipv4/ip_local_port_range';
    defined fileno $range ? <$range> =~ /(\d+)/ : 65536;
};

log_level('info');
no_root_location();
no_long_string();

# Ports that no outgoing connection of this machine may hold at the moment.
my $gen_rand_port = \&Test::Nginx::Util::gen_rand_port;
{
    no warnings 'redefine', 'prototype';
    *Test::Nginx::Util::gen_rand_port = sub {
        my $port;
        for (1 .. 100) {
            $port = $gen_rand_port->(@_);
            last if !defined $port || $port < $ephemeral;
        }
        return $port;
    };
}

sub nginx_is_at_least($) {
    my ($major, $minor, $patch) = split /\./, shift;
    return $ENV{TEST_NGINX_VERSION_NUM} >= ($major * 1000 + $minor) * 1000 + $patch;
}

sub nginx_was_built_with($) {
    my $option = shift;
    return `$Test::Nginx::Util::NginxBinary -V 2>&1` =~ /\Q$option\E\b/;
}

sub also_with_two_workers() {
    return unless $ENV{STICKY_WORKERS};
    master_on();
    workers($ENV{STICKY_WORKERS});
}

sub told_by_nginx() {
    $told_by_nginx = nginx_is_at_least('1.29.6');
}

sub with_testing_module() {
    my $module = $ENV{TEST_STICKY_TESTING_MODULE} or bail_out('TEST_STICKY_TESTING_MODULE is not set: make test-t');
    $ENV{TEST_NGINX_LOAD_MODULES} = $Test::Nginx::Util::LoadModules = $module;
}

# For "init": sends a request, waits for the start of its answer, or so many seconds, and keeps the connection open.
my @held;

sub hold($;$) {
    my ($request, $seconds) = @_;
    my $socket;
    # nginx starts slowly under valgrind.
    for (1 .. 600) {
        $socket = IO::Socket::INET->new(
            PeerAddr => '127.0.0.1',
            PeerPort => $Test::Nginx::Util::ServerPortForClient,
        ) and last;
        select undef, undef, undef, 0.1;
    }
    die "no connection: $!" if !$socket;
    my ($line, @headers) = split /\s+\|\s+/, $request;
    print $socket join("\r\n", "$line HTTP/1.1", 'Host: localhost', @headers, '', '');
    IO::Select->new($socket)->can_read($seconds // 5);
    push @held, $socket;
}

# For "init": asks again and again until the answer is that of a server.
sub wait_until_served_by($) {
    my $server = shift;
    Sticky::Events::wait_until(sub {
        my $socket = IO::Socket::INET->new(
            PeerAddr => '127.0.0.1',
            PeerPort => $Test::Nginx::Util::ServerPortForClient,
        ) or return '';
        print $socket "GET / HTTP/1.0\r\n\r\n";
        local $/;
        return <$socket> =~ /^X-Server: \Q$server\E\r$/m;
    }) or die "no answer by $server";
}

# For "init": closes the last of them.
sub let_go() {
    my $socket = pop @held;
    close $socket;
}

add_test_cleanup_handler(sub { @held = () });

# For "init": sends many requests over one connection, and reads their answers.
sub ask_many(@) {
    my @uris = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $Test::Nginx::Util::ServerPortForClient,
    ) or die "no connection: $!";
    while (my @some = splice @uris, 0, 50) {
        print $socket map { "GET $_ HTTP/1.1\r\nHost: localhost\r\n\r\n" } @some;
        my ($answers, $wanted) = ('', scalar @some);
        while ((() = $answers =~ /^HTTP\/1\.1 200/mg) < $wanted || $answers !~ /\n$/) {
            sysread($socket, $answers, 65536, length $answers) or die 'connection closed: ' . substr $answers, -300;
        }
    }
}

# For "init": a server at $TEST_NGINX_DEAD that answers one request and then closes.
sub answer_once($) {
    my $headers = shift;
    my $listening = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $Test::Nginx::Util::RandPorts->{TEST_NGINX_RAND_PORT_9},
        Listen => 1,
        ReuseAddr => 1,
    ) or die "cannot listen: $!";
    my $pid = fork() // die "cannot fork: $!";
    if ($pid == 0) {
        my $socket = $listening->accept;
        close $listening;
        $socket->recv(my $request, 4096);
        print $socket join("\r\n", 'HTTP/1.1 200 OK', 'X-Server: dead', 'Connection: close', 'Content-Length: 5',
            $headers, '', "dead\n");
        close $socket;
        POSIX::_exit(0);
    }
    close $listening;
}

my $servers = '';

for my $letter ('a', 'b', 'c', 'x', 'y') {
    my $address = $known{$letter} // "127.0.0.1:\$TEST_NGINX_RAND_PORT_$port{uc $letter}";
    my $answers = '';
    for my $code (200, 201, 202, 301, 401, 403, 404, 409, 429, 500, 502, 503, 504) {
        my $text = $code == 301 ? '/elsewhere' : "$letter\\n";
        $answers .= "        location = /$code { return $code \"$text\"; }\n";
        $answers .= "        location = /$code-$letter { return $code \"$text\"; }\n";
    }
    my $body = $letter x 2200;
    $servers .= <<"END";
    server {
        listen $address;
        set \$own "";
        if (\$arg_own) { set \$own $letter-\$arg_own; }
        set \$rate 1000;
        if (\$arg_rate) { set \$rate \$arg_rate; }
        set \$ttl null;
        if (\$arg_ttl) { set \$ttl \$arg_ttl; }
        add_header X-Server $letter always;
        add_header X-Session \$new always;
        add_header X-Session \$http_x_new always;
        add_header X-Session \$own always;
        set \$mcp \$arg_mcp;
        set \$new \$arg_new;
        add_header Mcp-Session-Id \$mcp always;
        add_header Mcp-Session-Id \$arg_mcp2 always;
        add_header Set-Cookie \$arg_cookie always;
        add_header Set-Cookie \$arg_cookie2 always;
        add_header X-Accel-Redirect \$arg_accel always;
        add_header Content-Encoding \$arg_encoding;
        add_header X-Reused \$connection_reused always;
        set \$buffering "";
        add_header X-Accel-Buffering \$buffering;
        location / { return 200 "$letter\\n"; }
$answers
        location = /204 { return 204; }
        location = /304 { return 304; }
        location = /drop-$letter { return 444; }
        location = /sse {
            default_type text/event-stream;
            return 200 ": hello\\r\\n\\r\\nevent: endpoint\\r\\ndata: /messages?sessionId=\$arg_id\\r\\n\\r\\n";
        }
        location = /blanks {
            set \$mcp "\t \$arg_mcp \t";
            set \$new " \t\$arg_new\t ";
            return 200 "$letter\\n";
        }
        location = /endpoint {
            default_type text/event-stream;
            return 200 "event: endpoint\\ndata: \$http_x_to\\n\\n";
        }
        location = /task {
            default_type application/json;
            return 200 '{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"\$arg_id","ttlMs":\$ttl}}';
        }
        location = /long-task {
            default_type application/json;
            set \$text $body;
            return 200 '{"result":{"resultType":"task","content":"\$text\$text\$text","taskId":"\$arg_id"}}';
        }
        location = /task-in-events {
            default_type text/event-stream;
            return 200 'data: {"method":"notifications/progress"}\\n\\ndata: {"result":{"taskId":"\$arg_id","resultType":"task"}}\\n\\n';
        }
        location = /slow { set \$buffering no; limit_rate \$rate; return 200 "$body"; }
    }
END
}

my $maps = <<'END';
    map $upstream_sticky_server $bound {
        default $upstream_sticky_server;
        127.0.0.1:$TEST_NGINX_RAND_PORT_1 a;
        127.0.0.1:$TEST_NGINX_RAND_PORT_2 b;
        127.0.0.1:$TEST_NGINX_RAND_PORT_3 c;
        127.0.0.1:$TEST_NGINX_RAND_PORT_9 dead;
        $TEST_NGINX_X x;
        $TEST_NGINX_Y y;
    }
    map $connection_requests $connection_reused {
        default reused;
        1 fresh;
    }
END

my $shown = <<'END';
    add_header X-Status $upstream_sticky_status always;
    add_header X-Bound $bound always;
END

add_block_preprocessor(sub {
    my $block = shift;

    read_refusal($block) if defined $block->emerg;

    my $http = $block->http_config // '';
    my $config = $block->config;

    if (defined $block->must_die) {
        $config //= '';
    } else {
        $config = $shown . ($config // "    location / { proxy_pass http://u; }\n");
        $http = $maps . $http . $servers;
        if (!defined $block->no_error_log) {
            $block->set_value(no_error_log => "[error]\n[crit]\n[alert]\n[emerg]\n");
        }
    }

    @Sticky::Events::workers_before = workers_of_nginx() if $Test::Nginx::Util::UseHup;
    $Sticky::Events::more_to_come = '';

    # Sessions outlive a reload, and so do addresses that the servers of a zone had; each block shall begin with none.
    if ($Test::Nginx::Util::UseHup && !defined $block->must_die) {
        $zones++;
        $http =~ s/\b(zone[= ]\w+)/$1_$zones/g;
    }
    if ($http =~ /\bzone=(\w+)/) {
        my $zone = $1;
        s/"ZONE"/"$zone"/g for $http, $config;
    }

    # The older syntax; newer versions log a warning.
    $http =~ s/(listen \S+) http2;/$1; http2 on;/g if nginx_is_at_least('1.25.1');

    for my $text ($http, $config) {
        $text =~ s/\$TEST_NGINX_(A|B|C|DEAD)\b/127.0.0.1:\$TEST_NGINX_RAND_PORT_$port{$1}/g;
        $text =~ s/\$TEST_NGINX_(X|Y)\b/$known{lc $1}/g;
    }
    $block->set_value(http_config => $http);
    $block->set_value(config => $config);

    read_story($block) if defined $block->story;
});

sub read_refusal() {
    my $block = shift;
    my $expected = $block->emerg;
    chomp $expected;

    if (defined $block->wrong) {
        $block->set_value(http_config => "    upstream u {\n" . $block->wrong . "        server 127.0.0.1:1;\n    }\n");
    }
    $block->set_value(must_die => 1);
    $block->set_value(suppress_stderr => '');
    $block->set_value(error_log => qr/\[emerg\] \d+#\d+: \Q$expected\E in \S+\bnginx\.conf:\d+$/);
    $block->set_value(grep_error_log => '[emerg]');
    $block->set_value(grep_error_log_out => "[emerg]\n");
    $block->set_value(no_error_log => "[alert]\n[crit]\n");
}

# The line that is named must be the wrong one.
add_test_cleanup_handler(sub {
    my $block = shift;
    return unless defined $block->emerg && defined $block->wrong;

    my ($wrong) = $block->wrong =~ /(\S.*)/;
    open my $log, '<', $Test::Nginx::Util::ErrLogFile or die "no error log: $!";
    my ($number) = map { /\[emerg\].* in \S+:(\d+)$/ } <$log>;
    open my $conf, '<', $Test::Nginx::Util::ConfFile or die "no configuration: $!";
    my @lines = <$conf>;
    Test::More::like($lines[($number // 0) - 1], qr/\Q$wrong\E/, $block->name . ' - its line is named');
});

add_test_cleanup_handler(sub {
    my $block = shift;
    return unless defined $block->logged;

    # A request is logged after its answer: wait for lines that must not be there, and for those that must.
    select undef, undef, undef, 0.1;
    my $logged = '';
    wait_until {
        open my $log, '<', server_root() . '/logs/sticky.log' or die "no access log: $!";
        $logged = join '', <$log>;
        length $logged >= length $block->logged;
    };
    Test::More::is($logged, $block->logged, $block->name . ' - access log');
});

add_test_cleanup_handler(sub {
    my $block = shift;
    return unless defined $block->told;

    for my $pattern (split /\n/, $block->told) {
        my $found = wait_until {
            open my $log, '<', $Test::Nginx::Util::ErrLogFile or die "no error log: $!";
            grep { /$pattern/ } <$log>;
        };
        Test::More::ok($found, $block->name . " - told: $pattern");
    }
});

# The servers that the story at hand has given names to, and which request names which.
my (%servers, @named);

add_response_body_check(sub {
    my ($block, $body, $number) = @_;
    return unless defined $block->story;

    # A pattern that must be there is looked for after each request.
    $Sticky::Events::more_to_come = $number < $#named && !defined $block->error_log && !defined $block->grep_error_log;
    my $name = $named[$number];
    return unless defined $name;

    my $letter = substr $body, 0, 1;
    $servers{$name} //= $letter;
    Test::More::is($letter, $servers{$name}, $block->name . " - server $name");
});

# Converts a story into sections of Test::Nginx.
sub read_story() {
    my $block = shift;
    my (@requests, @more_headers, @codes, @headers, @names, @cookies);

    for my $line (split /\n/, $block->story) {
        next if $line =~ /^\s*(?:#.*)?$/;
        $line =~ s/<([^+<>][^<>]*)>/md5_hex($known{$1} \/\/ $1)/ge;
        my ($asked, $expected) = $line =~ /^\s*(.*\S)\s+=>\s+(\S.*)$/
            or bail_out($block->name . ": no story: $line");
        ($expected, my $cookies) = split /\s+\|\s+/, $expected;
        my ($request, @sent) = split /\s+\|\s+/, $asked;
        my $delay = $request =~ s/^after\s+(\S+)\s+// ? $1 : 0;
        my $body = $request =~ s/\s+with\s+(.*)$// ? $1 : undef;
        $body = qq({"jsonrpc":"2.0","id":1,"method":"$body","params":{}}) if defined $body && $body =~ m{^[\w/]+$};
        $request .= "\n$body" if defined $body;
        my ($code, $server, $status, $server_bound, $reused) = split ' ', $expected;
        # Each worker keeps connections of its own, and any may get the request.
        $reused = '*' if $ENV{STICKY_WORKERS};
        ($status, $server_bound) = ('*', '*') if $told_by_nginx;

        # Only a request after the first one can wait.
        my ($first, $rest) = unpack 'a1 a*', $request;
        push @requests, $delay ? [$first, { value => $rest, delay_before => $delay }] : $request;
        push @more_headers, join "\n", @sent;
        push @codes, $code;
        push @names, $server =~ /^[A-Z]$/ ? $server : undef;
        push @headers, join '', map { "$_\n" }
            expect('X-Server', $server), expect('X-Status', $status),
            expect('X-Bound', $server_bound), expect('X-Reused', $reused);
        push @cookies, defined $cookies ? only_cookies($cookies) : '';
    }
    @named = @names;
    %servers = ();
    $block->set_value(request => \@requests);
    $block->set_value(more_headers => \@more_headers);
    $block->set_value(error_code => \@codes);
    $block->set_value(response_headers => \@headers);
    $block->set_value(raw_response_headers_like => \@cookies) if grep { $_ ne '' } @cookies;
}

# A pattern for headers that set these cookies and no other.
sub only_cookies() {
    my $text = shift;
    my $others = '(?:(?!Set-Cookie:)[^\n]*(?:\n|\z))*';
    my $cookies = '';
    for my $cookie ($text eq '-' ? () : split / \+ /, $text) {
        my $pattern = join '', map { /^<\+(\d+)>$/ ? time_from_now($1) : quotemeta } split /(<\+\d+>)/, $cookie;
        $cookies .= "Set-Cookie: $pattern\\r?(?:\\n|\\z)$others";
    }
    return "\\A$others$cookies\\z";
}

# It may take a minute until the request is sent.
sub time_from_now() {
    my $seconds = shift;
    my @times = map { POSIX::strftime('%a, %d-%b-%y %H:%M:%S GMT', gmtime(time + $seconds + $_)) } 0 .. 60;
    return '(?:' . join('|', @times) . ')';
}

sub expect() {
    my ($header, $value) = @_;
    return () if !defined $value || $value eq '*' || $value =~ /^[A-Z]$/;
    return $value eq '-' ? "! $header" : "$header: $value";
}

1;
