# A server that closes a kept connection has not failed: sticky tries it again.
# With two workers, the other one might have the kept connection.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: a kept connection that its server has closed is no failure of the server
--- http_config
    map $upstream_addr $tried {
        "~^\S+:\d+$" 1;
        "~^\S+:\d+, \S+:\d+$" 2;
        "~^\S+:\d+, \S+:\d+, \S+:\d+$" 3;
    }
    log_format sticky '$tried $upstream_status $upstream_sticky_status $sent_http_set_cookie';
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d;
        server $TEST_NGINX_B route=b;
        keepalive 4;
    }
    upstream v {
        zone servers;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server $TEST_NGINX_B;
        keepalive 4;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        add_header X-Server d;
        add_header X-Session $arg_new;
        location / { return 200 "d\n"; }
        location /once {
            if ($connection_requests != 1) { return 444; }
            return 200 "d\n";
        }
        location /never { return 444; }
    }
--- config
    access_log logs/sticky.log sticky;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET / | Cookie: srv=d           => 200 d HIT *         | srv=d
    GET /once | Cookie: srv=d       => 200 d HIT *         | srv=d
    GET /once | Cookie: srv=d       => 200 d HIT *         | srv=d
    GET /never | Cookie: srv=d      => 200 b UNAVAILABLE b | srv=b
    GET /v/?new=one                 => 200 d NEW *
    GET /v/once | X-Session: one    => 200 d HIT *
    GET /v/once | X-Session: one    => 200 d HIT *
--- logged
1 200 HIT srv=d
2 502, 200 HIT srv=d
2 502, 200 HIT srv=d
3 502, 502, 200 UNAVAILABLE srv=b
1 200 NEW -
2 502, 200 HIT -
2 502, 200 HIT -
