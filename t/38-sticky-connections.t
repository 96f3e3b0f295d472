# sticky with kept connections, TLS sessions, gRPC and FastCGI. Also by nginx's own sticky.

use lib 't/lib';
use Sticky;
use Sticky::Gateway;
use File::Temp qw(tempdir);

my $dir = tempdir(CLEANUP => 1);
our $tls = nginx_was_built_with('--with-http_ssl_module')
    && system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -batch"
        . " -keyout $dir/key.pem -out $dir/cert.pem 2>/dev/null") == 0;
our $http2 = nginx_was_built_with('--with-http_v2_module');
$ENV{TEST_NGINX_CERTIFICATE} = "ssl_certificate $dir/cert.pem; ssl_certificate_key $dir/key.pem;";

told_by_nginx;
also_with_two_workers;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: keepalive before it: connections are kept, each for its server
--- http_config
    upstream u {
        zone servers 64k;
        keepalive 4;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET / | Cookie: srv=a => 200 a HIT a fresh  | srv=a
    GET / | Cookie: srv=b => 200 b HIT b fresh  | srv=b
    GET / | Cookie: srv=a => 200 a HIT a reused | srv=a
    GET / | Cookie: srv=b => 200 b HIT b reused | srv=b
    GET / | Cookie: srv=a => 200 a HIT a reused | srv=a



=== TEST 2: keepalive behind it
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET / | Cookie: srv=a => 200 a HIT a fresh  | srv=a
    GET / | Cookie: srv=b => 200 b HIT b fresh  | srv=b
    GET / | Cookie: srv=a => 200 a HIT a reused | srv=a
    GET / | Cookie: srv=b => 200 b HIT b reused | srv=b
    GET / | Cookie: srv=a => 200 a HIT a reused | srv=a



=== TEST 3: behind a balancer and before a route, with a server that drains
--- http_config
    upstream u {
        zone servers 64k;
        least_conn;
        keepalive 4;
        sticky route $arg_to;
        server $TEST_NGINX_A route=a drain;
        server $TEST_NGINX_B route=b;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?to=a => 200 a HIT a  fresh
    GET /      => 200 b NONE - fresh
    GET /?to=a => 200 a HIT a  reused
    GET /?to=b => 200 b HIT b  reused
    GET /      => 200 b NONE - reused



=== TEST 4: sticky learn, keepalive in both orders
--- http_config
    upstream u {
        zone servers 64k;
        keepalive 4;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
    upstream v {
        zone servers;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=others:1m header;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a fresh
    GET / | X-Session: one   => 200 a HIT a reused
    GET / | X-Session: one   => 200 a HIT a reused
    GET /v/?new=two          => 200 S NEW * fresh
    GET /v/ | X-Session: two => 200 S HIT * reused
    GET /v/ | X-Session: two => 200 S HIT * reused



=== TEST 5: TLS to the servers: each has its TLS session, which is reused
--- skip_eval: 1: !$main::tls
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 route=e;
    }
    upstream v {
        sticky route $arg_to;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d drain;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 route=e;
    }
    map $ssl_session_reused $resumed {
        default fresh;
        r reused;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server d;
        add_header X-Reused $resumed;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 ssl;
        $TEST_NGINX_CERTIFICATE
        ssl_protocols TLSv1.2;
        add_header X-Server e;
        add_header X-Reused $resumed;
        location / { return 200 "e\n"; }
    }
--- config
    proxy_http_version 1.0;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    location / { proxy_pass https://u; }
    location /v/ { proxy_pass https://v/; }
--- story
    GET / | Cookie: srv=d => 200 d HIT * fresh  | srv=d
    GET / | Cookie: srv=e => 200 e HIT * fresh  | srv=e
    GET / | Cookie: srv=d => 200 d HIT * reused | srv=d
    GET / | Cookie: srv=e => 200 e HIT * reused | srv=e
    GET / | Cookie: srv=d => 200 d HIT * reused | srv=d
    GET /v/?to=d          => 200 d HIT * fresh
    GET /v/?to=d          => 200 d HIT * reused
    GET /v/?to=e          => 200 e HIT * fresh
    GET /v/?to=e          => 200 e HIT * reused



=== TEST 6: gRPC, with connections kept
--- skip_eval: 1: !$main::http2
--- http_config
    upstream u {
        zone servers 64k;
        keepalive 4;
        sticky cookie srv httponly;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 route=e;
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_4 http2;
        add_header X-Server d;
        add_header X-Reused $connection_reused;
        location / { return 200 "d\n"; }
    }
    server {
        listen 127.0.0.1:$TEST_NGINX_RAND_PORT_5 http2;
        add_header X-Server e;
        add_header X-Reused $connection_reused;
        location / { return 200 "e\n"; }
    }
--- config
    location / { grpc_pass grpc://u; }
--- story
    GET / | Cookie: srv=e => 200 e HIT * fresh  | srv=e; httponly
    GET / | Cookie: srv=e => 200 e HIT * reused | srv=e; httponly
    GET / | Cookie: srv=d => 200 d HIT * fresh  | srv=d; httponly
    GET / | Cookie: srv=e => 200 e HIT * reused | srv=e; httponly



=== TEST 7: FastCGI
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 route=e;
        keepalive 4;
    }
--- config
    location / {
        fastcgi_pass u;
        fastcgi_keep_conn on;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('fastcgi');
--- story
    GET / | Cookie: srv=e => 200 e HIT * fresh  | srv=e
    GET / | Cookie: srv=e => 200 e HIT * reused | srv=e
    GET / | Cookie: srv=d => 200 d HIT * fresh  | srv=d
    GET / | Cookie: srv=d => 200 d HIT * reused | srv=d



=== TEST 8: uwsgi and SCGI
--- http_config
    upstream u {
        zone servers 64k;
        sticky route $arg_to;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 route=d;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5 route=e;
    }
--- config
    location / {
        uwsgi_pass u;
        uwsgi_param QUERY_STRING $query_string;
        uwsgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('uwsgi');
--- story
    GET /?to=e => 200 e HIT *
    GET /?to=e => 200 e HIT *
    GET /?to=d => 200 d HIT *
    GET /?to=d => 200 d HIT *



=== TEST 9: upstreams beside it keep what they have
--- http_config
    upstream u {
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
    }
    upstream plain {
        zone servers 64k;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C drain;
        keepalive 4;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
    location /plain/ { proxy_pass http://plain/; }
--- story
    GET /plain/                 => 200 b - - fresh  | -
    GET /plain/ | Cookie: srv=b => 200 b - - reused | -
    GET /                       => 200 a NEW a *    | srv=a
    GET /plain/                 => 200 b - - reused | -
