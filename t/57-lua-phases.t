# Lua's phases: where a request's id and the value of bind may be set, what the status variable says, and what happens to
# a session that Lua binds or ends. The table is in docs/openresty.md.

use lib 't/lib';
use Sticky;
use Sticky::Lua;

with_lua();

# "one" is at server a, "two" at b, both bound to alice; "mine" is at c, bound to none.
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => ($block->http_config // '') . <<'END');
    init_by_lua_block { sticky = require "resty.sticky_learn" }
    init_worker_by_lua_block {
        local alice = { bind = "alice" }
        assert(sticky.bind("ZONE", "one", "127.0.0.1:$TEST_NGINX_RAND_PORT_1", alice))
        assert(sticky.bind("ZONE", "two", "127.0.0.1:$TEST_NGINX_RAND_PORT_2", alice))
        assert(sticky.bind("ZONE", "mine", "127.0.0.1:$TEST_NGINX_RAND_PORT_3"))
    }
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=$http_x_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
END
});

run_tests();

__DATA__

=== TEST 1: the id that Lua sets is the one that counts, whatever the client has sent
--- config
    location /set/ { set_by_lua_block $x { ngx.req.set_header("X-Session", "one") return "" } proxy_pass http://u/; }
    location /rewrite/ { rewrite_by_lua_block { ngx.req.set_header("X-Session", "one") } proxy_pass http://u/; }
    location /access/ { access_by_lua_block { ngx.req.set_header("X-Session", "one") } proxy_pass http://u/; }
    location / { proxy_pass http://u; }
--- story
    GET / | X-User: alice | X-Session: two         => 200 b HIT b
    GET /set/ | X-User: alice | X-Session: two     => 200 a HIT a
    GET /rewrite/ | X-User: alice | X-Session: two => 200 a HIT a
    GET /access/ | X-User: alice | X-Session: two  => 200 a HIT a
    GET /rewrite/ | X-User: alice                  => 200 a HIT a
    GET /access/ | X-User: alice                   => 200 a HIT a
    GET /access/ | X-User: alice | X-Session: none => 200 a HIT a



=== TEST 2: the id that Lua clears does not count
--- config
    location /set/ { set_by_lua_block $x { ngx.req.clear_header("X-Session") return "" } proxy_pass http://u/; }
    location /rewrite/ { rewrite_by_lua_block { ngx.req.clear_header("X-Session") } proxy_pass http://u/; }
    location /access/ { access_by_lua_block { ngx.req.clear_header("X-Session") } proxy_pass http://u/; }
    location / { proxy_pass http://u; }
--- story
    GET / | X-User: alice | X-Session: two         => 200 b HIT b
    GET /set/ | X-User: alice | X-Session: two     => 200 * NONE -
    GET /rewrite/ | X-User: alice | X-Session: two => 200 * NONE -
    GET /access/ | X-User: alice | X-Session: two  => 200 * NONE -
    GET /access/ | X-User: alice | X-Session: two  => 200 * NONE -



=== TEST 3: so is the value of bind: a header of the client cannot forge it
--- config
    location /set/ { set_by_lua_block $x { ngx.req.set_header("X-User", ngx.var.arg_is or "nobody") return "" } proxy_pass http://u/; }
    location /rewrite/ { rewrite_by_lua_block { ngx.req.set_header("X-User", ngx.var.arg_is or "nobody") } proxy_pass http://u/; }
    location /access/ { access_by_lua_block { ngx.req.set_header("X-User", ngx.var.arg_is or "nobody") } proxy_pass http://u/; }
    location /clear-set/ { set_by_lua_block $x { ngx.req.clear_header("X-User") return "" } proxy_pass http://u/; }
    location /clear-rewrite/ { rewrite_by_lua_block { ngx.req.clear_header("X-User") } proxy_pass http://u/; }
    location /clear-access/ { access_by_lua_block { ngx.req.clear_header("X-User") } proxy_pass http://u/; }
--- story
    GET /set/?is=alice | X-Session: one                   => 200 a HIT a
    GET /set/ | X-Session: one | X-User: alice            => 200 * UNKNOWN -
    GET /rewrite/?is=alice | X-Session: one               => 200 a HIT a
    GET /rewrite/ | X-Session: one | X-User: alice        => 200 * UNKNOWN -
    GET /access/?is=alice | X-Session: one                => 200 a HIT a
    GET /access/ | X-Session: one | X-User: alice         => 200 * UNKNOWN -
    GET /access/?is=alice | X-Session: one | X-User: eve  => 200 a HIT a
    GET /clear-set/ | X-Session: one | X-User: alice      => 200 * UNKNOWN -
    GET /clear-set/ | X-Session: mine | X-User: alice     => 200 c HIT c
    GET /clear-rewrite/ | X-Session: one | X-User: alice  => 200 * UNKNOWN -
    GET /clear-rewrite/ | X-Session: mine | X-User: alice => 200 c HIT c
    GET /clear-access/ | X-Session: one | X-User: alice   => 200 * UNKNOWN -
    GET /clear-access/ | X-Session: mine | X-User: alice  => 200 c HIT c



=== TEST 4: of several phases the last one counts
--- config
    location / {
        set_by_lua_block $x { ngx.req.set_header("X-Session", "mine") return "" }
        rewrite_by_lua_block { ngx.req.set_header("X-Session", "two") }
        access_by_lua_block { ngx.req.set_header("X-Session", "one") ngx.req.set_header("X-User", "alice") }
        proxy_pass http://u;
    }
    location /rewrite/ {
        set_by_lua_block $x { ngx.req.set_header("X-Session", "mine") return "" }
        rewrite_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "alice") }
        proxy_pass http://u/;
    }
--- story
    GET /         => 200 a HIT a
    GET /rewrite/ => 200 b HIT b
    GET /         => 200 a HIT a



=== TEST 5: precontent_by_lua comes behind them; it may also bind and end
--- skip_eval: 50: !main::lua_has('precontent_by_lua_block')
--- config
    header_filter_by_lua_block { ngx.header["X-Seen"] = ngx.ctx.seen }
    location / {
        access_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "mallory") }
        precontent_by_lua_block {
            ngx.req.set_header("X-User", "alice")
            if ngx.var.arg_clear then
                ngx.req.clear_header("X-Session")
            else
                ngx.req.set_header("X-Session", "one")
            end
        }
        proxy_pass http://u;
    }
    location /clear/ { precontent_by_lua_block { ngx.req.clear_header("X-User") } proxy_pass http://u/; }
    location /call/ {
        precontent_by_lua_block {
            local id = ngx.var.http_x_session
            ngx.ctx.seen = tostring(ngx.var.upstream_sticky_status) .. " " .. (sticky.lookup("ZONE", id) and "found" or "none")
            if ngx.var.arg_end then
                assert(sticky.forget("ZONE", id))
            else
                assert(sticky.bind("ZONE", id, "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
            end
        }
        proxy_pass http://u/;
    }
--- request eval
["GET /", "GET /?clear=1", "GET /", "GET /clear/", "GET /clear/", "GET /call/", "GET /call/", "GET /call/?end=1"]
--- more_headers eval
["X-Session: two", "X-Session: two", "", "X-Session: one\nX-User: alice", "X-Session: mine\nX-User: alice",
 "X-Session: new", "X-Session: mine", "X-Session: mine"]
--- response_headers eval
["X-Server: a\nX-Status: HIT", "X-Status: NONE", "X-Server: a\nX-Status: HIT", "X-Status: UNKNOWN", "X-Server: c\nX-Status: HIT",
 "X-Server: b\nX-Status: HIT\nX-Seen: nil none", "X-Server: b\nX-Status: HIT\nX-Seen: nil found",
 "X-Status: UNKNOWN\nX-Seen: nil found"]



=== TEST 6: what Lua sets when the request is at its upstream does not count for it
--- config
    location /header/ {
        access_by_lua_block { ngx.req.set_header("X-User", "alice") }
        header_filter_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "mallory") }
        proxy_pass http://u/;
    }
    location /body/ {
        access_by_lua_block { ngx.req.set_header("X-User", "alice") }
        body_filter_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "mallory") }
        log_by_lua_block {
            ngx.req.set_header("X-Session", "mine")
            ngx.req.clear_header("X-User")
            ngx.log(ngx.NOTICE, "at its end: ", ngx.var.upstream_sticky_status, " ", ngx.var.bound, ";")
        }
        proxy_pass http://u/;
    }
--- story
    GET /header/ | X-Session: one => 200 a HIT a
    GET /header/ | X-Session: one => 200 a HIT a
    GET /body/ | X-Session: one   => 200 a HIT a
    GET /body/ | X-Session: one   => 200 a HIT a
--- told
at its end: HIT a;
--- grep_error_log eval
qr/at its end: (?!HIT a;).*/
--- grep_error_log_out



=== TEST 7: the status variable is empty until a server is chosen; it is final in the body filter and in the log
--- config
    location / {
        set_by_lua_block $x { seen = "set " .. tostring(ngx.var.upstream_sticky_status) return "" }
        rewrite_by_lua_block { seen = seen .. ", rewrite " .. tostring(ngx.var.upstream_sticky_status) }
        access_by_lua_block { seen = seen .. ", access " .. tostring(ngx.var.upstream_sticky_status) }
        body_filter_by_lua_block { if ngx.arg[2] then seen = seen .. ", body_filter " .. ngx.var.upstream_sticky_status end }
        log_by_lua_block { ngx.log(ngx.NOTICE, "seen: ", seen, ", log ", ngx.var.upstream_sticky_status, ";") }
        proxy_pass http://u;
    }
--- request eval
["GET /?new=three", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: three", "X-Session: four"]
--- error_code eval
[200, 200, 200]
--- told
seen: set nil, rewrite nil, access nil, body_filter NEW, log NEW;
seen: set nil, rewrite nil, access nil, body_filter HIT, log HIT;
seen: set nil, rewrite nil, access nil, body_filter UNKNOWN, log UNKNOWN;



=== TEST 8: a session that Lua binds or ends before the server is chosen counts for this request
--- config
    location /set/ {
        set_by_lua_block $x {
            if ngx.var.arg_end then return tostring(sticky.forget("ZONE", ngx.var.http_x_session)) end
            return tostring(sticky.bind("ZONE", ngx.var.http_x_session, "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        }
        proxy_pass http://u/;
    }
    location /rewrite/ {
        rewrite_by_lua_block {
            if ngx.var.arg_end then return assert(sticky.forget("ZONE", ngx.var.http_x_session)) end
            assert(sticky.bind("ZONE", ngx.var.http_x_session, "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        }
        proxy_pass http://u/;
    }
    location /access/ {
        access_by_lua_block {
            if ngx.var.arg_end then return assert(sticky.forget("ZONE", ngx.var.http_x_session)) end
            assert(sticky.bind("ZONE", ngx.var.http_x_session, "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        }
        proxy_pass http://u/;
    }
--- story
    GET /set/ | X-Session: s1           => 200 b HIT b
    GET /set/?end=1 | X-Session: s1     => 200 * UNKNOWN -
    GET /rewrite/ | X-Session: s2       => 200 b HIT b
    GET /rewrite/?end=1 | X-Session: s2 => 200 * UNKNOWN -
    GET /access/ | X-Session: s3        => 200 b HIT b
    GET /access/?end=1 | X-Session: s3  => 200 * UNKNOWN -
    GET /access/ | X-Session: s3        => 200 b HIT b
    GET /access/ | X-Session: mine      => 200 b HIT b



=== TEST 9: a session that Lua ends while the answer passes is over afterwards; one that it binds is found
--- config
    location /header/ {
        header_filter_by_lua_block {
            assert(sticky.forget("ZONE", "mine"))
            assert(sticky.bind("ZONE", "late", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
        }
        proxy_pass http://u/;
    }
    location /body/ {
        body_filter_by_lua_block {
            if ngx.arg[2] then
                assert(sticky.forget("ZONE", "late"))
                assert(sticky.bind("ZONE", "later", "127.0.0.1:$TEST_NGINX_RAND_PORT_3"))
            end
        }
        proxy_pass http://u/;
    }
    location /log/ {
        log_by_lua_block {
            assert(sticky.forget("ZONE", "later"))
            assert(sticky.bind("ZONE", "last", "127.0.0.1:$TEST_NGINX_RAND_PORT_1"))
        }
        proxy_pass http://u/;
    }
    location / { proxy_pass http://u; }
--- story
    GET /header/ | X-Session: mine => 200 c HIT *
    GET / | X-Session: mine        => 200 * UNKNOWN -
    GET /body/ | X-Session: late   => 200 b HIT *
    GET / | X-Session: late        => 200 * UNKNOWN -
    GET /log/ | X-Session: later   => 200 c HIT *
    GET / | X-Session: later       => 200 * UNKNOWN -
    GET / | X-Session: last        => 200 a HIT a



=== TEST 10: an id that header_filter_by_lua puts into the answer is learned if Lua's filter runs before ours
--- config
    location / {
        header_filter_by_lua_block { ngx.header["X-Session"] = "lua" }
        proxy_pass http://u;
    }
    location /plain/ { proxy_pass http://u/; }
--- story
    GET /                         => 200 a NEW a
    GET /plain/ | X-Session: lua  => 200 a HIT a
--- story_of_lua_first
    GET /                         => 200 a NONE -
    GET /plain/ | X-Session: lua  => 200 b UNKNOWN -



=== TEST 11: ngx.exec, ngx.req.set_uri and an internal rewrite keep what Lua has set
--- config
    location /exec/ { rewrite_by_lua_block { ngx.req.set_header("X-Session", "one") ngx.req.set_header("X-User", "alice") ngx.exec("/to/") } }
    location /named/ { access_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "alice") ngx.exec("@to") } }
    location /uri/ { rewrite_by_lua_block { ngx.req.set_header("X-Session", "one") ngx.req.set_header("X-User", "alice") ngx.req.set_uri("/to/", true) } }
    location /in-place/ { rewrite_by_lua_block { ngx.req.set_header("X-Session", "two") ngx.req.set_header("X-User", "alice") ngx.req.set_uri("/x") } proxy_pass http://u; }
    location /to/ { proxy_pass http://u/; }
    location @to { proxy_pass http://u; }
    location /away/ { access_by_lua_block { ngx.req.set_header("X-Session", "one") ngx.redirect("/to/") } proxy_pass http://u; }
--- story
    GET /exec/                      => 200 a HIT a
    GET /exec/ | X-Session: two     => 200 a HIT a
    GET /named/ | X-Session: one    => 200 b HIT b
    GET /uri/ | X-Session: two      => 200 a HIT a
    GET /in-place/ | X-Session: one => 200 b HIT b
    GET /away/                      => 302 - -



=== TEST 12: subrequests have the id that their parent has at that moment, and what it has bound or ended
--- config
    location /to/ {
        # The header filter of nginx adds nothing to the answers of subrequests.
        header_filter_by_lua_block { ngx.header["X-Seen"] = ngx.var.upstream_sticky_status }
        proxy_pass http://u/;
    }
    location = /page {
        content_by_lua_block {
            ngx.req.set_header("X-User", "alice")
            ngx.req.set_header("X-Session", "one")
            local first = ngx.location.capture("/to/")
            ngx.req.set_header("X-Session", "two")
            local second, third = ngx.location.capture_multi({ { "/to/" }, { "/to/" } })
            ngx.req.clear_header("X-User")
            ngx.req.set_header("X-Session", "mine")
            local fourth = ngx.location.capture("/to/")
            ngx.req.clear_header("X-Session")
            local fifth = ngx.location.capture("/to/")
            ngx.print(first.body, second.body, third.body, fourth.body, fifth.header["X-Seen"], "\n")
        }
    }
    location = /call {
        content_by_lua_block {
            local said = tostring(ngx.var.upstream_sticky_status)
            local function ask()
                local answers = { ngx.location.capture_multi({ { "/to/" }, { "/to/" } }) }
                answers[3] = ngx.location.capture("/to/")
                for _, answer in ipairs(answers) do
                    said = said .. " " .. answer.header["X-Seen"]
                end
            end
            ngx.req.set_header("X-Session", "new")
            assert(sticky.bind("ZONE", "new", "127.0.0.1:$TEST_NGINX_RAND_PORT_2"))
            ask()
            assert(sticky.lookup("ZONE", "new") == "127.0.0.1:$TEST_NGINX_RAND_PORT_2")
            assert(sticky.forget("ZONE", "new"))
            ask()
            ngx.say(said)
        }
    }
--- request eval
["GET /page", "GET /call"]
--- response_body eval
["a\nb\nb\nc\nNONE\n", "nil HIT HIT HIT UNKNOWN UNKNOWN UNKNOWN\n"]



=== TEST 13: a cosocket in the middle of access: the id is set behind it, other requests come between
--- config
    location / { proxy_pass http://u; }
    location /wait/ {
        access_by_lua_block {
            ngx.req.set_header("X-Session", "two")
            ngx.req.set_header("X-User", "alice")
            local socket = ngx.socket.tcp()
            assert(socket:connect("127.0.0.1", $TEST_NGINX_RAND_PORT_3))
            socket:send("GET / HTTP/1.0\r\n\r\n")
            assert(socket:receive("*a"))
            ngx.sleep(tonumber(ngx.var.arg_sleep) or 0)
            ngx.req.set_header("X-Session", "one")
        }
        proxy_pass http://u/;
    }
--- init
    Sticky::hold('GET /wait/?sleep=1', 0.1);
--- story
    GET / | X-Session: two | X-User: alice => 200 b HIT b
    GET /wait/?sleep=0.5                   => 200 a HIT a
    GET /wait/ | X-Session: mine           => 200 a HIT a
    GET / | X-Session: two | X-User: alice => 200 b HIT b



=== TEST 14: more_set_input_headers and more_clear_input_headers
--- skip_eval: 18: !$ENV{TEST_NGINX_HEADERS_MORE}
--- main_config eval
$ENV{TEST_NGINX_HEADERS_MORE} // ''
--- config
    location /more/ { more_set_input_headers "X-Session: one" "X-User: alice"; proxy_pass http://u/; }
    location /clear/ { more_clear_input_headers X-User; proxy_pass http://u/; }
--- story
    GET /more/ | X-Session: two | X-User: mallory  => 200 a HIT a
    GET /more/                                     => 200 a HIT a
    GET /clear/ | X-Session: one | X-User: alice   => 200 * UNKNOWN -
    GET /clear/ | X-Session: mine | X-User: alice  => 200 c HIT c



=== TEST 15: njs computes the id and the value of bind
--- skip_eval: 36: !$ENV{TEST_NGINX_JS}
--- main_config eval
$ENV{TEST_NGINX_JS} // ''
--- http_config
    js_path "$TEST_NGINX_SERVER_ROOT/html";
    js_import main from main.js;
    js_set $token_user main.user;
    js_set $first_part main.first;
    upstream v {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=$token_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
    upstream w {
        sticky_learn zone=sessions create=$sent_http_x_session lookup=$first_part bind=$token_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- user_files
>>> main.js
function user(r) {
    return r.headersIn['X-Token'] === 'secret' ? 'alice' : 'nobody';
}
function first(r) {
    return (r.headersIn['X-Session'] || '').split('.')[0];
}
export default { user, first };
--- config
    location / { proxy_pass http://v; }
    location /first/ { proxy_pass http://w/; }
--- story
    GET / | X-Session: one | X-Token: secret                  => 200 a HIT a
    GET / | X-Session: one | X-Token: wrong | X-User: alice   => 200 * UNKNOWN -
    GET / | X-Session: two | X-Token: secret                  => 200 b HIT b
    GET / | X-Session: two | X-User: alice                    => 200 * UNKNOWN -
    GET /first/ | X-Session: one.1 | X-Token: secret          => 200 a HIT a
    GET /first/ | X-Session: two.one | X-Token: secret        => 200 b HIT b
    GET /first/ | X-Session: .one | X-Token: secret           => 200 * NONE -



=== TEST 16: in header_filter_by_lua the status is final if Lua's filter runs behind ours
--- config
    location / {
        header_filter_by_lua_block { ngx.header["X-Seen"] = ngx.var.upstream_sticky_status }
        proxy_pass http://u;
    }
--- request eval
["GET /?new=three", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: three", "X-Session: four", ""]
--- response_headers eval
["X-Seen: NONE\nX-Status: NEW", "X-Seen: HIT\nX-Status: HIT", "X-Seen: UNKNOWN\nX-Status: UNKNOWN", "X-Seen: NONE\nX-Status: NONE"]
--- response_headers_of_lua_first eval
["X-Seen: NEW\nX-Status: NEW", "X-Seen: HIT\nX-Status: HIT", "X-Seen: UNKNOWN\nX-Status: UNKNOWN", "X-Seen: NONE\nX-Status: NONE"]



=== TEST 17: without a code cache
--- http_config
    lua_code_cache off;
--- config
    location / {
        rewrite_by_lua_block { ngx.req.set_header("X-User", "alice") }
        access_by_lua_block { ngx.req.set_header("X-Session", "one") }
        proxy_pass http://u;
    }
--- story
    GET / | X-Session: two | X-User: mallory => 200 a HIT a
    GET /                                    => 200 a HIT a
--- no_error_log
[error]
[crit]
[emerg]
