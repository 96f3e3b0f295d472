# sticky_api: where it is allowed, and what it answers.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an unknown parameter
--- config
    location /sticky { sticky_api read; }
--- emerg
invalid parameter "read", only "write" is known



=== TEST 2: twice
--- config
    location /sticky {
        sticky_api;
        sticky_api write;
    }
--- emerg
"sticky_api" directive is duplicate



=== TEST 3: not where a path behind the location's name has no meaning
--- config
    location ~ ^/sticky { sticky_api; }
--- emerg
"sticky_api" needs a location without a regular expression



=== TEST 4: the state of a configuration without sessions is empty
--- config
    location /sticky { sticky_api; }
--- request
    GET /sticky
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body_like
^\{"version":"[0-9.]+","nginx_version":"[0-9.]+","uptime_ms":\d+,"write":false,"zones":\{\},"upstreams":\{\}\}$



=== TEST 5: a location's name is no prefix of a resource's
--- config
    location /sticky { sticky_api; }
--- request eval
["GET /stickyzones", "GET /sticky/zones", "GET /sticky/zones/", "GET /sticky/x/../zones"]
--- error_code eval
[404, 200, 200, 200]
--- response_body eval
[qq({"error":{"status":404,"text":"no such resource"}}\n), "{}\n", "{}\n", "{}\n"]



=== TEST 6: a location of one path has one resource
--- config
    location = /sticky { sticky_api; }
    location / { return 204; }
--- request eval
["GET /sticky", "GET /sticky/zones"]
--- error_code eval
[200, 204]



=== TEST 7: it is shown when nginx redirects there
--- config
    location /sticky/ { sticky_api; }
    location = /z { rewrite ^ /sticky/zones last; }
--- request
    GET /z
--- response_body
{}



=== TEST 8: what is too long is refused in JSON, whatever the server's limits are
--- config
    location /sticky/ {
        client_max_body_size 10;
        client_body_in_file_only on;
        sticky_api write;
    }
--- request eval
"POST /sticky/\n" . ("x" x 5000)
--- error_code: 405
--- response_headers
Allow: GET, HEAD
--- response_body
{"error":{"status":405,"text":"method is not allowed"}}
