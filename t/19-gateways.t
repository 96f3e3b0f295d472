# Upstreams with FastCGI, SCGI and uwsgi.

use lib 't/lib';
use Sticky;
use Sticky::Gateway;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: fastcgi_pass: sessions are learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
--- config
    location / {
        fastcgi_pass u;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('fastcgi');
--- story
    GET /?new=one             => 200 d NEW
    GET /?new=two             => 200 e NEW
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: two    => 200 e HIT
    GET /404 | X-Session: two => 404 e HIT
    GET / | X-Session: three  => 404 - UNKNOWN



=== TEST 2: fastcgi_pass: $sent_http_ is ready as well, and a missing server is told
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$sent_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 down;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
--- config
    location / {
        fastcgi_pass u;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_URI $request_uri;
    }
    location /200 {
        fastcgi_pass v;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('fastcgi');
--- story
    GET /?new=one             => 200 d NEW
    GET / | X-Session: one    => 200 d HIT
    GET /200 | X-Session: one => 503 - UNAVAILABLE
    GET /200                  => 200 e NONE



=== TEST 3: scgi_pass: sessions are learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
--- config
    location / {
        scgi_pass u;
        scgi_param SCGI 1;
        scgi_param CONTENT_LENGTH 0;
        scgi_param QUERY_STRING $query_string;
        scgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('scgi');
--- story
    GET /?new=one             => 200 d NEW
    GET /?new=two             => 200 e NEW
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: two    => 200 e HIT
    GET /404 | X-Session: two => 404 e HIT
    GET / | X-Session: three  => 404 - UNKNOWN



=== TEST 4: scgi_pass: $sent_http_ is ready as well, and a missing server is told
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$sent_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 down;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
--- config
    location / {
        scgi_pass u;
        scgi_param SCGI 1;
        scgi_param CONTENT_LENGTH 0;
        scgi_param QUERY_STRING $query_string;
        scgi_param REQUEST_URI $request_uri;
    }
    location /200 {
        scgi_pass v;
        scgi_param SCGI 1;
        scgi_param CONTENT_LENGTH 0;
        scgi_param QUERY_STRING $query_string;
        scgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('scgi');
--- story
    GET /?new=one             => 200 d NEW
    GET / | X-Session: one    => 200 d HIT
    GET /200 | X-Session: one => 503 - UNAVAILABLE
    GET /200                  => 200 e NONE



=== TEST 5: uwsgi_pass: sessions are learned and followed
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unknown=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
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
    GET /?new=one             => 200 d NEW
    GET /?new=two             => 200 e NEW
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: one    => 200 d HIT
    GET / | X-Session: two    => 200 e HIT
    GET /404 | X-Session: two => 404 e HIT
    GET / | X-Session: three  => 404 - UNKNOWN



=== TEST 6: uwsgi_pass: $sent_http_ is ready as well, and a missing server is told
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
    }
    upstream v {
        sticky_learn zone=sessions create=$sent_http_x_session lookup=$http_x_session unavailable=reject;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4 down;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
    }
--- config
    location / {
        uwsgi_pass u;
        uwsgi_param QUERY_STRING $query_string;
        uwsgi_param REQUEST_URI $request_uri;
    }
    location /200 {
        uwsgi_pass v;
        uwsgi_param QUERY_STRING $query_string;
        uwsgi_param REQUEST_URI $request_uri;
    }
--- init
    Sticky::Gateway::start('uwsgi');
--- story
    GET /?new=one             => 200 d NEW
    GET / | X-Session: one    => 200 d HIT
    GET /200 | X-Session: one => 503 - UNAVAILABLE
    GET /200                  => 200 e NONE



=== TEST 7: fastcgi_keep_conn: sticky_learn, then keepalive
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        keepalive 4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
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
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET /?new=two          => 200 X NEW *
    GET / | X-Session: two => 200 X HIT * reused
    GET / | X-Session: one => 200 d HIT * reused



=== TEST 8: fastcgi_keep_conn: keepalive, then sticky_learn
--- http_config
    upstream u {
        keepalive 4;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_4;
        server 127.0.0.1:$TEST_NGINX_RAND_PORT_5;
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
    GET /?new=one          => 200 d NEW * fresh
    GET / | X-Session: one => 200 d HIT * reused
    GET /?new=two          => 200 X NEW *
    GET / | X-Session: two => 200 X HIT * reused
    GET / | X-Session: one => 200 d HIT * reused
