# Learning from a response: where create= finds the id, and which responses count.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a session is learned from a response header and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 b NONE -
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: two => 200 * UNKNOWN -



=== TEST 2: $sent_http_ is as good as $upstream_http_
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 3: $upstream_cookie_ too
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_cookie_sid lookup=$cookie_sid;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one%3B+Path=/ => 200 a NEW a
    GET / | Cookie: x=y; sid=one%3B+Path=/ => 200 a HIT a
    GET / | Cookie: sid=one%3B+Path=/      => 200 a HIT a
    GET / | Cookie: sid=two                => 200 b UNKNOWN -



=== TEST 4: a map over a response header
--- http_config
    map $upstream_http_x_session $learned {
        ~^v1\.(?<id>.+)$ $id;
    }
    upstream u {
        sticky_learn zone=sessions:1m create=$learned lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=v1.one          => 200 a NEW a
    GET / | X-Session: one    => 200 a HIT a
    GET / | X-Session: one    => 200 a HIT a
    GET /?new=v2.two          => 200 b NONE -
    GET / | X-Session: v1.one => 200 a UNKNOWN -



=== TEST 5: several variables together make an id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m
                     create=$upstream_http_x_session$upstream_http_mcp_session_id
                     lookup=${http_x_session}$http_mcp_session_id;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one&mcp=two                        => 200 a NEW a
    GET / | X-Session: one | Mcp-Session-Id: two => 200 a HIT a
    GET / | X-Session: onetwo                    => 200 a HIT a
    GET / | X-Session: one                       => 200 b UNKNOWN -
    GET / | X-Session: two | Mcp-Session-Id: one => 200 a UNKNOWN -



=== TEST 6: of several create, the first that is not empty counts
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m
                     create=$upstream_http_x_session create=$upstream_cookie_sid create=$upstream_http_mcp_session_id
                     lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one&cookie=sid=two&mcp=three => 200 a NEW a
    GET /?cookie=sid=four&mcp=five         => 200 b NEW b
    GET /?mcp=six                          => 200 a NEW a
    GET / | X-Session: one                 => 200 a HIT a
    GET / | X-Session: two                 => 200 * UNKNOWN -
    GET / | X-Session: three               => 200 * UNKNOWN -
    GET / | X-Session: four                => 200 b HIT b
    GET / | X-Session: five                => 200 * UNKNOWN -
    GET / | X-Session: six                 => 200 a HIT a



=== TEST 7: a response that names no session teaches nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /                  => 200 a NONE -
    GET /?new=             => 200 b NONE -
    GET / | X-Session: one => 200 a UNKNOWN -
    GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 8: a session is there before its response has ended
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 b NONE -



=== TEST 9: even if nginx still holds the response back
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_ignore_headers X-Accel-Buffering;
    }
--- init
    Sticky::hold('GET /slow?new=one', 1);
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 10: whatever the status of the response
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /202?new=one         => 202 a NEW a
    GET /204?new=two         => 204 b NEW b
    GET /301?new=three       => 301 a NEW a
    GET /401?new=four        => 401 b NEW b
    GET /500?new=five        => 500 a NEW a
    HEAD /?new=six           => 200 b NEW b
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: two   => 200 b HIT b
    GET / | X-Session: three => 200 a HIT a
    GET / | X-Session: four  => 200 b HIT b
    GET / | X-Session: five  => 200 a HIT a
    GET / | X-Session: six   => 200 b HIT b



=== TEST 11: whatever the method of the request
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /200?new=one            => 200 a NEW a
    DELETE /200 | X-Session: one => 200 a HIT a
    OPTIONS / | X-Session: one   => 200 a HIT a
    PUT /200 | X-Session: one    => 200 a HIT a



=== TEST 12: an id that its server issues again is not new
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    GET /?new=one                    => 200 a NONE a
    GET /?new=one | X-Session: one   => 200 a HIT a



=== TEST 13: a session may be given another id
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                  => 200 a NEW a
    GET /?new=two | X-Session: one => 200 a NEW a
    GET / | X-Session: two         => 200 a HIT a
    GET / | X-Session: one         => 200 a HIT a



=== TEST 14: an id that the client invented is learned when a server adopts it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET / | X-Session: one         => 200 a UNKNOWN -
    GET /?new=one | X-Session: one => 200 b NEW b
    GET / | X-Session: one         => 200 b HIT b
    GET / | X-Session: one         => 200 b HIT b



=== TEST 15: a header that is hidden from the client teaches all the same
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_hide_header X-Session;
    }
--- request eval
["GET /?new=one", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- response_headers eval
["! X-Session\nX-Status: NEW\nX-Server: a", "X-Status: HIT\nX-Server: a", "X-Status: HIT\nX-Server: a"]



=== TEST 16: the switch to another protocol teaches
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A;
    }
--- config
    location / {
        proxy_pass http://u;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }
    # An upstream that knows the session, but not its server.
    location /v { proxy_pass http://v; }
--- tcp_listen: $TEST_NGINX_RAND_PORT_4
--- tcp_reply eval
"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\nX-Session: one\r\n\r\n"
--- request eval
["GET /", "GET /v"]
--- more_headers eval
["Connection: upgrade\nUpgrade: test", "X-Session: one"]
--- error_code eval
[101, 404]
--- response_headers eval
["X-Status: NEW", "X-Status: GONE"]



=== TEST 17: ids of several responses are not mixed up
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    GET /?new=one            => 200 a NEW a
    GET /?new=two            => 200 b NEW b
    GET /?new=three          => 200 c NEW c
    GET / | X-Session: three => 200 c HIT c
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: two   => 200 b HIT b
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: three => 200 c HIT c
    GET / | X-Session: two   => 200 b HIT b
