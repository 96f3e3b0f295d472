# What `sticky cookie`, `sticky route` and `server` refuse: in nginx's words, by nginx from 1.29.6 on, and by us before.

use lib 't/lib';
use Sticky;

also_with_two_workers;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: an empty name
--- wrong
        sticky cookie "";
--- emerg: "sticky" directive empty cookie name



=== TEST 2: no name
--- wrong
        sticky cookie;
--- emerg: invalid number of arguments in "sticky" directive



=== TEST 3: a second name
--- wrong
        sticky cookie srv other;
--- emerg: unknown parameter "other"



=== TEST 4: an unknown parameter
--- wrong
        sticky cookie srv max-age=1h;
--- emerg: unknown parameter "max-age=1h"



=== TEST 5: expires=nothing
--- wrong
        sticky cookie srv expires=;
--- emerg: "sticky" directive invalid "expires" parameter value



=== TEST 6: expires=-1
--- wrong
        sticky cookie srv expires=-1;
--- emerg: "sticky" directive invalid "expires" parameter value



=== TEST 7: expires=long
--- wrong
        sticky cookie srv expires=long;
--- emerg: "sticky" directive invalid "expires" parameter value



=== TEST 8: expires=MAX
--- wrong
        sticky cookie srv expires=MAX;
--- emerg: "sticky" directive invalid "expires" parameter value



=== TEST 9: expires=10ms
--- wrong
        sticky cookie srv expires=10ms;
--- emerg: "sticky" directive invalid "expires" parameter value



=== TEST 10: expires without a value
--- wrong
        sticky cookie srv expires;
--- emerg: unknown parameter "expires"



=== TEST 11: expires=1h twice
--- wrong
        sticky cookie srv expires=1h expires=1h;
--- emerg: "sticky" directive parameter "expires" is duplicate



=== TEST 12: domain=example.com twice
--- wrong
        sticky cookie srv domain=example.com domain=example.com;
--- emerg: "sticky" directive parameter "domain" is duplicate



=== TEST 13: httponly twice
--- wrong
        sticky cookie srv httponly httponly;
--- emerg: "sticky" directive parameter "httponly" is duplicate



=== TEST 14: secure twice
--- wrong
        sticky cookie srv secure secure;
--- emerg: "sticky" directive parameter "secure" is duplicate



=== TEST 15: samesite=lax twice
--- wrong
        sticky cookie srv samesite=lax samesite=lax;
--- emerg: "sticky" directive parameter "samesite" is duplicate



=== TEST 16: path=/ twice
--- wrong
        sticky cookie srv path=/ path=/;
--- emerg: "sticky" directive parameter "path" is duplicate



=== TEST 17: expires twice, once max
--- wrong
        sticky cookie srv expires=max expires=1h;
--- emerg: "sticky" directive parameter "expires" is duplicate



=== TEST 18: an empty domain
--- wrong
        sticky cookie srv domain=;
--- emerg: "sticky" directive no value for "domain"



=== TEST 19: domain without a value
--- wrong
        sticky cookie srv domain;
--- emerg: unknown parameter "domain"



=== TEST 20: an empty path
--- wrong
        sticky cookie srv path=;
--- emerg: "sticky" directive no value for "path"



=== TEST 21: path without a value
--- wrong
        sticky cookie srv path;
--- emerg: unknown parameter "path"



=== TEST 22: a domain that is no variable
--- wrong
        sticky cookie srv "domain=${";
--- emerg: invalid variable name



=== TEST 23: a domain with an unknown variable
--- http_config
    upstream u {
        sticky cookie srv domain=$nothing_like_it;
        server 127.0.0.1:1;
    }
--- must_die
--- suppress_stderr
--- error_log
[emerg]
unknown "nothing_like_it" variable
--- no_error_log
[alert]



=== TEST 24: httponly with a value
--- wrong
        sticky cookie srv httponly=on;
--- emerg: unknown parameter "httponly=on"



=== TEST 25: secure with a value
--- wrong
        sticky cookie srv secure=on;
--- emerg: unknown parameter "secure=on"



=== TEST 26: an empty samesite
--- wrong
        sticky cookie srv samesite=;
--- emerg: "sticky" directive invalid "samesite" parameter value



=== TEST 27: a samesite that browsers do not know
--- wrong
        sticky cookie srv samesite=loose;
--- emerg: "sticky" directive invalid "samesite" parameter value



=== TEST 28: samesite without a value
--- wrong
        sticky cookie srv samesite;
--- emerg: unknown parameter "samesite"



=== TEST 29: a route without a variable
--- wrong
        sticky route;
--- emerg: invalid number of arguments in "sticky" directive



=== TEST 30: a route that is no variable
--- wrong
        sticky route srv;
--- emerg: invalid variable name "srv"



=== TEST 31: a second route that is no variable
--- wrong
        sticky route $arg_route srv;
--- emerg: invalid variable name "srv"



=== TEST 32: a variable without a name
--- wrong
        sticky route $;
--- emerg: invalid variable name "$"



=== TEST 33: an empty variable
--- wrong
        sticky route "";
--- emerg: invalid variable name ""



=== TEST 34: an unknown variable
--- http_config
    upstream u {
        sticky route $nothing_like_it;
        server 127.0.0.1:1;
    }
--- must_die
--- suppress_stderr
--- error_log
[emerg]
unknown "nothing_like_it" variable
--- no_error_log
[alert]



=== TEST 35: two variables in one
--- http_config
    upstream u {
        sticky route $uri$args;
        server 127.0.0.1:1;
    }
--- must_die
--- suppress_stderr
--- error_log
[emerg]
unknown "uri$args" variable
--- no_error_log
[alert]



=== TEST 36: a server with an empty route
--- wrong
        server 127.0.0.1:2 route=;
--- emerg: route is empty



=== TEST 37: a server with a route of 33 characters
--- wrong
        server 127.0.0.1:2 route=rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr;
--- emerg: route is longer than 32



=== TEST 38: route without a value
--- wrong
        server 127.0.0.1:2 route;
--- emerg: invalid parameter "route"



=== TEST 39: drain with a value
--- wrong
        server 127.0.0.1:2 drain=on;
--- emerg: invalid parameter "drain=on"



=== TEST 40: what nginx does not know beside a route
--- wrong
        server 127.0.0.1:2 route=a quick;
--- emerg: invalid parameter "quick"



=== TEST 41: what nginx refuses beside a route
--- wrong
        server 127.0.0.1:2 route=a drain weight=0;
--- emerg: invalid parameter "weight=0"



=== TEST 42: no server
--- wrong
        server;
--- emerg: invalid number of arguments in "server" directive



=== TEST 43: a port out of range
--- wrong
        server 127.0.0.1:99999 drain;
--- emerg: invalid port in upstream "127.0.0.1:99999"



=== TEST 44: drain as a name
--- wrong
        server drain.invalid drain;
--- emerg: host not found in upstream "drain.invalid"



=== TEST 45: a backup server that drains, with a balancer that knows no backup
--- http_config
    upstream u {
        hash $uri;
        server 127.0.0.1:1 drain backup;
    }
--- emerg: balancing method does not support parameter "backup"



=== TEST 46: no server beside it
--- http_config
    upstream u {
        sticky cookie srv;
    }
--- emerg: no servers are inside upstream



=== TEST 47: a cookie outside of an upstream
--- http_config
    sticky cookie srv;
--- emerg: "sticky" directive is not allowed here
