# A session is prefetched before the upstream is known. Prefetching never changes the result, even if the guess was
# wrong.

use lib 't/lib';
use Sticky;
use IO::Socket::INET;

our $two_upstreams = <<'END';
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_other;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
END

# For "init": sends a part of a request, reads the answer to one.
sub begin($) {
    my $text = shift;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1',
        PeerPort => $Test::Nginx::Util::ServerPortForClient,
    ) or die "no connection: $!";
    print $socket $text;
    select undef, undef, undef, 0.2;
    return $socket;
}

sub answer($) {
    my $socket = shift;
    local $/;
    return <$socket>;
}

sub request($;$) {
    my ($line, @headers) = split /\s+\|\s+/, shift;
    return join("\r\n", "$line HTTP/1.1", 'Host: localhost', 'Connection: close', @headers, '', shift // '');
}

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: two locations, each with an upstream of its own
--- http_config eval: $::two_upstreams
--- config
    location /u/ { proxy_pass http://u/; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /u/?new=one                            => 200 a NEW a
    GET /v/?new=one                            => 200 b NEW b
    GET /u/?new=two                            => 200 b NEW b
    GET /v/?new=two                            => 200 c NEW c
    GET /u/ | X-Session: one | X-Other: two    => 200 a HIT a
    GET /v/ | X-Session: one | X-Other: two    => 200 c HIT c
    GET /u/ | X-Session: two | X-Other: one    => 200 b HIT b
    GET /v/ | X-Session: two | X-Other: one    => 200 b HIT b
    GET /v/ | X-Session: two                   => 200 * NONE -
    GET /u/ | X-Other: one                     => 200 * NONE -



=== TEST 2: one location, whose upstream the request chooses
--- http_config eval: $::two_upstreams
--- config
    location / { proxy_pass http://$http_x_upstream$uri?$args; }
--- story
    GET /?new=one | X-Upstream: u                              => 200 a NEW a
    GET /?new=one | X-Upstream: v                              => 200 b NEW b
    GET /?new=two | X-Upstream: v                              => 200 c NEW c
    GET / | X-Session: one | X-Other: two | X-Upstream: u      => 200 a HIT a
    GET / | X-Session: one | X-Other: two | X-Upstream: v      => 200 c HIT c
    GET / | X-Session: one | X-Other: one | X-Upstream: v      => 200 b HIT b
    GET / | X-Session: one | X-Other: three | X-Upstream: u    => 200 a HIT a
    GET / | X-Session: three | X-Other: two | X-Upstream: v    => 200 c HIT c
    GET / | X-Session: three | X-Other: two | X-Upstream: u    => 200 * UNKNOWN -



=== TEST 3: they share a zone, but not the header
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_other;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://$http_x_upstream$uri?$args; }
--- story
    GET /?new=one | X-Upstream: u                            => 200 a NEW a
    GET /?new=two | X-Upstream: u                            => 200 b NEW b
    GET / | X-Session: one | X-Other: two | X-Upstream: u    => 200 a HIT a
    GET / | X-Session: one | X-Other: two | X-Upstream: v    => 200 b HIT b
    GET / | X-Session: one | X-Other: two | X-Upstream: u    => 200 a HIT a



=== TEST 4: MCP and ids of one's own in turn
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://$http_x_upstream$uri?$args; }
--- story
    POST /?mcp=one | X-Upstream: u                                     => 200 a NEW a
    POST /?new=one | X-Upstream: v                                     => 200 b NEW b
    POST / | Mcp-Session-Id: one | X-Session: one | X-Upstream: u      => 200 a HIT a
    POST / | Mcp-Session-Id: one | X-Session: one | X-Upstream: u      => 200 a HIT a
    POST / | X-Upstream: u                                             => 200 * NONE -
    DELETE / | Mcp-Session-Id: one | X-Session: one | X-Upstream: v    => 200 b HIT b
    POST / | Mcp-Session-Id: one | X-Session: one | X-Upstream: v      => 200 b HIT b
    POST / | Mcp-Session-Id: one | X-Session: one | X-Upstream: v      => 200 b HIT b
    DELETE / | Mcp-Session-Id: one | X-Session: one | X-Upstream: u    => 200 a HIT a
    POST / | Mcp-Session-Id: one | X-Session: one | X-Upstream: u      => 404 - UNKNOWN -



=== TEST 5: nothing of the one is taken for the other's
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://$http_x_upstream$uri?$args; }
--- story
    POST / | X-Upstream: u                                             => 200 a NONE -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: x | X-Upstream: u => 200 a UNKNOWN -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: x | X-Session: x | X-Upstream: v => 404 - UNKNOWN -
    POST / | X-Session: x | X-Upstream: v                              => 404 - UNKNOWN -
    POST / | Mcp-Session-Id: x | X-Upstream: u                         => 404 - UNKNOWN -
    POST / | Mcp-Session-Id: x | X-Upstream: u                         => 404 - UNKNOWN -
    POST /?new=one | MCP-Protocol-Version: 2026-07-28 | X-Upstream: v  => 200 b NEW b
    POST /?new=two | X-Upstream: v                                     => 200 b NEW b



=== TEST 6: a location that expects nothing, after one that does
--- http_config eval: $::two_upstreams
--- config
    location /1/ { proxy_pass http://u/; }
    location /2/ { proxy_pass http://u/; }
    location /3/ { proxy_pass http://u/; }
--- story
    GET /1/?new=one          => 200 a NEW a
    GET /1/ | X-Session: one => 200 a HIT a
    GET /2/ | X-Session: two => 200 * UNKNOWN -
    GET /1/ | X-Session: one => 200 a HIT a
    GET /3/                  => 200 * NONE -



=== TEST 7: an id that comes twice, after one that came once
--- http_config eval: $::two_upstreams
--- config
    location / { proxy_pass http://u; }
--- story
    GET /?new=one                              => 200 a NEW a
    GET / | X-Session: one                     => 200 a HIT a
    GET / | X-Session: two | X-Session: three  => 200 * UNKNOWN -
    GET / | X-Session: one                     => 200 a HIT a



=== TEST 8: a body that comes late, after requests of other sessions
--- http_config eval: $::two_upstreams
--- config
    location / { proxy_pass http://u; }
--- init
    main::answer(main::begin(main::request($_))) for 'GET /?new=one', 'GET /?new=two', 'GET / | X-Session: one';
    my $late = main::begin(main::request('POST / | X-Session: one | Content-Length: 5'));
    my $other = main::answer(main::begin(main::request('GET / | X-Session: two')));
    Test::More::like($other, qr/^X-Server: b\r\n.*^X-Status: HIT\r\n/ms, 'the other goes to its server');
    print $late 'hello';
    Test::More::like(main::answer($late), qr/^X-Server: a\r\n.*^X-Status: HIT\r\n/ms, 'the late one to its own');
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: two => 200 b HIT b



=== TEST 9: a body that comes late, after a request that headers tell only half of
--- http_config
    map $request_body $in_body { default $request_body; }
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_session bind=$in_body;
        server $TEST_NGINX_C;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- init
    main::answer(main::begin(main::request($_))) for 'GET /?new=one', 'GET /?new=two', 'GET /v/?new=one';
    my $late = main::begin(main::request('POST / | X-Session: two | Content-Length: 5'));
    my $other = main::answer(main::begin(main::request('GET /v/ | X-Session: one')));
    Test::More::like($other, qr/^X-Server: c\r\n.*^X-Status: HIT\r\n/ms, 'the other goes to its server');
    print $late 'hello';
    Test::More::like(main::answer($late), qr/^X-Server: b\r\n.*^X-Status: HIT\r\n/ms, 'the late one to its own');
--- story
    GET / | X-Session: one => 200 a HIT a



=== TEST 10: error_page leads from one upstream to the other
--- http_config eval: $::two_upstreams
--- config
    location / {
        proxy_pass http://u;
        proxy_intercept_errors on;
        error_page 404 = @named;
        error_page 409 = /v/;
    }
    location @named { rewrite ^ /200 break; proxy_pass http://v; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one                               => 200 a NEW a
    GET /v/?new=one                             => 200 b NEW b
    GET /v/?new=two                             => 200 c NEW c
    GET /404 | X-Session: one | X-Other: two    => 200 c HIT c
    GET /404 | X-Session: one | X-Other: one    => 200 b HIT b
    GET /409 | X-Session: one | X-Other: two    => 200 c HIT c
    GET /409 | X-Session: one | X-Other: one    => 200 b HIT b
    GET / | X-Session: one | X-Other: one       => 200 a HIT a



=== TEST 11: X-Accel-Redirect leads to another id of the same upstream
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /inner { internal; proxy_pass http://u/; }
--- story
    GET /sse?id=one                                  => 200 a NONE -
    GET /sse?id=two                                  => 200 b NONE -
    GET /?sessionId=one&accel=/inner?sessionId=two   => 200 b HIT b
    GET /?sessionId=two&accel=/inner?sessionId=one   => 200 a HIT a
    GET /?sessionId=two                              => 200 b HIT b



=== TEST 12: auth_request asks one upstream, the request goes to the other
--- skip_eval
2: !Sticky::nginx_was_built_with('--with-http_auth_request_module')
--- http_config eval: $::two_upstreams
--- config
    location / {
        auth_request /auth;
        auth_request_set $asked $upstream_http_x_server;
        add_header X-Asked $asked;
        proxy_pass http://u;
    }
    location = /auth { internal; proxy_pass http://v/?new=$http_x_issue; }
--- request eval
["GET /?new=one", "GET /", ("GET /") x 3]
--- more_headers eval
["X-Issue: two", "X-Issue: three", ("X-Session: one\nX-Other: three") x 2, "X-Session: one\nX-Other: two"]
--- response_headers eval
["X-Asked: b\nX-Server: a", "X-Asked: c\nX-Server: b", ("X-Asked: c\nX-Server: a") x 2, "X-Asked: b\nX-Server: a"]



=== TEST 13: mirror copies a request to the other upstream
--- http_config
    log_format sticky '$uri $upstream_http_x_server $upstream_sticky_status';
    log_subrequest on;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=others:1m create=$upstream_http_x_session lookup=$http_x_other;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- config
    location /u/ { proxy_pass http://u/; }
    location /v/ { proxy_pass http://v/; }
    location / { mirror /copy; proxy_pass http://u; }
    location = /copy {
        internal;
        access_log logs/sticky.log sticky;
        proxy_pass http://v/;
    }
--- story
    GET /u/?new=one                            => 200 a NEW a
    GET /v/?new=one                            => 200 b NEW b
    GET /v/?new=two                            => 200 c NEW c
    GET / | X-Session: one | X-Other: two      => 200 a HIT a
    GET / | X-Session: one | X-Other: two      => 200 a HIT a
    GET / | X-Session: one | X-Other: one      => 200 a HIT a
    GET / | X-Session: one | X-Other: three    => 200 a HIT a
--- logged
/copy c HIT
/copy c HIT
/copy b HIT
/copy b UNKNOWN



=== TEST 14: requests that were expected and come to no upstream
--- http_config
    log_format sticky '$uri $upstream_sticky_status';
    proxy_cache_path cache keys_zone=cache:1m;
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
    location /200 {
        proxy_cache cache;
        proxy_cache_valid 1m;
        proxy_pass http://u;
    }
    location /204 {
        if ($arg_done) { return 204; }
        proxy_pass http://u;
    }
--- story
    GET /?new=one                               => 200 a NEW a
    GET /200 | X-Session: one                   => 200 a HIT a
    GET /200 | X-Session: one                   => 200 a - -
    GET /200 | X-Session: two                   => 200 a - -
    GET /204 | X-Session: one                   => 204 a HIT a
    GET /204?done=1 | X-Session: one            => 204 - - -
    GET /204 | X-Session: one                   => 204 a HIT a
--- logged
/ NEW
/200 HIT
/200 -
/200 -
/204 HIT
/204 -
/204 HIT



=== TEST 15: what is run for an id is run when the upstream is chosen
--- http_config
    map $request_body $in_body { default $request_body; }
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session lookup=$in_body;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
--- request eval
["GET /?new=one", "GET /", "POST /\none", "POST /\none", "POST /\ntwo", "GET /"]
--- more_headers eval
["", "", "", "", "", "X-Session: one"]
--- response_headers eval
["X-Server: a\nX-Status: NEW", "X-Server: b", ("X-Server: a\nX-Status: HIT") x 2, "X-Status: UNKNOWN", "X-Server: a\nX-Status: HIT"]



=== TEST 16: so is what it is bound to
--- http_config
    map $request_body $in_body { default $request_body; }
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session bind=$in_body;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
--- request eval
["POST /?new=one\nalice", ("POST /\nalice") x 2, "POST /\nbob", "POST /\nalice"]
--- more_headers eval
["", ("X-Session: one") x 4]
--- response_headers eval
["X-Server: a\nX-Status: NEW", ("X-Server: a\nX-Status: HIT") x 2, "X-Status: UNKNOWN", "X-Server: a\nX-Status: HIT"]



=== TEST 17: several headers are asked in their order, the bound one beside them
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_first lookup=$http_x_second
                     bind=$http_x_tenant;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one | X-Tenant: t                                   => 200 a NEW a
    GET /?new=two                                                 => 200 b NEW b
    GET / | X-Second: one | X-Tenant: t                           => 200 a HIT a
    GET / | X-Second: one | X-First: two                          => 200 b HIT b
    GET / | X-Second: two | X-First: one | X-Tenant: t            => 200 a HIT a
    GET / | X-Second: two | X-First: one                          => 200 * UNKNOWN -
    GET / | X-Second: two                                         => 200 b HIT b
    GET /                                                         => 200 * NONE -



=== TEST 18: headers of an answer that has led here are no id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session
                     lookup=$upstream_http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /inner { internal; proxy_pass http://u/; }
--- story
    GET /?new=one               => 200 a NEW a
    GET /?new=two&accel=/inner  => 200 * NONE -
    GET /?new=two&accel=/inner  => 200 * NONE -
    GET / | X-Session: one      => 200 a HIT a
