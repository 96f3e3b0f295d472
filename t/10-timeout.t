# How long a session lives: timeout= while it is idle, lifetime= even if it is in use.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an idle session is forgotten after timeout
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    GET / | X-Session: one           => 200 a HIT a
    after 1.2 GET / | X-Session: one => 200 b UNKNOWN -
    GET / | X-Session: one           => 200 a UNKNOWN -



=== TEST 2: a forgotten session is rejected as any unknown one
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s unknown=reject create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 1.2 GET / | X-Session: one => 404 - UNKNOWN -



=== TEST 3: each request lets the time begin anew
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=2s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 2.2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 4: whatever its server answers
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=2s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                       => 200 a NEW a
    after 0.9 GET /404 | X-Session: one => 404 a HIT a
    after 0.9 GET /500 | X-Session: one => 500 a HIT a
    after 0.9 GET / | X-Session: one    => 200 a HIT a



=== TEST 5: an open response keeps its session alive for longer than the timeout
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::ask_many('/?new=one');
    Sticky::hold('GET /slow | X-Session: one');
--- story
    after 1.4 GET / | X-Session: one => 200 a HIT a



=== TEST 6: and so does the one that made it
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
--- story
    after 1.4 GET / | X-Session: one => 200 a HIT a



=== TEST 7: of twice the timeout, to its end
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one              => 200 a NEW a
    GET /slow | X-Session: one => 200 a HIT a
    GET / | X-Session: one     => 200 a HIT a



=== TEST 8: the time begins when the response has ended
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=2s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /slow?new=one                => 200 a NEW a
    after 0.9 GET / | X-Session: one => 200 a HIT a
    after 2.2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 9: or when the client has left
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
    Sticky::let_go();
--- story
    after 2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 10: of several responses, the last one counts
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- init
    Sticky::hold('GET /slow?new=one');
    Sticky::hold('GET /slow | X-Session: one');
    Sticky::let_go();
    Sticky::hold('GET /slow | X-Session: one');
--- story
    after 1.2 GET / | X-Session: one => 200 a HIT a



=== TEST 11: a session that is in use does not keep others alive
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one              => 200 a NEW a
    GET /?new=two              => 200 b NEW b
    GET /slow | X-Session: two => 200 b HIT b
    GET / | X-Session: one     => 200 a UNKNOWN -
    GET / | X-Session: two     => 200 b HIT b



=== TEST 12: a lifetime ends, however busy the session is
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m lifetime=2s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 0.5 GET / | X-Session: one => 200 a HIT a
    after 0.5 GET / | X-Session: one => 200 a HIT a
    after 1.2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 13: not even an open response makes it longer
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m lifetime=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one              => 200 a NEW a
    GET /slow | X-Session: one => 200 a HIT a
    GET / | X-Session: one     => 200 b UNKNOWN -



=== TEST 14: within its lifetime a session may still be idle for too long
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s lifetime=1h create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 1.2 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 15: a session that was forgotten may be learned anew, elsewhere
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                              => 200 a NEW a
    after 1.2 GET /?new=one | X-Session: one   => 200 b NEW b
    GET / | X-Session: one                     => 200 b HIT b



=== TEST 16: half a second is a timeout, too
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=500ms create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one                    => 200 a NEW a
    after 0.7 GET / | X-Session: one => 200 b UNKNOWN -



=== TEST 17: in MCP mode as well
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m timeout=1s;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?mcp=one                           => 200 a NEW a
    GET /slow | Mcp-Session-Id: one         => 200 a HIT a
    GET / | Mcp-Session-Id: one             => 200 a HIT a
    after 1.2 GET / | Mcp-Session-Id: one   => 404 - UNKNOWN -
