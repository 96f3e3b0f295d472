# What `sticky learn` refuses, on an nginx that has no sticky of its own.

use lib 't/lib';
use Sticky;

nginx_is_at_least('1.29.6') ? plan skip_all => 'nginx has a sticky of its own' : plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: no method
--- wrong
        sticky;
--- emerg: invalid number of arguments in "sticky" directive



=== TEST 2: a method that it does not know
--- wrong
        sticky hash $uri;
--- emerg: unsupported method "hash", only "sticky learn" is known



=== TEST 3: learn and nothing else
--- wrong
        sticky learn;
--- emerg: "create" parameter is not specified



=== TEST 4: no zone
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session;
--- emerg: "zone" parameter is not specified



=== TEST 5: no create
--- wrong
        sticky learn lookup=$http_x_session zone=sessions:1m;
--- emerg: "create" parameter is not specified



=== TEST 6: no lookup
--- wrong
        sticky learn create=$upstream_http_x_session zone=sessions:1m;
--- emerg: "lookup" parameter is not specified



=== TEST 7: a zone without a size
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions;
--- emerg: invalid zone size "sessions", write "zone=sessions:SIZE"



=== TEST 8: a zone without a name
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=:1m;
--- emerg: invalid zone name ":1m"



=== TEST 9: a zone of nonsense size
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:big;
--- emerg: invalid zone size "sessions:big"



=== TEST 10: a zone that is too small
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:8k;
--- emerg: zone "sessions" is too small, it needs 32k or more



=== TEST 11: two zones
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m zone=others:1m;
--- emerg: duplicate "zone" parameter



=== TEST 12: a create that is the same for all
--- wrong
        sticky learn create=id lookup=$http_x_session zone=sessions:1m;
--- emerg: no variable in "create=id"



=== TEST 13: an empty lookup
--- wrong
        sticky learn create=$upstream_http_x_session lookup= zone=sessions:1m;
--- emerg: empty "lookup" parameter



=== TEST 14: a timeout that is no time
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=long;
--- emerg: invalid time "timeout=long"



=== TEST 15: a timeout of nothing
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=0;
--- emerg: "timeout" must be longer than zero



=== TEST 16: two timeouts
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=1m timeout=1m;
--- emerg: duplicate "timeout" parameter



=== TEST 17: header twice
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header header;
--- emerg: duplicate "header" parameter



=== TEST 18: header with a value
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header=on;
--- emerg: invalid parameter "header=on"



=== TEST 19: unknown, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m unknown=reject;
--- emerg: invalid parameter "unknown=reject"



=== TEST 20: unavailable, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m unavailable=reject;
--- emerg: invalid parameter "unavailable=reject"



=== TEST 21: lifetime, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m lifetime=1h;
--- emerg: invalid parameter "lifetime=1h"



=== TEST 22: gone_after, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m gone_after=1m;
--- emerg: invalid parameter "gone_after=1m"



=== TEST 23: bind, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m bind=$remote_user;
--- emerg: invalid parameter "bind=$remote_user"



=== TEST 24: twice in one upstream
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" directive is duplicate



=== TEST 25: sticky_learn behind sticky
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        sticky_learn zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky_learn" conflicts with "sticky" in the same upstream, keep one



=== TEST 26: sticky behind sticky_learn
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" conflicts with "sticky_learn" in the same upstream, keep one



=== TEST 27: outside of an upstream
--- http_config
    sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
--- emerg: "sticky" directive is not allowed here
