# If the bound server cannot answer, the balancer chooses the next one, and each server is tried once.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
also_with_two_workers;

# The servers that a request has tried.
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => $block->http_config . <<'END');
    map $upstream_addr $tried {
        default $upstream_addr;
        "~^\S+:\d+$" 1;
        "~^\S+:\d+, \S+:\d+$" 2;
        "~^\S+:\d+, \S+:\d+, \S+:\d+$" 3;
        "~^\S+:\d+, \S+:\d+, \S+:\d+, \S+:\d+$" 4;
    }
    log_format sticky '$tried $upstream_status $upstream_sticky_status $sent_http_set_cookie';
END
    $block->set_value(config => "    access_log logs/sticky.log sticky;\n"
        . ($block->config // "    location / { proxy_pass http://u; }\n"));
    $block->set_value(no_error_log => "[crit]\n[alert]\n[emerg]\n");
});

run_tests();

__DATA__

=== TEST 1: one cookie after a failover, and it names the server that answered
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_fails=0;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET /drop-a | Cookie: srv=a => 200 b UNAVAILABLE b | srv=b
    GET / | Cookie: srv=a       => 200 a HIT a         | srv=a
    GET /drop-a                 => 200 b NEW b         | srv=b
--- logged
2 502, 200 UNAVAILABLE srv=b
1 200 HIT srv=a
2 502, 200 NEW srv=b



=== TEST 2: each server is tried once
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_fails=0;
        server $TEST_NGINX_B route=b max_fails=0;
        server $TEST_NGINX_C route=c max_fails=0;
    }
--- config
    proxy_next_upstream error timeout http_503;
    location / { proxy_pass http://u; }
--- story
    GET /503 | Cookie: srv=c => 503 * UNAVAILABLE *
    GET /503 | Cookie: srv=a => 503 * UNAVAILABLE *
    GET /503                 => 503 * NEW *
    GET / | Cookie: srv=c    => 200 c HIT c | srv=c
--- grep_error_log eval: qr/upstream server temporarily disabled/
--- grep_error_log_out



=== TEST 3: how often a request was sent, and no server twice
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_fails=0;
        server $TEST_NGINX_B route=b max_fails=0 backup;
        server $TEST_NGINX_DEAD route=dead max_fails=0;
    }
--- config
    proxy_next_upstream error timeout http_503;
    location / { proxy_pass http://u; }
--- story
    GET /503 | Cookie: srv=a    => 503 b UNAVAILABLE - | -
    GET /503 | Cookie: srv=dead => 503 b UNAVAILABLE - | -
    GET /503 | Cookie: srv=b    => 503 b HIT b         | srv=b
--- logged
3 503, 502, 503 UNAVAILABLE -
3 502, 503, 503 UNAVAILABLE -
3 503, 502, 503 HIT srv=b



=== TEST 4: a draining server that fails has others behind it
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_DEAD route=dead drain;
        server $TEST_NGINX_B route=b;
    }
--- story
    GET / | Cookie: srv=dead => 200 b UNAVAILABLE b | srv=b
    GET / | Cookie: srv=b    => 200 b HIT b         | srv=b
--- logged
2 502, 200 UNAVAILABLE srv=b
1 200 HIT srv=b



=== TEST 5: but not more of them than proxy_next_upstream_tries says
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_DEAD route=dead drain max_fails=0;
        server $TEST_NGINX_B route=b;
        server $TEST_NGINX_C route=c;
    }
--- config
    location / {
        proxy_next_upstream_tries 1;
        proxy_pass http://u;
    }
    location /two/ {
        proxy_next_upstream_tries 2;
        proxy_pass http://u/;
    }
--- story
    GET / | Cookie: srv=dead     => 502 - HIT dead        | srv=dead
    GET /two/ | Cookie: srv=dead => 200 b UNAVAILABLE b   | srv=b
--- logged
1 502 HIT srv=dead
2 502, 200 UNAVAILABLE srv=b



=== TEST 6: an answer that the configuration wants to hear from another
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_B route=b;
    }
--- config
    proxy_next_upstream error http_404;
    location / { proxy_pass http://u; }
--- story
    GET /404-a | Cookie: srv=a => 200 b UNAVAILABLE b | srv=b
    GET / | Cookie: srv=a      => 200 a HIT a         | srv=a
--- logged
2 404, 200 UNAVAILABLE srv=b
1 200 HIT srv=a



=== TEST 7: what must not be sent twice stays where it was
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a max_fails=0;
        server $TEST_NGINX_B route=b;
    }
--- story
    POST /drop-a | Cookie: srv=a => 502 - HIT a | srv=a
    POST / | Cookie: srv=a       => 200 a HIT a | srv=a
--- logged
1 502 HIT srv=a
1 200 HIT srv=a



=== TEST 8: where none is left, the cookie names the last that was tried
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_DEAD route=dead max_fails=0;
    }
--- story
    GET /                    => 502 - NEW dead | srv=dead
    GET / | Cookie: srv=dead => 502 - HIT dead | srv=dead



=== TEST 9: where none could be chosen at the end, there is no cookie
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_DEAD route=dead;
        server $TEST_NGINX_A route=a max_conns=1;
    }
--- init
    Sticky::hold("GET /slow | Cookie: srv=a");
--- story
    GET / | Cookie: srv=dead => 502 - UNAVAILABLE - | -
    GET / | Cookie: srv=a    => 502 - UNAVAILABLE - | -



=== TEST 10: servers that share a route stand in for each other
--- http_config
    upstream u {
        zone servers 64k;
        sticky cookie srv;
        server $TEST_NGINX_A route=a;
        server $TEST_NGINX_DEAD route=pair max_fails=0;
        server $TEST_NGINX_C route=c;
        server $TEST_NGINX_B route=pair;
    }
--- story
    GET / | Cookie: srv=pair => 200 b HIT b | srv=pair
    GET / | Cookie: srv=pair => 200 b HIT b | srv=pair
--- logged
2 502, 200 HIT srv=pair
2 502, 200 HIT srv=pair



=== TEST 11: more than a word of servers, each once
--- http_config eval
my $dead = CORE::join '', map { "        server 127.0.0.1:$_ down;\n" } 1 .. 70;
"    upstream u {
        zone servers 256k;
        sticky cookie srv;
        server \$TEST_NGINX_A route=a max_fails=0;
$dead        server \$TEST_NGINX_B route=b max_fails=0;
    }
"
--- config
    proxy_next_upstream error timeout http_503;
    location / { proxy_pass http://u; }
--- story
    GET /503 | Cookie: srv=b => 503 a UNAVAILABLE a | srv=a
    GET /503 | Cookie: srv=a => 503 b UNAVAILABLE b | srv=b
    GET / | Cookie: srv=b    => 200 b HIT b         | srv=b
--- logged
2 503, 503 UNAVAILABLE srv=a
2 503, 503 UNAVAILABLE srv=b
1 200 HIT srv=b



=== TEST 12: sticky learn takes its server in turn as well
--- http_config
    upstream u {
        zone servers 64k;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header;
        server $TEST_NGINX_A max_fails=0;
        server $TEST_NGINX_B backup;
    }
--- story
    GET /drop-a?new=one         => 200 b NEW b
    GET / | X-Session: one      => 200 a * *
    GET / | X-Session: one      => 200 a HIT a
