# MCP's HTTP+SSE of 2024-11-05: the endpoint event begins a session, the query carries its id.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: learned from the endpoint event, followed by either name
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; proxy_buffering off; }
--- story
    GET /sse?id=one              => 200 a *
    POST /?sessionId=one         => 200 a HIT a
    POST /?x=1&session_id=one    => 200 a HIT a
    POST /?sessionId=%6fne       => 200 a HIT a
    POST /                       => 200 b NONE -



=== TEST 2: with buffering as well
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?id=one              => 200 a *
    POST /?sessionId=one         => 200 a HIT a
    POST /?sessionId=one         => 200 a HIT a



=== TEST 3: ids are exact, their names caseless, and unknown ones are balanced
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?id=One              => 200 a *
    POST /?sessionId=one         => 200 b UNKNOWN -
    POST /?sessionId=            => 200 a NONE -
    POST /?sessionid=One         => 200 a HIT a
    POST /?SESSION_ID=One        => 200 a HIT a
    POST /?sessionId=One         => 200 a HIT a



=== TEST 4: an id of one transport is none of another
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    GET /sse?id=one              => 200 a *
    POST / | Mcp-Session-Id: one => 404 - UNKNOWN -
    POST /?mcp=two               => 200 a NEW a
    POST /?sessionId=two         => 200 a UNKNOWN -



=== TEST 5: a header goes before the query
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?id=one                            => 200 a *
    POST /?mcp=two                             => 200 b NEW b
    POST /?sessionId=one | Mcp-Session-Id: two => 200 b HIT b



=== TEST 6: only a stream teaches, and only a GET asks for one
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    POST /sse?id=one             => 200 a NONE -
    POST /?sessionId=one         => 200 a UNKNOWN -
    GET /task?id=one             => 200 a NONE -
    POST /?sessionId=one         => 200 a UNKNOWN -



=== TEST 7: whatever revision a request says it has
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?id=one | MCP-Protocol-Version: 2026-07-28       => 200 a *
    POST /?sessionId=one | MCP-Protocol-Version: 2025-06-18  => 200 a HIT a
    POST /?sessionId=one | MCP-Protocol-Version: 2026-07-28  => 200 a HIT a
    POST /?sessionId=one                                     => 200 a HIT a



=== TEST 8: a 404 of its server does not end it, a DELETE does
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?id=one                => 200 a *
    POST /404?sessionId=one        => 404 a HIT a
    DELETE /404?sessionId=one      => 404 a HIT a
    POST /?sessionId=one           => 200 a HIT a
    DELETE /204?sessionId=one      => 204 a HIT a
    POST /?sessionId=one           => 200 b UNKNOWN -



=== TEST 9: an encoded body is passed over
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_9;
        gzip on;
        gzip_min_length 1;
        gzip_http_version 1.0;
        gzip_proxied any;
        gzip_types text/event-stream;
        location / { proxy_pass http://$TEST_NGINX_A; }
    }
    upstream encoding {
        sticky_learn zone=sessions;
        server $TEST_NGINX_DEAD;
    }
--- config
    location / { proxy_pass http://u; }
    location = /sse { proxy_pass http://encoding; proxy_set_header Accept-Encoding $http_accept_encoding; }
--- story
    GET /sse?id=one | Accept-Encoding: gzip => 200 a NONE -
    POST /?sessionId=one                    => 200 a UNKNOWN -



=== TEST 10: the stream itself says NEW when it is logged
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    log_format brief "$upstream_sticky_status";
--- config
    access_log logs/sticky.log brief;
    location / { proxy_pass http://u; }
--- request
GET /sse?id=one
--- logged
NEW



=== TEST 11: any encoding but identity is one that cannot be read
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    GET /sse?id=one&encoding=br          => 200 a NONE -
    POST /?sessionId=one                 => 200 a UNKNOWN -
    GET /sse?id=two&encoding=zstd        => 200 a NONE -
    POST /?sessionId=two                 => 200 a UNKNOWN -
    GET /sse?id=three&encoding=Identity  => 200 a *
    POST /?sessionId=three               => 200 a HIT a



=== TEST 12: known by the target of the endpoint where that is not a session id in the query
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /messages?clientId=one    => 200 a *
    POST /messages?clientId=one                => 200 a HIT a
    POST /messages?clientId=one                => 200 a HIT a
    POST /messages?clientId=two                => 200 b NONE -
    POST /other?clientId=one                   => 200 a NONE -
    GET /endpoint | X-To: messages/5f0c1a2b/in      => 200 b *
    POST /messages/5f0c1a2b/in                 => 200 b HIT b
    POST /messages/5f0c1a2b/in                 => 200 b HIT b
    POST /messages/5f0c1a2b                    => 200 a NONE -



=== TEST 13: a target that is the same for every stream names none, and a line says so
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /messages => 200 a NONE -
    POST /messages             => 200 b NONE -
    POST /messages?mcp=one     => 200 a NEW a
    POST /messages?mcp=two     => 200 b NEW b
--- told
\[info\] .*zone "sessions\w*": server "[\d.:]+" sent an endpoint event without an id of its own, not learned



=== TEST 14: nor does one that two servers announce, from then on
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /v2beta1/messages => 200 a *
    GET /endpoint | X-To: /v2beta1/messages => 200 b *
    POST /v2beta1/messages             => 200 a NONE -
    POST /v2beta1/messages             => 200 b NONE -
    GET /endpoint | X-To: /v2beta1/messages => 200 a NONE -
    POST /v2beta1/messages             => 200 b NONE -
    POST /v2beta1/messages             => 200 a NONE -
    POST /v2beta1/messages?mcp=one     => 200 b NEW b
    GET /endpoint | X-To: /v2beta1/messages => 200 a NONE -
    POST /v2beta1/messages             => 200 b NONE -
    # A target that only one server has announced is learned.
    GET /endpoint | X-To: /v3beta1/messages => 200 a *
    POST /v3beta1/messages             => 200 a HIT a
--- told
\[info\] .*zone "sessions\w*": server "[\d.:]+" sent the same endpoint as another one, not learned \(hash [0-9a-f]{16}\)



=== TEST 15: an endpoint that is no URI, or too long, names none, and a line says so
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- request eval
["GET /endpoint", "GET /endpoint", "POST /{/messages/5f0c1a2b}"]
--- more_headers eval
["X-To: {/messages/5f0c1a2b}", "X-To: /m?clientId=" . "x" x 1100, ""]
--- response_headers eval
["X-Status: NONE", "X-Status: NONE", "X-Status: NONE"]
--- told
sent an endpoint event that is no URI, not learned
sent an id that is too long, not learned



=== TEST 16: a stream whose own query has an id is balanced, and its event is read
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /sse?sessionId=mine&id=one       => 200 a *
    POST /messages?sessionId=one         => 200 a HIT a
    POST /messages?sessionId=one         => 200 a HIT a
    GET /endpoint?sessionId=mine | X-To: /messages?sessionId=mine => 200 b *
    POST /messages?sessionId=mine        => 200 b HIT b
    POST /messages?sessionId=mine        => 200 b HIT b
    GET /sse?sessionId=mine&id=two       => 200 b *
    POST /messages?sessionId=two         => 200 b HIT b



=== TEST 17: a prefix that proxy_pass replaces, with a relative target and with one that has the prefix
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /api/ { proxy_pass http://u/; }
    location /other/ { proxy_pass http://u/; }
--- story
    GET /api/endpoint | X-To: messages?clientId=one          => 200 a *
    POST /api/messages?clientId=one                     => 200 a HIT a
    POST /api/messages?clientId=one                     => 200 a HIT a
    GET /api/endpoint | X-To: /api/messages/5f0c1a2b         => 200 b *
    POST /api/messages/5f0c1a2b                         => 200 b HIT b
    POST /api/messages/5f0c1a2b                         => 200 b HIT b
    GET /api/sse?id=two                                 => 200 a *
    # Something in front has changed the prefix.
    POST /other/messages?x=1&sessionId=two              => 200 a HIT a
    POST /other/messages?x=1&sessionId=two              => 200 a HIT a



=== TEST 18: what is bound to somebody stays so
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /messages/5f0c1a2b | X-User: ann   => 200 a *
    POST /messages/5f0c1a2b | X-User: bob               => 200 b NONE -
    POST /messages/5f0c1a2b | X-User: ann               => 200 a HIT a



=== TEST 19: what is told of a server has no request line, which may hold an id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_A;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?sessionId=secret => 200 a UNKNOWN -
--- told
\[warn\] .*server "[\d.:]+" of zone "sessions\w*" is unreachable: connection refused$



=== TEST 20: a target of two servers is nobody's, whatever streams are bound to
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /v2beta1/messages | X-User: ann => 200 a *
    POST /v2beta1/messages | X-User: ann                  => 200 a HIT a
    GET /endpoint | X-To: /v2beta1/messages | X-User: bob => 200 b *
    GET /endpoint | X-To: /v2beta1/messages | X-User: bob => 200 a NONE -
    POST /v2beta1/messages | X-User: bob                  => 200 b NONE -
    # The earlier binding of ann ends with her next announcement.
    GET /endpoint | X-To: /v2beta1/messages | X-User: ann => 200 a NONE -
    POST /v2beta1/messages | X-User: ann                  => 200 b NONE -
    POST /v2beta1/messages | X-User: ann                  => 200 a NONE -



=== TEST 21: an id that the client has chosen follows its newest stream
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint | X-To: /messages?clientId=bob         => 200 a *
    POST /messages?clientId=bob                          => 200 a HIT a
    GET /endpoint | X-To: /messages?clientId=bob         => 200 b *
    POST /messages?clientId=bob                          => 200 b HIT b
    POST /messages?clientId=bob                          => 200 b HIT b
    GET /endpoint?clientId=ann | X-To: /messages?clientId=ann => 200 a *
    POST /messages?clientId=ann                          => 200 a HIT a
    POST /messages?clientId=ann                          => 200 a HIT a
    GET /endpoint?clientId=ann | X-To: /messages?clientId=ann => 200 b *
    POST /messages?clientId=ann                          => 200 b HIT b
--- told
\[info\] .*zone "sessions\w*": server "[\d.:]+" answered with an id that was bound to another one, and has it now \(hash [0-9a-f]{16}\)



=== TEST 22: a user's key before the session id joins no streams
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /endpoint?session_id=KEY | X-To: /messages?session_id=KEY&sessionId=one => 200 a *
    GET /endpoint?session_id=KEY | X-To: /messages?session_id=KEY&sessionId=two => 200 b *
    POST /messages?session_id=KEY&sessionId=one          => 200 a HIT a
    POST /messages?session_id=KEY&sessionId=two          => 200 b HIT b
    POST /messages?session_id=KEY&sessionId=one          => 200 a HIT a
    POST /messages?session_id=KEY&sessionId=two          => 200 b HIT b



=== TEST 23: who opens a stream is never turned away for the id in its URI
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream down {
        sticky_learn zone=sessions;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
    upstream gone {
        sticky_learn zone=sessions;
        server $TEST_NGINX_C;
    }
--- config
    set $to u;
    if ($arg_at) { set $to $arg_at; }
    location / { proxy_pass http://$to; }
--- story
    GET /sse?session_id=KEY&id=KEY               => 200 a *
    POST /messages?session_id=KEY&at=down        => 503 - UNAVAILABLE a
    GET /sse?session_id=KEY&id=KEY&at=down       => 200 b UNAVAILABLE a
    POST /messages?session_id=KEY&at=down        => 200 b HIT b
    GET /sse?session_id=KEY&id=KEY&at=gone       => 200 c GONE b
    POST /messages?session_id=KEY&at=gone        => 200 c HIT c
    GET /sse?session_id=KEY&id=KEY&at=gone       => 200 c HIT c
    POST /messages?session_id=KEY                => 404 - GONE c
