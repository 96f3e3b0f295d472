# MCP's tasks of 2026-07-28: the result of a tool call begins one, Mcp-Name carries its id.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: learned from a JSON body, followed by the three methods
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call | Mcp-Name: slow => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one              => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/update | Mcp-Name: one           => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/cancel | Mcp-Name: one           => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call | Mcp-Name: one             => 200 b NONE -



=== TEST 2: learned from an event after others
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task-in-events?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one       => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one       => 200 a HIT a



=== TEST 3: the id may come in base64
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                       => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: =?base64?b25l?=       => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: =?base64?b25l?=       => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: =?base64?b25=?=       => 200 b NONE -



=== TEST 4: an unknown task is balanced
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one => 200 a UNKNOWN -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one => 200 b UNKNOWN -



=== TEST 5: Mcp-Name is not believed at a version whose servers do not check it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call     => 200 a *
    POST / | MCP-Protocol-Version: 2025-11-25 | Mcp-Method: tasks/get | Mcp-Name: one => 200 b NONE -
    POST / | Mcp-Method: tasks/get | Mcp-Name: one                                    => 200 a NONE -
    POST /task?id=two | MCP-Protocol-Version: 2025-11-25 | Mcp-Method: tools/call     => 200 b NONE -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: two => 200 a UNKNOWN -



=== TEST 6: a 404 ends no task, it says that there is no such method
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call            => 200 a *
    POST /404 | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/cancel | Mcp-Name: one  => 404 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one        => 200 a HIT a



=== TEST 7: a task whose server may come back waits for it, one whose server is gone is balanced
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions gone_after=2s;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /200 { proxy_pass http://without_a; }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                     => 200 a *
    POST /200 | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one              => 503 - UNAVAILABLE a
    after 2.5 POST /200 | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one    => 200 b GONE a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one                 => 200 a UNKNOWN -



=== TEST 8: a task is that of the identity that began it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call | X-User: alice                  => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one | X-User: mallory            => 200 b UNKNOWN -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one | X-User: alice              => 200 a HIT a



=== TEST 9: it lives as long as its server says, idle or not, and else as long as it is in use
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=long&ttl=4000 | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call            => 200 a *
    POST /task?id=idle | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                     => 200 b *
    after 2 POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: idle         => 200 * UNKNOWN -
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: long                 => 200 a HIT a
    after 2.5 POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: long       => 200 * UNKNOWN -



=== TEST 10: learned from what a slow client gets when the server is done
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    # All but the first bytes go to a file, and are read from it one by one.
    location = /long-task {
        proxy_buffer_size 1k;
        proxy_buffers 2 1k;
        proxy_busy_buffers_size 1k;
        output_buffers 1 1k;
        limit_rate 4k;
        proxy_pass http://u;
    }
--- story
    POST /long-task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one  => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one  => 200 a HIT a



=== TEST 11: a session id that is left over does not keep a task from its server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                                     => 200 a *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one | Mcp-Session-Id: stranger      => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: two | Mcp-Session-Id: stranger      => 200 b UNKNOWN -



=== TEST 12: a task stays where it began, whoever says its name
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m unavailable=rebind;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call            => 200 a *
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call            => 200 b *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one        => 200 a HIT a
--- told
\[info\] .*zone "sessions\w*": server "[\d.:]+" answered with an id that stays bound to another one \(hash [0-9a-f]{16}\)



=== TEST 13: unless that server is gone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
    }
    upstream without_a {
        sticky_learn zone=sessions;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://without_a; }
    location = /task { proxy_pass http://$which; }
    set $which u;
    if ($arg_at) { set $which without_a; }
--- story
    POST /task?id=one | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call            => 200 a *
    POST /task?id=one&at=b | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call       => 200 b *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: one        => 200 b HIT b



=== TEST 14: nor does one that is known, and leads elsewhere
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    POST /?mcp=one                                                                                                    => 200 a NEW a
    POST /task?id=two | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call                                     => 200 b *
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: two | Mcp-Session-Id: one           => 200 b HIT b
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/cancel | Mcp-Name: two | Mcp-Session-Id: one        => 200 b HIT b
    # With another method, or with an unknown task, the session id counts.
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tools/call | Mcp-Name: two | Mcp-Session-Id: one          => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: stranger | Mcp-Session-Id: one      => 200 a HIT a
    POST / | MCP-Protocol-Version: 2026-07-28 | Mcp-Method: tasks/get | Mcp-Name: =?base64?b25=?= | Mcp-Session-Id: one => 200 a HIT a
    POST / | MCP-Protocol-Version: 2025-11-25 | Mcp-Method: tasks/get | Mcp-Name: two | Mcp-Session-Id: one           => 200 a HIT a
