# TLS to the servers: each server has its own TLS session, which is reused.

use lib 't/lib';
use Sticky;
use File::Temp qw(tempdir);

my $dir = tempdir(CLEANUP => 1);
my $made = system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -batch"
    . " -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null") == 0;

if (!nginx_was_built_with('--with-http_ssl_module')) {
    plan skip_all => 'nginx has no TLS';
} elsif (!$made) {
    plan skip_all => 'no certificate without openssl';
} else {
    plan 'no_plan';
}

$ENV{TEST_NGINX_CERTIFICATE} = "ssl_certificate $dir/cert.pem; ssl_certificate_key $dir/key.pem;";

run_tests();

__DATA__

=== TEST 1: TLSv1.2: the handshake of a session's server is shortened
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass https://u; }
--- request eval
["GET /?new=one", "GET /?new=two", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Server: d\nX-Status: NEW\nX-Resumed: .", "X-Server: e\nX-Status: NEW\nX-Resumed: .",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r", "X-Server: e\nX-Status: HIT\nX-Resumed: r",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r"]



=== TEST 2: TLSv1.2, zone: the handshake of a session's server is shortened
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        zone servers 64k;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass https://u; }
--- request eval
["GET /?new=one", "GET /?new=two", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Server: d\nX-Status: NEW\nX-Resumed: .", "X-Server: e\nX-Status: NEW\nX-Resumed: .",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r", "X-Server: e\nX-Status: HIT\nX-Resumed: r",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r"]



=== TEST 3: TLSv1.3: the handshake of a session's server is shortened
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.3;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.3;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass https://u; }
--- request eval
["GET /?new=one", "GET /?new=two", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Server: d\nX-Status: NEW\nX-Resumed: .", "X-Server: e\nX-Status: NEW\nX-Resumed: .",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r", "X-Server: e\nX-Status: HIT\nX-Resumed: r",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r"]



=== TEST 4: TLSv1.3, zone: the handshake of a session's server is shortened
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        zone servers 64k;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.3;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.3;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass https://u; }
--- request eval
["GET /?new=one", "GET /?new=two", "GET /", "GET /", "GET /"]
--- more_headers eval
["", "", "X-Session: one", "X-Session: two", "X-Session: one"]
--- response_headers eval
["X-Server: d\nX-Status: NEW\nX-Resumed: .", "X-Server: e\nX-Status: NEW\nX-Resumed: .",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r", "X-Server: e\nX-Status: HIT\nX-Resumed: r",
 "X-Server: d\nX-Status: HIT\nX-Resumed: r"]



=== TEST 5: kept connections are reused
--- http_config
    upstream u {
        keepalive 4;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass https://u; }
--- story
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET /?new=two          => 200 X NEW *
    GET / | X-Session: two => 200 X HIT * reused
    GET / | X-Session: one => 200 d HIT * reused



=== TEST 6: and if nginx shall not shorten it, that goes as well
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_session_reuse off;
    location / { proxy_pass https://u; }
--- request eval
["GET /?new=one", "GET /", "GET /"]
--- more_headers eval
["", "X-Session: one", "X-Session: one"]
--- response_headers eval
[("X-Server: d\nX-Resumed: .") x 3]



=== TEST 7: a session whose server refuses the connection moves
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 down;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server d;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2 TLSv1.3;
        add_header X-Server e;
        add_header X-Session $arg_new;
        add_header X-Reused $connection_reused;
        add_header X-Resumed $ssl_session_reused;
        location / { return 200 "e\n"; }
    }
--- config
    location / { proxy_pass https://u; }
    location /v { proxy_pass https://v; }
--- story
    GET /?new=one           => 200 d NEW
    GET /v | X-Session: one => 200 e REBOUND
    GET /v | X-Session: one => 200 e HIT
