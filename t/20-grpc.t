# Upstreams with gRPC, that is HTTP/2.

use lib 't/lib';
use Sticky;

nginx_was_built_with('--with-http_v2_module') ? plan 'no_plan' : plan skip_all => 'nginx has no HTTP/2';
run_tests();

__DATA__

=== TEST 1: sessions are learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Server d always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "d\n"; }
        location /drop-d { return 444; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 http2;
        add_header X-Server e always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "e\n"; }
    }
--- config
    location / { grpc_pass grpc://u; }
--- story
    GET /?new=one            => 200 d NEW
    GET /?new=two            => 200 e NEW
    GET / | X-Session: one   => 200 d HIT
    GET / | X-Session: one   => 200 d HIT
    GET / | X-Session: two   => 200 e HIT
    GET / | X-Session: three => 404 - UNKNOWN



=== TEST 2: and reuse the connections of their servers
--- http_config
    upstream u {
        keepalive 4;
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Server d always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "d\n"; }
        location /drop-d { return 444; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 http2;
        add_header X-Server e always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "e\n"; }
    }
--- config
    location / { grpc_pass grpc://u; }
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET / | X-Session: one => 200 d HIT * reused



=== TEST 3: a session whose server is away is rejected
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 down;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Server d always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "d\n"; }
        location /drop-d { return 444; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 http2;
        add_header X-Server e always;
        add_header X-Session $arg_new always;
        add_header X-Reused $connection_reused always;
        location / { return 200 "e\n"; }
    }
--- config
    location / { grpc_pass u; }
    location /v { grpc_pass v; }
--- story
    GET /?new=one            => 200 d NEW
    GET /v | X-Session: one  => 503 - UNAVAILABLE
    GET /v                   => 200 e NONE
    GET / | X-Session: one   => 200 d HIT
