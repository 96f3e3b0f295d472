# The module beside others.

use Test::Nginx::Socket 'no_plan';

repeat_each(2);
no_long_string();
run_tests();

__DATA__

=== TEST 1: the module loads
--- config
location = /t {
    return 200 "loaded\n";
}
--- request
GET /t
--- response_body
loaded
--- no_error_log
[alert]
[emerg]
[error]
