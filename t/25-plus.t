# NGINX Plus's `sticky learn`, for an nginx without it: its syntax, and the moments at which it learns.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
also_with_two_workers;
run_tests();

__DATA__

=== TEST 1: the configuration of NGINX Plus for MCP, word for word but for the addresses
--- http_config
    upstream mcp-server {
        sticky learn
            create=$sent_http_mcp_session_id
            lookup=$http_mcp_session_id
            zone=client_sessions:1m;
        zone backend 64k;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location /mcp/ { proxy_pass http://mcp-server/mcp/; }
--- story
    POST /mcp/?mcp=one                => 200 a *
    POST /mcp/ | Mcp-Session-Id: one  => 200 a HIT a
    GET /mcp/ | Mcp-Session-Id: one   => 200 a HIT a
    POST /mcp/?mcp=two                => 200 b *
    POST /mcp/ | Mcp-Session-Id: two  => 200 b HIT b
    DELETE /mcp/ | Mcp-Session-Id: one => 200 a HIT a



=== TEST 2: without header, a session is there when its response has ended
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /slow?new=one      => 200 a NONE -
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 3: and not before
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one         => 200 b UNKNOWN -
    after 4 GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one         => 200 a HIT a



=== TEST 4: with header, it is there with the headers of the response
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 5: with header, $sent_http_ learns, too
--- http_config
    upstream u {
        sticky learn create=$sent_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 6: without header, the access log tells what was learned
--- http_config
    log_format sticky '$upstream_sticky_status $upstream_http_x_server';
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    access_log logs/sticky.log sticky;
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a *
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: two => 200 b UNKNOWN -
--- logged
NEW a
HIT a
UNKNOWN b



=== TEST 7: cookies, several create and lookup
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session create=$upstream_cookie_sid
               lookup=$http_x_session lookup=$cookie_sid zone=sessions:1m timeout=1h;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?cookie=sid=one       => 200 a *
    GET / | Cookie: sid=one    => 200 a HIT a
    GET / | Cookie: sid=one    => 200 a HIT a
    GET /?new=two&cookie=sid=x => 200 b *
    GET / | X-Session: two     => 200 b HIT b
    GET / | Cookie: sid=x      => 200 * UNKNOWN -



=== TEST 8: an idle session is forgotten after timeout
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=2s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a *
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 2.2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 9: answers refresh, a lookup alone does not: the session of an open response expires
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=1s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=zero');
--- story
    GET /?new=one                    => 200 b *
    GET /slow | X-Session: one       => 200 b HIT b
    GET / | X-Session: one           => 200 * UNKNOWN -



=== TEST 10: with header, the header of an answer refreshes
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=2s header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    GET /slow | X-Session: one       => 200 a HIT a
    after 1.5 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 11: a session belongs to the server that answered, whatever it said
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one               => 200 a *
    GET / | X-Session: one      => 200 a HIT a
    GET /v/404 | X-Session: one => 404 b *
    GET /v/ | X-Session: one    => 200 b HIT b
    GET /v/ | X-Session: one    => 200 b HIT b



=== TEST 12: an answer that names another session concerns that one, not the one looked up
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=2s header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                              => 200 a NEW a
    after 1.1 GET /?new=two | X-Session: one   => 200 a NEW a
    after 1.1 GET / | X-Session: one           => 200 b UNKNOWN -
    GET / | X-Session: two                     => 200 a HIT a



=== TEST 13: a session whose server is away is balanced, never rejected
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one             => 200 a *
    GET /v/ | X-Session: one  => 200 b *
    GET /v/ | X-Session: none => 200 b UNKNOWN -



=== TEST 14: a server that breaks off is replaced, and loses the session
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a *
    GET /drop-a | X-Session: one => 200 b *
    GET / | X-Session: one       => 200 b HIT b
    GET / | X-Session: one       => 200 b HIT b



=== TEST 15: a cached answer teaches nothing
--- http_config
    proxy_cache_path cache keys_zone=cache:64k;
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=1s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_cache cache;
    proxy_cache_key $uri;
    proxy_cache_valid 1h;
    location = /fill {
        proxy_cache_key /cached;
        proxy_pass http://$TEST_NGINX_C/;
    }
    location = /cached { proxy_pass http://u/; }
    location / {
        proxy_cache off;
        proxy_pass http://u/;
    }
--- story
    GET /fill?new=one      => 200 c -
    GET /cached            => 200 c -
    GET / | X-Session: one => 200 a UNKNOWN -



=== TEST 16: keepalive before and behind it
--- http_config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    upstream u {
        keepalive 4;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        keepalive 4;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a * * fresh
    GET / | X-Session: one   => 200 a HIT a reused
    GET / | X-Session: one   => 200 a HIT a reused
    GET /v/ | X-Session: one => 200 a HIT a fresh
    GET /v/ | X-Session: one => 200 a HIT a reused



=== TEST 17: a zone may be shared with sticky_learn
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 200 a HIT a
    GET /v/ | X-Session: two => 404 - UNKNOWN -
    GET /v/?new=three        => 200 X NEW
    GET / | X-Session: three => 200 X HIT



=== TEST 18: a session on a server that drains goes on, and no other begins there
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        zone servers;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A drain;
        server $TEST_NGINX_B;
    }
    upstream w {
        zone servers;
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A drain;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
    location /w/ { proxy_pass http://w/; }
--- story
    GET /?new=one              => 200 a NEW a
    GET /v/ | X-Session: one   => 200 a HIT a
    GET /v/ | X-Session: one   => 200 a HIT a
    GET /w/ | X-Session: one   => 200 a HIT a
    GET /v/                    => 200 b NONE -
    GET /v/?new=two            => 200 b NEW b
    GET /w/?new=three          => 200 b NEW b
    GET /v/ | X-Session: three => 200 b HIT b
