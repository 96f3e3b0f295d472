# nginx refuses a wrong configuration: one [emerg] line says what is wrong, and where.

use lib 't/lib';
use Sticky;

plan 'no_plan';
run_tests();

__DATA__

=== TEST 1: no parameter
--- wrong
        sticky_learn;
--- emerg: "zone" parameter is not specified

=== TEST 2: no zone
--- wrong
        sticky_learn create=$sent_http_x_session lookup=$http_x_session;
--- emerg: "zone" parameter is not specified

=== TEST 3: MCP mode without a zone
--- wrong
        sticky_learn timeout=10m;
--- emerg: "zone" parameter is not specified

=== TEST 4: create without lookup
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session;
--- emerg: "lookup" parameter is not specified

=== TEST 5: lookup without create
--- wrong
        sticky_learn zone=sessions:1m lookup=$http_x_session;
--- emerg: "create" parameter is not specified

=== TEST 6: zone without a value
--- wrong
        sticky_learn zone create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid parameter "zone"

=== TEST 7: zone without a name
--- wrong
        sticky_learn zone= create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone name ""

=== TEST 8: zone with a size but no name
--- wrong
        sticky_learn zone=:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone name ":1m"

=== TEST 9: zone with an empty size
--- wrong
        sticky_learn zone=sessions: create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone size "sessions:"

=== TEST 10: zone with an unknown unit
--- wrong
        sticky_learn zone=sessions:1x create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone size "sessions:1x"

=== TEST 11: zone with a negative size
--- wrong
        sticky_learn zone=sessions:-1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone size "sessions:-1m"

=== TEST 12: zone with two sizes
--- wrong
        sticky_learn zone=sessions:1m:2m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone size "sessions:1m:2m"

=== TEST 13: zone whose size no machine can count
--- wrong
        sticky_learn zone=sessions:99999999999999999999m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid zone size "sessions:99999999999999999999m"

=== TEST 14: zone of no size
--- wrong
        sticky_learn zone=sessions:0 create=$sent_http_x_session lookup=$http_x_session;
--- emerg: zone "sessions" is too small, it needs 32k or more

=== TEST 15: zone of less than eight pages
--- wrong
        sticky_learn zone=sessions:31k create=$sent_http_x_session lookup=$http_x_session;
--- emerg: zone "sessions" is too small, it needs 32k or more

=== TEST 16: two zones
--- wrong
        sticky_learn zone=sessions:1m zone=others:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: duplicate "zone" parameter

=== TEST 17: create without a value
--- wrong
        sticky_learn zone=sessions:1m create= lookup=$http_x_session;
--- emerg: empty "create" parameter

=== TEST 18: lookup without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=;
--- emerg: empty "lookup" parameter

=== TEST 19: bind without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=;
--- emerg: empty "bind" parameter

=== TEST 20: create that is the same for all
--- wrong
        sticky_learn zone=sessions:1m create=x_session lookup=$http_x_session;
--- emerg: no variable in "create=x_session"

=== TEST 21: lookup that is the same for all
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=x_session;
--- emerg: no variable in "lookup=x_session"

=== TEST 22: bind that is the same for all
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=user;
--- emerg: no variable in "bind=user"

=== TEST 23: two binds
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session bind=$remote_user bind=$host;
--- emerg: duplicate "bind" parameter

=== TEST 24: create with a variable that does not exist (nginx itself looks, at the end of the file)
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$no_such_thing lookup=$http_x_session;
        server 127.0.0.1:1;
    }
--- must_die: 1
--- suppress_stderr
--- error_log
[emerg]
unknown "no_such_thing" variable
--- no_error_log
[alert]

=== TEST 25: lookup with a dollar that names nothing
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$;
--- emerg: invalid variable name

=== TEST 26: lookup with a brace left open
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=${http_x_session;
--- emerg: the closing bracket in "http_x_session" variable is missing

=== TEST 27: timeout without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=;
--- emerg: invalid time "timeout="

=== TEST 28: timeout that is no time
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=soon;
--- emerg: invalid time "timeout=soon"

=== TEST 29: timeout of nothing
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=0;
--- emerg: "timeout" must be longer than zero

=== TEST 30: timeout given twice
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=1m timeout=2m;
--- emerg: duplicate "timeout" parameter

=== TEST 31: lifetime without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session lifetime=;
--- emerg: invalid time "lifetime="

=== TEST 32: lifetime that is no time
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session lifetime=soon;
--- emerg: invalid time "lifetime=soon"

=== TEST 33: lifetime of nothing
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session lifetime=0;
--- emerg: "lifetime" must be longer than zero

=== TEST 34: lifetime given twice
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session lifetime=1m lifetime=2m;
--- emerg: duplicate "lifetime" parameter

=== TEST 35: gone_after without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session gone_after=;
--- emerg: invalid time "gone_after="

=== TEST 36: gone_after that is no time
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session gone_after=soon;
--- emerg: invalid time "gone_after=soon"

=== TEST 37: gone_after of nothing
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session gone_after=0;
--- emerg: "gone_after" must be longer than zero

=== TEST 38: gone_after given twice
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session gone_after=1m gone_after=2m;
--- emerg: duplicate "gone_after" parameter

=== TEST 39: negative timeout
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=-1s;
--- emerg: invalid time "timeout=-1s"

=== TEST 40: timeout with an unknown unit
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=10q;
--- emerg: invalid time "timeout=10q"

=== TEST 41: timeout longer than the zone can tell
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=2000d;
--- emerg: "timeout=2000d" is too long, at most 4 years are possible

=== TEST 42: lifetime longer than the zone can tell
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session lifetime=2000d;
--- emerg: "lifetime=2000d" is too long, at most 4 years are possible

=== TEST 43: timeout that no machine can count
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session timeout=99999999999999999999y;
--- emerg: invalid time "timeout=99999999999999999999y"

=== TEST 44: unknown without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=;
--- emerg: invalid value "unknown=", it must be "balance" or "reject"

=== TEST 45: unknown with a word that it does not know
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=rebind;
--- emerg: invalid value "unknown=rebind", it must be "balance" or "reject"

=== TEST 46: unknown in capitals
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=REJECT;
--- emerg: invalid value "unknown=REJECT", it must be "balance" or "reject"

=== TEST 47: unknown given twice
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unknown=reject unknown=reject;
--- emerg: duplicate "unknown" parameter

=== TEST 48: unavailable without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unavailable=;
--- emerg: invalid value "unavailable=", it must be "balance" or "rebind" or "reject"

=== TEST 49: unavailable with a word that it does not know
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unavailable=wait;
--- emerg: invalid value "unavailable=wait", it must be "balance" or "rebind" or "reject"

=== TEST 50: unavailable given twice
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session unavailable=rebind unavailable=balance;
--- emerg: duplicate "unavailable" parameter

=== TEST 51: a parameter that does not exist
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session expires=1h;
--- emerg: invalid parameter "expires=1h", only "zone", "file", "share", "create", "lookup", "timeout", "lifetime", "unknown", "unavailable", "gone_after", "bind", "gone", "revive_zone", "credential" and "warnings" are known

=== TEST 52: a parameter in capitals
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session Timeout=1h;
--- emerg: invalid parameter "Timeout=1h", only "zone", "file", "share", "create", "lookup", "timeout", "lifetime", "unknown", "unavailable", "gone_after", "bind", "gone", "revive_zone", "credential" and "warnings" are known

=== TEST 53: a word without a value
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session reject;
--- emerg: invalid parameter "reject"

=== TEST 54: a value without a name
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session =reject;
--- emerg: invalid parameter "=reject", only "zone", "file", "share", "create", "lookup", "timeout", "lifetime", "unknown", "unavailable", "gone_after", "bind", "gone", "revive_zone", "credential" and "warnings" are known

=== TEST 55: header, which belongs to "sticky learn"
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session header;
--- emerg: invalid parameter "header"

=== TEST 56: the words of "sticky learn"
--- wrong
        sticky_learn learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: invalid parameter "learn"

=== TEST 57: a block instead of a semicolon
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session {}
--- emerg: directive "sticky_learn" is not terminated by ";"

=== TEST 58: two directives in one upstream
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:1;
    }
--- emerg: "sticky_learn" directive is duplicate

=== TEST 59: outside of an upstream: http
--- http_config
    sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: "sticky_learn" directive is not allowed here

=== TEST 60: outside of an upstream: server
--- config
    sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: "sticky_learn" directive is not allowed here

=== TEST 61: outside of an upstream: location
--- config
    location / {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
    }
--- emerg: "sticky_learn" directive is not allowed here

=== TEST 62: outside of an upstream: main
--- main_config
    sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
--- emerg: "sticky_learn" directive is not allowed here

=== TEST 63: a zone that no upstream gives a size
--- http_config
    upstream u {
        sticky_learn zone=sessions create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:1;
    }
--- emerg: zone "sessions" has no size, write "zone=sessions:SIZE" in one of its upstreams

=== TEST 64: a size that should have a name
--- http_config
    upstream u {
        sticky_learn zone=1m;
        server 127.0.0.1:1;
    }
--- emerg: "zone=1m" has no name, write "zone=NAME:1m"

=== TEST 65: a zone that two upstreams give different sizes
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=sessions:2m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:1;
    }
--- emerg: the size 2097152 of shared memory zone "sessions" conflicts with already declared size 1048576

=== TEST 66: a zone that a cache uses
--- http_config
    proxy_cache_path cache keys_zone=sessions:1m;
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        server 127.0.0.1:1;
    }
--- emerg: the shared memory zone "sessions" is already declared for a different use

=== TEST 67: a zone that the upstream's servers use
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
        zone sessions 1m;
        server 127.0.0.1:1;
    }
--- emerg: the shared memory zone "sessions" is already declared for a different use

=== TEST 68: an upstream without servers
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session;
    }
--- emerg: no servers are inside upstream

=== TEST 69: a zone whose upstream has more servers than any can have
--- wrong eval
CORE::join "\n", '        sticky_learn zone=sessions:64m;', map { '        server 127.1.' . ($_ >> 8) . '.' . ($_ & 255) . ';' } 1 .. 4096
--- emerg: zone "sessions" has too many servers in its upstreams: 4097


=== TEST 70: a balancer of Lua's without Lua
--- wrong
        balancer_by_lua_block { return }
--- emerg
unknown directive "balancer_by_lua_block"

=== TEST 71: a zone without a size whose name is not UTF-8
--- http_config eval
qq[    upstream u {
        sticky_learn zone=caf\xe9 create=\$sent_http_x_session lookup=\$http_x_session;
        server 127.0.0.1:1;
    }
]
--- emerg
zone "caf\xe9" has no size, write "zone=caf\xe9:SIZE" in one of its upstreams

=== TEST 72: file given twice
--- wrong
        sticky_learn zone=sessions:1m file=a file=b;
--- emerg: duplicate "file" parameter

=== TEST 73: file without a name
--- wrong
        sticky_learn zone=sessions:1m file=;
--- emerg: invalid file ""

=== TEST 74: a folder as file
--- wrong
        sticky_learn zone=sessions:1m file=/var/lib/sticky/;
--- emerg: invalid file "/var/lib/sticky/"

=== TEST 75: two files for one zone
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m file=/nowhere/a;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=sessions file=/nowhere/b;
        server 127.0.0.1:1;
    }
--- emerg: zone "sessions" has two files

=== TEST 76: one file for two zones
--- http_config
    upstream u {
        sticky_learn zone=one:1m file=/nowhere/a;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=two:1m file=/nowhere/a;
        server 127.0.0.1:1;
    }
--- emerg: zones "one" and "two" have the same file

=== TEST 77: a word for warnings that it does not know
--- wrong
        sticky_learn zone=sessions:1m warnings=no;
--- emerg: invalid value "warnings=no", it must be "on" or "off"

=== TEST 78: file with a variable
--- wrong
        sticky_learn zone=sessions:1m file=/var/lib/$host/sessions;
--- emerg: no variables are allowed in "file=/var/lib/$host/sessions"

=== TEST 79: gone outside MCP mode
--- wrong
        sticky_learn zone=sessions:1m create=$sent_http_x_session lookup=$http_x_session gone=revive;
--- emerg: "gone" is for MCP mode, without "create" and "lookup"

=== TEST 80: another value of gone
--- wrong
        sticky_learn zone=sessions:1m gone=forget;
--- emerg: invalid value "gone=forget", it must be "reject" or "revive"

=== TEST 81: gone twice
--- wrong
        sticky_learn zone=sessions:1m gone=reject gone=revive;
--- emerg: duplicate "gone" parameter

=== TEST 82: revive and balance
--- wrong
        sticky_learn zone=sessions:1m gone=revive unavailable=balance;
--- emerg: "gone=revive" needs "unavailable=reject", the default

=== TEST 83: memory for records without revive
--- wrong
        sticky_learn zone=sessions:1m revive_zone=4m;
--- emerg: "revive_zone" has no effect without "gone=revive"

=== TEST 84: a credential with gone=reject
--- wrong
        sticky_learn zone=sessions:1m gone=reject credential=X-Tenant;
--- emerg: "credential" has no effect without "gone=revive"

=== TEST 85: too small memory for records
--- wrong
        sticky_learn zone=sessions:1m gone=revive revive_zone=32k;
--- emerg: "revive_zone" is too small, it needs 64k or more

=== TEST 86: no size of records
--- wrong
        sticky_learn zone=sessions:1m gone=revive revive_zone=many;
--- emerg: invalid size "revive_zone=many"

=== TEST 87: no header name
--- wrong
        sticky_learn zone=sessions:1m gone=revive credential=X:Y;
--- emerg: invalid header name "credential=X:Y"

=== TEST 88: share without a name
--- wrong
        sticky_learn zone=sessions:1m share=;
--- emerg: "share" is empty, it must be the name of a "sticky_share"

=== TEST 89: share with a name that no sticky_share has
--- wrong
        sticky_learn zone=sessions:1m share=mesh;
--- emerg: no sticky_share "mesh" for zone "sessions"

=== TEST 90: a zone that is shared in one upstream only
--- http_config
    sticky_share mesh redis://127.0.0.1:1;
    upstream u {
        sticky_learn zone=sessions:1m share=mesh;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=sessions;
        server 127.0.0.1:1;
    }
--- emerg: zone "sessions" is shared in one upstream and not in another, write "share" in both

=== TEST 91: a zone that is shared by two stores
--- http_config
    sticky_share one redis://127.0.0.1:1;
    sticky_share two redis://127.0.0.1:2;
    upstream u {
        sticky_learn zone=sessions:1m share=one;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=sessions share=two;
        server 127.0.0.1:1;
    }
--- emerg: zone "sessions" is shared by two stores

=== TEST 92: two stores of one name
--- http_config
    sticky_share mesh redis://127.0.0.1:1;
    sticky_share mesh redis://127.0.0.1:2;
--- emerg: duplicate sticky_share "mesh"

=== TEST 93: another scheme
--- http_config
    sticky_share mesh http://127.0.0.1:1;
--- emerg: invalid URL, it must begin with "redis://", "rediss://" or "unix:"

=== TEST 94: a password in the URL
--- http_config
    sticky_share mesh redis://nginx:secret@127.0.0.1:1;
--- emerg: "nginx -T" would show the password of a URL, write "user=NAME" and "password_file=FILE" instead

=== TEST 95: a password as a parameter
--- http_config
    sticky_share mesh redis://127.0.0.1:1 password=secret;
--- emerg: "nginx -T" would show the password, write it to a file and "password_file=FILE"

=== TEST 96: no such file of a password
--- http_config
    sticky_share mesh redis://127.0.0.1:1 password_file=/nowhere/password;
--- emerg: cannot read "/nowhere/password": No such file or directory (os error 2)

=== TEST 97: a secret of another length
--- http_config
    sticky_share mesh redis://127.0.0.1:1 secret=/dev/null;
--- emerg: "/dev/null" must be 48 or 80 bytes, write "openssl rand 80 > /dev/null"

=== TEST 98: a user without a password
--- http_config
    sticky_share mesh redis://127.0.0.1:1 user=nginx;
--- emerg: "user" needs "password_file"

=== TEST 99: TLS without a CA
--- http_config
    sticky_share mesh rediss://127.0.0.1:1;
--- emerg: "rediss://" needs "ca=FILE", the CA of the store's certificate

=== TEST 100: a CA without TLS
--- http_config
    sticky_share mesh redis://127.0.0.1:1 ca=/nowhere/ca.pem;
--- emerg: "ca", "cert" and "key" are for "rediss://"

=== TEST 101: a certificate without its key
--- http_config
    sticky_share mesh rediss://127.0.0.1:1 ca=/nowhere/ca.pem cert=/nowhere/cert.pem;
--- emerg: "cert" and "key" need each other

=== TEST 102: a database that is no number
--- http_config
    sticky_share mesh redis://127.0.0.1:1/one;
--- emerg: invalid number of a database in "redis://127.0.0.1:1/one"

=== TEST 103: a parameter of sticky_share that does not exist
--- http_config
    sticky_share mesh redis://127.0.0.1:1 cluster;
--- emerg: invalid parameter "cluster", only "user", "password_file", "ca", "cert", "key", "secret", "prefix" and "timeout" are known

=== TEST 104: a prefix that is too long
--- http_config eval
    "sticky_share mesh redis://127.0.0.1:1 prefix=" . "p" x 65 . ";"
--- emerg: "prefix" is too long, at most 64 bytes are possible

=== TEST 105: a zone with and without gone=revive
--- http_config
    upstream u {
        sticky_learn zone=sessions:1m gone=revive;
        server 127.0.0.1:1;
    }
    upstream v {
        sticky_learn zone=sessions;
        server 127.0.0.1:1;
    }
--- emerg: zone "sessions" is used with and without "gone=revive"
