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
    location /cleared/ { access_by_lua_block { ngx.req.clear_header("X-User") } proxy_pass http://u/; }
--- story
    GET /set/?is=alice | X-Session: one                   => 200 a HIT a
    GET /set/ | X-Session: one | X-User: alice            => 200 * UNKNOWN -
    GET /rewrite/?is=alice | X-Session: one               => 200 a HIT a
    GET /rewrite/ | X-Session: one | X-User: alice        => 200 * UNKNOWN -
    GET /access/?is=alice | X-Session: one                => 200 a HIT a
    GET /access/ | X-Session: one | X-User: alice         => 200 * UNKNOWN -
    GET /access/?is=alice | X-Session: one | X-User: eve  => 200 a HIT a
    GET /cleared/ | X-Session: one | X-User: alice        => 200 * UNKNOWN -
    GET /cleared/ | X-Session: mine | X-User: alice       => 200 c HIT c



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



=== TEST 5: precontent_by_lua comes behind them
--- skip_eval: 24: !main::lua_has('precontent_by_lua_block')
--- config
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
--- story
    GET / | X-Session: two          => 200 a HIT a
    GET / | X-Session: two          => 200 a HIT a
    GET /?clear=1 | X-Session: two  => 200 * NONE -
    GET /                           => 200 a HIT a



=== TEST 6: what a session is bound to after its request was on its way does not count for it
--- config
    location / {
        access_by_lua_block { ngx.req.set_header("X-User", "alice") }
        header_filter_by_lua_block {
            ngx.req.set_header("X-Session", "two")
            ngx.req.set_header("X-User", "mallory")
        }
        proxy_pass http://u;
    }
--- story
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



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
            sticky.forget("ZONE", "mine")
            sticky.bind("ZONE", "late", "127.0.0.1:$TEST_NGINX_RAND_PORT_2")
        }
        proxy_pass http://u/;
    }
    location / { proxy_pass http://u; }
--- story
    GET /header/ | X-Session: mine => 200 c HIT *
    GET / | X-Session: mine        => 200 * UNKNOWN -
    GET / | X-Session: late        => 200 b HIT b



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



=== TEST 12: subrequests have the id that their parent has at that moment
--- config
    location /to/ { proxy_pass http://u/; }
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
            ngx.print(first.body, second.body, third.body, fourth.body)
        }
    }
--- request
GET /page
--- response_body
a
b
b
c



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
'load_module ' . ($ENV{TEST_NGINX_HEADERS_MORE} // '') . ';'
--- config
    location /more/ { more_set_input_headers "X-Session: one" "X-User: alice"; proxy_pass http://u/; }
    location /clear/ { more_clear_input_headers X-User; proxy_pass http://u/; }
--- story
    GET /more/ | X-Session: two | X-User: mallory  => 200 a HIT a
    GET /more/                                     => 200 a HIT a
    GET /clear/ | X-Session: one | X-User: alice   => 200 * UNKNOWN -
    GET /clear/ | X-Session: mine | X-User: alice  => 200 c HIT c



=== TEST 15: njs computes the value of bind
--- skip_eval: 24: !$ENV{TEST_NGINX_JS}
--- main_config eval
'load_module ' . ($ENV{TEST_NGINX_JS} // '') . ';'
--- http_config
    js_path "$TEST_NGINX_SERVER_ROOT/html";
    js_import main from main.js;
    js_set $token_user main.user;
    upstream v {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=$token_user;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
    }
--- user_files
>>> main.js
function user(r) {
    return r.headersIn['X-Token'] === 'secret' ? 'alice' : 'nobody';
}
export default { user };
--- config
    location / { proxy_pass http://v; }
--- story
    GET / | X-Session: one | X-Token: secret                  => 200 a HIT a
    GET / | X-Session: one | X-Token: wrong | X-User: alice   => 200 * UNKNOWN -
    GET / | X-Session: two | X-Token: secret                  => 200 b HIT b
    GET / | X-Session: two | X-User: alice                    => 200 * UNKNOWN -



=== TEST 16: without a code cache
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
