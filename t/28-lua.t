# With OpenResty's Lua module: the two modules do not disturb each other.

use lib 't/lib';
use Sticky;

$ENV{TEST_NGINX_LUA_MODULES} ? plan 'no_plan' : plan skip_all => 'no Lua module';

# Each block says in which order the modules are loaded.
$ENV{TEST_NGINX_STICKY_MODULE} = "load_module $Test::Nginx::Util::LoadModules;";
undef $Test::Nginx::Util::LoadModules;

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => "    lua_package_path '\$TEST_NGINX_LUA_PATH';\n" . $block->http_config);
});

run_tests();

__DATA__

=== TEST 1: access_by_lua and header_filter_by_lua around a session, sticky_learn loaded first
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        access_by_lua_block {
            ngx.ctx.started = ngx.var.upstream_sticky_status == nil
        }
        header_filter_by_lua_block {
            ngx.header["X-Lua"] = ngx.var.upstream_sticky_status .. " " .. tostring(ngx.ctx.started)
        }
        proxy_pass http://u;
    }
--- request eval
["GET /?new=one", "GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", "X-Session: two", ""]
--- error_code eval
[200, 200, 200, 404, 200]
--- response_headers_like eval
# Lua's filter sees what is learned if its module was loaded first.
["X-Lua: (?:NEW|NONE) true\nX-Server: a\nX-Status: NEW", "X-Lua: HIT true\nX-Server: a\nX-Status: HIT",
 "X-Lua: HIT true\nX-Server: a\nX-Status: HIT", "X-Lua: UNKNOWN true\nX-Status: UNKNOWN", "X-Lua: NONE true\nX-Server: b"]



=== TEST 2: a balancer_by_lua upstream elsewhere, sticky_learn loaded first
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream lua {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.arg_port))
        }
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /b/ { proxy_pass http://lua/?port=$TEST_NGINX_RAND_PORT_2; set $args port=$TEST_NGINX_RAND_PORT_2; }
    location /c/ { proxy_pass http://lua/?port=$TEST_NGINX_RAND_PORT_3; set $args port=$TEST_NGINX_RAND_PORT_3; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /c/                  => 200 c -
    GET / | X-Session: one   => 200 a HIT a
    GET /b/ | X-Session: one => 200 b -
    GET /c/ | X-Session: one => 200 c -
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: one   => 200 a HIT a



=== TEST 3: access_by_lua and header_filter_by_lua around a session, Lua loaded first
--- main_config
    $TEST_NGINX_LUA_MODULES
    $TEST_NGINX_STICKY_MODULE
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        access_by_lua_block {
            ngx.ctx.started = ngx.var.upstream_sticky_status == nil
        }
        header_filter_by_lua_block {
            ngx.header["X-Lua"] = ngx.var.upstream_sticky_status .. " " .. tostring(ngx.ctx.started)
        }
        proxy_pass http://u;
    }
--- request eval
["GET /?new=one", "GET /", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one", "X-Session: two", ""]
--- error_code eval
[200, 200, 200, 404, 200]
--- response_headers_like eval
# Lua's filter sees what is learned if its module was loaded first.
["X-Lua: (?:NEW|NONE) true\nX-Server: a\nX-Status: NEW", "X-Lua: HIT true\nX-Server: a\nX-Status: HIT",
 "X-Lua: HIT true\nX-Server: a\nX-Status: HIT", "X-Lua: UNKNOWN true\nX-Status: UNKNOWN", "X-Lua: NONE true\nX-Server: b"]



=== TEST 4: a balancer_by_lua upstream elsewhere, Lua loaded first
--- main_config
    $TEST_NGINX_LUA_MODULES
    $TEST_NGINX_STICKY_MODULE
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream lua {
        server 0.0.0.1;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.arg_port))
        }
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /b/ { proxy_pass http://lua/?port=$TEST_NGINX_RAND_PORT_2; set $args port=$TEST_NGINX_RAND_PORT_2; }
    location /c/ { proxy_pass http://lua/?port=$TEST_NGINX_RAND_PORT_3; set $args port=$TEST_NGINX_RAND_PORT_3; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /c/                  => 200 c -
    GET / | X-Session: one   => 200 a HIT a
    GET /b/ | X-Session: one => 200 b -
    GET /c/ | X-Session: one => 200 c -
    GET / | X-Session: one   => 200 a HIT a
    GET / | X-Session: one   => 200 a HIT a



=== TEST 5: Lua may give the request its id
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        access_by_lua_block {
            ngx.req.set_header("X-Session", ngx.var.arg_id)
        }
        proxy_pass http://u;
    }
--- story
    GET /?new=one => 200 a NEW a
    GET /?id=one  => 200 a HIT a
    GET /?id=one  => 200 a HIT a
    GET /?id=two  => 200 b UNKNOWN -



=== TEST 6: Lua may make up ids from both sides
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$made lookup=$asked;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        set_by_lua_block $asked { return (ngx.var.http_x_session or ""):lower() }
        set $made "";
        access_by_lua_block {
            ngx.var.made = (ngx.var.arg_new or ""):lower()
        }
        proxy_pass http://u;
    }
--- story
    GET /?new=OnE          => 200 a NEW a
    GET / | X-Session: ONE => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 7: a Lua page asks the upstream, as a subrequest
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / { proxy_pass http://u; }
    location = /page {
        content_by_lua_block {
            local first = ngx.location.capture("/200")
            local second, third = ngx.location.capture_multi({ { "/200" }, { "/404" } })
            ngx.say(first.status, second.status, third.status, " ", first.body, second.body, third.body)
        }
    }
--- request eval
["GET /?new=one", "GET /page", "GET /page"]
--- more_headers eval
["", "X-Session: one", "X-Session: two"]
--- response_body_like eval
["^a\n\$", "^200200404 a\na\na\n\n\$", "^404404404 "]



=== TEST 8: a rejection leads to a Lua page
--- main_config
    $TEST_NGINX_LUA_MODULES
    $TEST_NGINX_STICKY_MODULE
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        proxy_pass http://u;
        error_page 404 = @lua;
    }
    location @lua {
        content_by_lua_block {
            ngx.status = 410
            ngx.say("session ", ngx.var.upstream_sticky_status:lower())
        }
    }
--- request eval
["GET /", "GET /?new=one", "GET /"]
--- more_headers eval
["X-Session: stranger", "", "X-Session: one"]
--- error_code eval
[410, 200, 200]
--- response_body eval
["session unknown\n", "a\n", "a\n"]



=== TEST 9: body_filter_by_lua and log_by_lua of a rejected request
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        header_filter_by_lua_block { ngx.header.content_length = nil }
        body_filter_by_lua_block { ngx.arg[1] = ngx.arg[1]:upper() }
        log_by_lua_block {
            ngx.log(ngx.WARN, "logged ", ngx.status, " ", ngx.var.upstream_sticky_status)
        }
        proxy_pass http://u;
    }
--- request
GET /
--- more_headers
X-Session: stranger
--- error_code: 404
--- response_body_like: <H1>404 NOT FOUND</H1>
--- wait: 0.5
--- error_log
logged 404 UNKNOWN
--- no_error_log
[error]
[alert]
[emerg]



=== TEST 10: Lua waits before the upstream is asked, others come between
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- config
    location / {
        access_by_lua_block {
            ngx.sleep(tonumber(ngx.var.arg_sleep) or 0)
        }
        proxy_pass http://u;
    }
--- init
    Sticky::hold('GET /?sleep=2&new=two', 0.2);
--- story
    GET /?new=one                    => 200 a NEW a
    GET / | X-Session: two           => 200 b UNKNOWN -
    GET /?sleep=2.5 | X-Session: one => 200 a HIT a
    GET / | X-Session: two           => 200 X HIT
    GET / | X-Session: two           => 200 X HIT



=== TEST 11: a stream of Lua's teaches at its first byte
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        location / {
            content_by_lua_block {
                ngx.header["X-Server"] = "d"
                ngx.header["X-Session"] = ngx.var.arg_new
                ngx.say("d")
                ngx.flush(true)
                ngx.sleep(tonumber(ngx.var.arg_sleep) or 0)
            }
        }
    }
--- config
    proxy_buffering off;
    proxy_http_version 1.1;
    location / { proxy_pass http://u; }
--- init
    Sticky::hold('GET /?sleep=2&new=one');
--- story
    GET / | X-Session: one => 200 d HIT
    GET / | X-Session: one => 200 d HIT
    GET / | X-Session: one => 200 d HIT



=== TEST 12: drain is refused there
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        server 127.0.0.1:1;
        balancer_by_lua_block { }
    }
    upstream v {
        sticky_learn zone=sessions;
        server 127.0.0.1:1;
    }
--- config
    location /sticky/ { sticky_api write; }
--- request eval
my $server = "servers/127.0.0.1:1";
["PATCH /sticky/upstreams/u/$server\n{\"drain\":true}", "PATCH /sticky/upstreams/u/servers/127.0.0.1:2\n{\"drain\":true}",
 "PATCH /sticky/upstreams/v/$server\n{\"drain\":true}", "PATCH /sticky/upstreams/u/$server\n{\"drain\":false}"]
--- more_headers
Content-Type: application/json
--- error_code eval
[409, 404, 200, 200]
--- response_body_like eval
[qr/"status":409,"text":"the balancer of this upstream is not one of nginx's own: drain has no effect"/, qr/no such server/,
 qr/"drain":true/, qr/"drain":false/]
--- no_error_log
[error]
[crit]
[alert]
[emerg]



=== TEST 13: sticky cookie sets no cookie there
--- skip_nginx: 9: >= 1.29.6
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky cookie srv;
        server $TEST_NGINX_A;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.arg_port))
        }
    }
--- config
    location / { proxy_pass http://u; set $args $args&port=$TEST_NGINX_RAND_PORT_2; }
--- error_log eval
qr/\[warn\] .*"sticky" has no effect in upstream "u": "balancer_by_lua_block" chooses its servers, remove one of the two in \S+nginx.conf:\d+/
--- story
    GET / => 200 b * * | -



=== TEST 14: NGINX Plus's sticky learn has no effect there
--- skip_nginx: 9: >= 1.29.6
--- main_config
    $TEST_NGINX_STICKY_MODULE
    $TEST_NGINX_LUA_MODULES
--- http_config
    upstream u {
        sticky learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        balancer_by_lua_block {
            local balancer = require "ngx.balancer"
            assert(balancer.set_current_peer("127.0.0.1", ngx.var.arg_port))
        }
    }
--- config
    location / { proxy_pass http://u; set $args $args&port=$TEST_NGINX_RAND_PORT_2; }
--- grep_error_log eval
qr/\[warn\].*has no effect .* remove one of the two in/
--- grep_error_log_out eval
qr/^\[warn\] \d+#\d+: "sticky" has no effect in upstream "u": "balancer_by_lua_block" chooses its servers, remove one of the two in\n$/
--- error_log eval
qr/remove one of the two in \S+nginx.conf:\d+/
--- story
    GET / | X-Session: one => 200 b NONE -
