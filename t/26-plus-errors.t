# What `sticky learn` refuses: in nginx's words, by nginx from 1.29.6 on, and by us before.

use lib 't/lib';
use Sticky;

also_with_two_workers;
plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: no method
--- wrong
        sticky;
--- emerg: invalid number of arguments in "sticky" directive



=== TEST 2: a method that it does not know
--- wrong
        sticky hash $uri;
--- emerg: unknown parameter "hash"



=== TEST 3: learn and nothing else
--- wrong
        sticky learn;
--- emerg: invalid number of arguments in "sticky" directive



=== TEST 4: no zone
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session;
--- emerg: "sticky" directive "zone" parameter is not specified



=== TEST 5: no create
--- wrong
        sticky learn lookup=$http_x_session zone=sessions:1m;
--- emerg: "sticky" directive "create" parameter is not specified



=== TEST 6: no lookup
--- wrong
        sticky learn create=$upstream_http_x_session zone=sessions:1m;
--- emerg: "sticky" directive "lookup" parameter is not specified



=== TEST 7: neither, nor a zone
--- wrong
        sticky learn timeout=1h;
--- emerg: "sticky" directive "lookup" parameter is not specified



=== TEST 8: a zone without a size
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions;
--- emerg: "sticky" directive zone size is not specified



=== TEST 9: a zone without a name
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=:1m;
--- emerg: "sticky" directive zone name is not specified



=== TEST 10: a zone of nonsense size
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:big;
--- emerg: "sticky" directive invalid zone size



=== TEST 11: a zone of no size
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:;
--- emerg: "sticky" directive invalid zone size



=== TEST 12: a zone that is too small
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:8k;
--- emerg: "sticky" directive zone is too small



=== TEST 13: two zones
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m zone=others:1m;
--- emerg: "sticky" directive duplicate zone



=== TEST 14: a create that is the same for all
--- wrong
        sticky learn create=id lookup=$http_x_session zone=sessions:1m;
--- emerg: "sticky" directive missing variable in the "create" parameter



=== TEST 15: an empty create
--- wrong
        sticky learn create= lookup=$http_x_session zone=sessions:1m;
--- emerg: "sticky" directive missing variable in the "create" parameter



=== TEST 16: an empty lookup
--- wrong
        sticky learn create=$upstream_http_x_session lookup= zone=sessions:1m;
--- emerg: "sticky" directive missing variable in the "lookup" parameter



=== TEST 17: a lookup that is the same for all
--- wrong
        sticky learn create=$upstream_http_x_session lookup=id zone=sessions:1m;
--- emerg: "sticky" directive missing variable in the "lookup" parameter



=== TEST 18: a timeout that is no time
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=long;
--- emerg: "sticky" directive invalid timeout



=== TEST 19: a timeout of nothing
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=0;
--- emerg: "sticky" directive invalid timeout



=== TEST 20: two timeouts
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m timeout=1m timeout=1m;
--- emerg: "sticky" directive duplicate timeout



=== TEST 21: header with a value
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m header=on;
--- emerg: unknown parameter "header=on"



=== TEST 22: unknown, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m unknown=reject;
--- emerg: unknown parameter "unknown=reject"



=== TEST 23: unavailable, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m unavailable=reject;
--- emerg: unknown parameter "unavailable=reject"



=== TEST 24: lifetime, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m lifetime=1h;
--- emerg: unknown parameter "lifetime=1h"



=== TEST 25: gone_after, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m gone_after=1m;
--- emerg: unknown parameter "gone_after=1m"



=== TEST 26: bind, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m bind=$remote_user;
--- emerg: unknown parameter "bind=$remote_user"



=== TEST 27: twice in one upstream
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" directive is duplicate



=== TEST 28: a cookie behind it
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        sticky cookie srv;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" directive is duplicate



=== TEST 29: a route and a cookie
--- http_config
    upstream u {
        sticky route $arg_route;
        sticky cookie srv;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" directive is duplicate



=== TEST 30: sticky_learn behind sticky
--- skip_nginx: 1: >= 1.29.6
--- http_config
    upstream u {
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        sticky_learn zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky_learn" conflicts with "sticky" in the same upstream, keep one



=== TEST 31: sticky_learn behind a cookie
--- skip_nginx: 1: >= 1.29.6
--- http_config
    upstream u {
        sticky cookie srv;
        sticky_learn zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky_learn" conflicts with "sticky" in the same upstream, keep one



=== TEST 32: sticky behind sticky_learn
--- skip_nginx: 1: >= 1.29.6
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m;
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
        server 127.0.0.1:1;
    }
--- emerg: "sticky" conflicts with "sticky_learn" in the same upstream, keep one



=== TEST 33: outside of an upstream
--- http_config
    sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m;
--- emerg: "sticky" directive is not allowed here



=== TEST 34: share, which belongs to sticky_learn
--- wrong
        sticky learn create=$upstream_http_x_session lookup=$http_x_session zone=sessions:1m share=mesh;
--- emerg: "sticky learn" learns when a response has ended, too late for other machines; "share" is a parameter of "sticky_learn"
