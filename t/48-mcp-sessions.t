# MCP's Streamable HTTP: how sessions begin and end.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: only a 2xx answer begins a session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    POST /401?mcp=one           => 401 a NONE -
    POST /500?mcp=one           => 500 a NONE -
    GET / | Mcp-Session-Id: one => 404 - UNKNOWN -
    POST /202?mcp=one           => 202 a NEW a
    GET / | Mcp-Session-Id: one => 200 a HIT a



=== TEST 2: names of headers are caseless, ids exact
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=One              => 200 a NEW a
    GET / | MCP-SESSION-ID: One => 200 a HIT a
    GET / | mcp-session-id: One => 200 a HIT a
    GET / | Mcp-Session-Id: one => 404 - UNKNOWN -
    GET / | Mcp-Session: One    => 200 b NONE -
    GET / | Xcp-Session-Id: One => 200 a NONE -



=== TEST 3: lines that differ are answered 400, equal ones are one
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions unknown=balance bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /202 { proxy_pass http://v; }
--- story
    POST /?mcp=one                                           => 200 a NEW a
    POST /?mcp=two                                           => 200 b NEW b
    GET / | Mcp-Session-Id: two | Mcp-Session-Id: one        => 400 - UNKNOWN -
    GET /202 | Mcp-Session-Id: two | Mcp-Session-Id: one     => 400 - UNKNOWN -
    GET /202 | Mcp-Session-Id: x | Mcp-Session-Id: y | X-User: ann => 400 - UNKNOWN -
    POST /?sessionId=x | Mcp-Session-Id: a | Mcp-Session-Id: b     => 400 - UNKNOWN -
    DELETE / | Mcp-Session-Id: one | Mcp-Session-Id: two     => 400 - UNKNOWN -
    GET / | Mcp-Session-Id: two | Mcp-Session-Id: two        => 200 b HIT b
    GET / | Mcp-Session-Id: one | Mcp-Session-Id: one        => 200 a HIT a



=== TEST 4: a DELETE that is answered 2xx ends a session, another does not
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one                     => 200 a NEW a
    DELETE /403 | Mcp-Session-Id: one  => 403 a HIT a
    DELETE /500 | Mcp-Session-Id: one  => 500 a HIT a
    GET / | Mcp-Session-Id: one        => 200 a HIT a
    DELETE / | Mcp-Session-Id: one     => 200 a HIT a
    GET / | Mcp-Session-Id: one        => 404 - UNKNOWN -
    DELETE / | Mcp-Session-Id: one     => 404 - UNKNOWN -
    POST /?mcp=two                     => 200 b NEW b
    DELETE /204 | Mcp-Session-Id: two  => 204 b HIT b
    GET / | Mcp-Session-Id: two        => 404 - UNKNOWN -



=== TEST 5: a DELETE of one session leaves the others
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
--- story
    POST /?mcp=one                 => 200 a NEW a
    POST /?mcp=two                 => 200 a NEW a
    DELETE /                       => 200 a NONE -
    DELETE / | Mcp-Session-Id: two => 200 a HIT a
    GET / | Mcp-Session-Id: one    => 200 a HIT a



=== TEST 6: no answer but that to a DELETE ends a session, a 404 of its own server least of all
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one                    => 200 a NEW a
    POST /500 | Mcp-Session-Id: one   => 500 a HIT a
    POST /401 | Mcp-Session-Id: one   => 401 a HIT a
    GET /404 | Mcp-Session-Id: one    => 404 a HIT a
    POST /404 | Mcp-Session-Id: one   => 404 a HIT a
    DELETE /404 | Mcp-Session-Id: one => 404 a HIT a
    POST / | Mcp-Session-Id: one      => 200 a HIT a



=== TEST 7: nor does one that nginx puts a page of its own in the place of
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    proxy_intercept_errors on;
    error_page 404 /page;
    location / { proxy_pass http://u; }
    location = /page { internal; return 404 "page\n"; }
--- story
    POST /?mcp=one                    => 200 a NEW a
    POST /404 | Mcp-Session-Id: one   => 404 - * *
    DELETE /404 | Mcp-Session-Id: one => 404 - * *
    POST /204 | Mcp-Session-Id: one   => 204 a HIT a



=== TEST 8: a 404 of another server ends nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unavailable=balance;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions unavailable=balance;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /404 { proxy_pass http://without_a; }
--- story
    POST /?mcp=one                  => 200 a NEW a
    POST /404 | Mcp-Session-Id: one => 404 b UNAVAILABLE a
    POST / | Mcp-Session-Id: one    => 200 a HIT a



=== TEST 9: with ids of one's own neither DELETE nor 404 ends a session
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- story
    POST /?new=one             => 200 a NEW a
    DELETE / | X-Session: one  => 200 a HIT a
    POST /404 | X-Session: one => 404 a HIT a
    POST / | X-Session: one    => 200 a HIT a



=== TEST 10: a known id is honoured at a revision without sessions, an unknown one balanced, none learned
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- story
    POST /?mcp=one                                                          => 200 a NEW a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Session-Id: one         => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Session-Id: one         => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Session-Id: stranger    => 200 b UNKNOWN -
    POST /404 | MCP-Protocol-Version: 2026-07-28 | Mcp-Session-Id: one      => 404 a HIT a
    POST /?mcp=two | MCP-Protocol-Version: 2026-07-28                       => 200 c NONE -
    POST / | MCP-Protocol-Version: 2025-11-25 | Mcp-Session-Id: two         => 404 - UNKNOWN -
    POST / | MCP-Protocol-Version: 2025-11-25 | Mcp-Session-Id: one         => 200 a HIT a
    POST / | MCP-Protocol-Version: 2025-06-18 | Mcp-Session-Id: one         => 200 a HIT a
    POST / | MCP-Protocol-Version: 2025-06-18 | Mcp-Session-Id: stranger    => 404 - UNKNOWN -
    POST / | MCP-Protocol-Version: 2025-03-26 | Mcp-Session-Id: one         => 200 a HIT a
    POST / | MCP-Protocol-Version: 2025-03-26 | Mcp-Session-Id: stranger    => 404 - UNKNOWN -



=== TEST 11: an id that somebody else presents is as unknown as any
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server $TEST_NGINX_A;
    }
--- story
    POST /?mcp=one | X-User: alice                     => 200 a NEW a
    GET / | Mcp-Session-Id: one | X-User: mallory      => 404 - UNKNOWN -
    DELETE / | Mcp-Session-Id: one | X-User: mallory   => 404 - UNKNOWN -
    GET / | Mcp-Session-Id: one                        => 404 - UNKNOWN -
    GET / | Mcp-Session-Id: one | X-User: alice        => 200 a HIT a



=== TEST 12: of a response's header that comes twice the first line counts, without blanks
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=bound:1m bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /202 { proxy_pass http://v; }
--- story
    POST /?mcp=one&mcp2=two                      => 200 a NEW a
    POST / | Mcp-Session-Id: one                 => 200 a HIT a
    POST / | Mcp-Session-Id: two                 => 404 - UNKNOWN -
    POST / | Mcp-Session-Id: one, two            => 404 - UNKNOWN -
    POST /blanks?mcp=three&mcp2=four             => 200 b NEW b
    POST / | Mcp-Session-Id: three               => 200 b HIT b
    POST /?mcp=s6,%20s6                          => 200 a NEW a
    POST / | Mcp-Session-Id: s6,%20s6            => 200 a HIT a
    POST / | Mcp-Session-Id: s6                  => 404 - UNKNOWN -
    POST /202?mcp=one&mcp2=two | X-User: ann     => 202 a NEW a
    POST /202 | Mcp-Session-Id: one | X-User: ann => 202 a HIT a
    POST /202 | Mcp-Session-Id: one | X-User: bob => 404 - UNKNOWN -



=== TEST 13: so it is with a value of one's own
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_mcp_session_id lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /202 { proxy_pass http://v; }
    location = /blanks { proxy_pass http://v; }
--- story
    POST /?new=one&own=two                 => 200 a NEW a
    POST / | X-Session: one                => 200 a HIT a
    POST / | X-Session: one, a-two         => 404 - UNKNOWN -
    POST /202?mcp=three&mcp2=four          => 202 a NEW a
    POST / | X-Session: three              => 200 a HIT a
    POST /blanks?mcp=five&mcp2=six         => 200 b NEW b
    POST / | X-Session: five               => 200 b HIT b



=== TEST 14: who answers 2xx with the id of a header holds the session, whoever held it before
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=default                => 200 a NEW a
    POST /404?mcp=default             => 404 b NONE -
    POST / | Mcp-Session-Id: default  => 200 a HIT a
    POST /201                         => 201 a NONE -
    POST /201?mcp=default             => 201 b REBOUND b
    POST / | Mcp-Session-Id: default  => 200 b HIT b
--- told
\[info\] .*zone "sessions\w*": server "[\d.:]+" answered with an id that was bound to another one, and has it now \(hash [0-9a-f]{16}\)



=== TEST 15: also for a request whose own id is unknown
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unknown=balance;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one                                     => 200 a NEW a
    POST /?mcp=one | Mcp-Session-Id: stranger          => 200 b REBOUND b
    POST /?mcp=two | Mcp-Session-Id: two               => 200 a NEW a
    POST / | Mcp-Session-Id: one                       => 200 b HIT b
    POST /?mcp=two | Mcp-Session-Id: one               => 200 b HIT b
    POST / | Mcp-Session-Id: two                       => 200 a HIT a



=== TEST 16: a key that users put into the query decides nothing
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?session_id=KEY&mcp=one                      => 200 a NEW a
    POST /?session_id=KEY                              => 200 b UNKNOWN -
    POST /?session_id=KEY | Mcp-Session-Id: one        => 200 a HIT a
    POST /?sessionId=KEY | Mcp-Session-Id: one         => 200 a HIT a
    POST /?sessionId=KEY | Mcp-Session-Id: stranger    => 404 - UNKNOWN -
    DELETE /?session_id=KEY | Mcp-Session-Id: one      => 200 a HIT a
    POST /?session_id=KEY | Mcp-Session-Id: one        => 404 - UNKNOWN -



=== TEST 17: an underscore in the header's name is a hyphen, as it is to servers that read headers by CGI's rules
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    underscores_in_headers on;
    location / { proxy_pass http://u; }
--- story
    POST /?mcp=one                                           => 200 a NEW a
    POST /?mcp=two                                           => 200 b NEW b
    POST / | Mcp-Session-Id: one | Mcp_Session_Id: two       => 400 - UNKNOWN -
    POST / | Mcp_Session_Id: two | Mcp-Session-Id: one       => 400 - UNKNOWN -
    POST / | MCP-SESSION_ID: two | mcp_session-id: one       => 400 - UNKNOWN -
    POST / | Mcp-Session-Id: one | Mcp_Session-Id: one       => 200 a HIT a
    POST / | Mcp_Session_Id: two                             => 200 b HIT b
    POST / | Mcp_Session_Id: one                             => 200 a HIT a
    POST / | Mcp_Session_Id: stranger                        => 404 - UNKNOWN -



=== TEST 18: by default nginx drops such a header, and no server gets it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one                                           => 200 a NEW a
    POST / | Mcp-Session-Id: one | Mcp_Session_Id: two       => 200 a HIT a
    POST / | Mcp_Session_Id: one                             => 200 b NONE -



=== TEST 19: what ends a session is its server's own answer, not one that nginx is redirected to
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /404 { proxy_intercept_errors on; error_page 404 = @again; proxy_pass http://u; }
    location = /front { proxy_pass http://$TEST_NGINX_B; }
    location = /page { internal; return 200 "page\n"; }
    location = /denied { internal; return 403 "denied\n"; }
    # A redirect to a name keeps the method.
    location @again { rewrite ^ /204? break; proxy_pass http://u; }
--- story
    POST /?mcp=one                                         => 200 a NEW a
    DELETE /403?accel=/page | Mcp-Session-Id: one          => 200 - HIT a
    DELETE /403?accel=@again | Mcp-Session-Id: one         => 204 a HIT a
    DELETE /404 | Mcp-Session-Id: one                      => 204 a HIT a
    POST / | Mcp-Session-Id: one                           => 200 a HIT a
    DELETE /202?accel=/denied | Mcp-Session-Id: one        => 403 - HIT a
    POST / | Mcp-Session-Id: one                           => 404 - UNKNOWN -
    # Both servers answer the DELETE. Only one of them is the session's server.
    POST /?mcp=two                                         => 200 b NEW b
    DELETE /front?accel=@again | Mcp-Session-Id: two       => 204 b HIT b
    POST / | Mcp-Session-Id: two                           => 404 - UNKNOWN -
