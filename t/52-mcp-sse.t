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



=== TEST 3: ids are exact, and unknown ones rejected
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    GET /sse?id=One              => 200 a *
    POST /?sessionId=one         => 404 - UNKNOWN -
    POST /?sessionid=One         => 200 a NONE -
    POST /?sessionId=            => 200 a NONE -
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
    POST /?sessionId=two         => 404 - UNKNOWN -



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
    POST /?sessionId=one         => 404 - UNKNOWN -
    GET /task?id=one             => 200 a NONE -
    POST /?sessionId=one         => 404 - UNKNOWN -



=== TEST 7: at a revision without sessions nothing is learned and nothing followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    GET /sse?id=one | MCP-Protocol-Version: 2026-07-28       => 200 a NONE -
    POST /?sessionId=one | MCP-Protocol-Version: 2026-07-28  => 200 a NONE -
    POST /?sessionId=one                                     => 404 - UNKNOWN -



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
    POST /?sessionId=one           => 404 - UNKNOWN -



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
    POST /?sessionId=one                    => 404 - UNKNOWN -



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
    POST /?sessionId=one                 => 404 - UNKNOWN -
    GET /sse?id=two&encoding=zstd        => 200 a NONE -
    POST /?sessionId=two                 => 404 - UNKNOWN -
    GET /sse?id=three&encoding=Identity  => 200 a *
    POST /?sessionId=three               => 200 a HIT a
