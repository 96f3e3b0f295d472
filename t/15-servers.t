# Kinds of servers: with weight, backup, the only one, down, listed twice, given by name or by socket.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: weight: those without a session are shared out as written (nginx's own sticky, since 1.29.6, counts the others as well)
--- skip_nginx: 80: >= 1.29.6
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A weight=3;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 a NONE -
    GET /?new=two          => 200 b NEW b
    GET / | X-Session: two => 200 b HIT b
    GET / | X-Session: two => 200 b HIT b
    GET /                  => 200 a NONE -
    GET /                  => 200 a NONE -
    GET /                  => 200 a NONE -
    GET /                  => 200 b NONE -



=== TEST 2: backup: a session of one stays there, though the others are back
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B backup;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_C;
        server $TEST_NGINX_B backup;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 b NEW b
    GET / | X-Session: one   => 200 b HIT b
    GET /v/ | X-Session: one => 200 b HIT b
    GET /v/                  => 200 X NONE -
    GET /v/ | X-Session: one => 200 b HIT b
    GET /v/                  => 200 * NONE -



=== TEST 3: backup: with zone
--- http_config
    upstream u {
        zone u 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B backup;
        server $TEST_NGINX_C backup;
    }
--- story
    GET /?new=one          => 200 b NEW b
    GET /?new=two          => 200 c NEW c
    GET / | X-Session: one => 200 b HIT b
    GET / | X-Session: two => 200 c HIT c
    GET / | X-Session: one => 200 b HIT b



=== TEST 4: backup: a session of a backup that breaks off goes to the first servers
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_B down;
        server $TEST_NGINX_A backup max_fails=0;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=balance;
        server $TEST_NGINX_B;
        server $TEST_NGINX_C;
        server $TEST_NGINX_A backup max_fails=0;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                  => 200 a NEW a
    GET /v/ | X-Session: one       => 200 a HIT a
    GET /v/drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET /v/drop-a | X-Session: one => 200 c UNAVAILABLE a
    GET /v/ | X-Session: one       => 200 a HIT a



=== TEST 5: backup: a session of a first server that breaks off goes to the others, then to the backup
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=balance;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_DEAD;
        server $TEST_NGINX_C backup;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 200 c UNAVAILABLE a
    GET / | X-Session: one       => 200 a HIT a



=== TEST 6: single: there is no choice, but sessions are learned
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET /                  => 200 a NONE -
    GET / | X-Session: two => 200 a UNKNOWN -



=== TEST 7: single: with zone and keepalive
--- http_config
    upstream u {
        zone servers 64k;
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        keepalive 2;
    }
--- config
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://u; }
--- story
    GET /?new=one          => 200 a NEW a fresh
    GET / | X-Session: one => 200 a HIT a reused



=== TEST 8: single: it breaks off, and is tried again by the next request
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
    }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 a NEW a
    GET /drop-a | X-Session: one => 502 - * a
    GET / | X-Session: one       => 200 a HIT a



=== TEST 9: a server that is given twice is one server
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server $TEST_NGINX_A;
        server $TEST_NGINX_A;
        server $TEST_NGINX_B;
    }
--- story
    GET /?new=one          => 200 a NEW a
    GET /?new=two          => 200 a NEW a
    GET /?new=three        => 200 b NEW b
    GET / | X-Session: two => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 10: a server that is given twice is had as long as one of the two is up
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A;
    }
    upstream v {
        sticky_learn zone=sessions create=$upstream_http_x_session lookup=$http_x_session unavailable=reject;
        server $TEST_NGINX_A down;
        server $TEST_NGINX_B;
        server $TEST_NGINX_A;
    }
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- story
    GET /?new=one            => 200 a NEW a
    GET /v/ | X-Session: one => 200 a HIT a



=== TEST 11: many servers: more than the bits of a machine word
--- http_config eval
"    upstream u {
        sticky_learn zone=sessions:1m create=\$upstream_http_x_session lookup=\$http_x_session unavailable=balance;
" . CORE::join('', map { "        server 127.0.0.2:\$TEST_NGINX_RAND_PORT_9 down;\n" } 1 .. 100) . "
        server \$TEST_NGINX_B;
        server \$TEST_NGINX_A max_fails=0;
        server \$TEST_NGINX_C;
    }
"
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                => 200 b NEW b
    GET /?new=two                => 200 a NEW a
    GET /?new=three              => 200 c NEW c
    GET / | X-Session: two       => 200 a HIT a
    GET / | X-Session: three     => 200 c HIT c
    GET / | X-Session: one       => 200 b HIT b
    GET /drop-a | X-Session: two => 200 * UNAVAILABLE a
    GET / | X-Session: two       => 200 a HIT a



=== TEST 12: servers by name
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server localhost:$TEST_NGINX_RAND_PORT_1;
        server localhost:$TEST_NGINX_RAND_PORT_2;
    }
--- no_error_log
[alert]
[emerg]
--- story
    GET /?new=one          => 200 a NEW a
    GET / | X-Session: one => 200 a HIT a
    GET / | X-Session: one => 200 a HIT a



=== TEST 13: servers on unix sockets
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$upstream_http_x_session lookup=$http_x_session;
        server unix:$TEST_NGINX_SERVER_ROOT/d.sock;
        server unix:$TEST_NGINX_SERVER_ROOT/e.sock;
    }
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/d.sock;
        add_header X-Server d;
        add_header X-Session $arg_new;
        return 200 "d\n";
    }
    server {
        listen unix:$TEST_NGINX_SERVER_ROOT/e.sock;
        add_header X-Server e;
        add_header X-Session $arg_new;
        return 200 "e\n";
    }
--- story
    GET /?new=one          => 200 d NEW
    GET /?new=two          => 200 e NEW
    GET / | X-Session: two => 200 e HIT
    GET / | X-Session: one => 200 d HIT
    GET / | X-Session: one => 200 d HIT



=== TEST 14: backup: more servers than a word has bits, and back to them
--- http_config eval
my $servers = CORE::join '', map { "        server 127.0.0.1:$_ down;\n" } 1 .. 66;
"
    upstream u {
        zone u 256k;
        sticky_learn zone=sessions:1m create=\$upstream_http_x_session lookup=\$http_x_session;
$servers
        server \$TEST_NGINX_A backup max_fails=0;
    }
    upstream v {
        zone v 256k;
        sticky_learn zone=sessions create=\$upstream_http_x_session lookup=\$http_x_session unavailable=balance;
$servers
        server \$TEST_NGINX_B;
        server \$TEST_NGINX_A backup max_fails=0;
    }
"
--- config
    location / { proxy_pass http://u; }
    location /v/ { proxy_pass http://v/; }
--- no_error_log
[crit]
[alert]
[emerg]
--- story
    GET /?new=one                  => 200 a NEW a
    GET /v/ | X-Session: one       => 200 a HIT a
    GET /v/drop-a | X-Session: one => 200 b UNAVAILABLE a
    GET /v/ | X-Session: one       => 200 a HIT a
