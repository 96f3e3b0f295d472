# The configurations of docs/web.md, unchanged except that our servers replace 10.0.0.1 and 10.0.0.2.

use lib 't/lib';
use Sticky;

also_with_two_workers;
told_by_nginx;
plan 'no_plan';

my $cookie = '
    GET /                          => 200 x NEW x | lb=<x>; httponly; path=/
    GET / | Cookie: lb=<y>         => 200 y HIT y | lb=<y>; httponly; path=/
    GET /ws | Cookie: lb=<y>       => 200 y HIT y | lb=<y>; httponly; path=/
    GET / | Cookie: lb=old; lb=<x> => 200 x * *
';

# In the order of the page.
my @stories = (
    ['Tomcat', '
        GET /?cookie=JSESSIONID=one         => 200 x *
        GET / | Cookie: JSESSIONID=one      => 200 x HIT x
        GET /a;jsessionid=one?page=2        => 200 x HIT x
        GET /a;jsessionid=one;v=1           => 200 x HIT x
        GET /?cookie=JSESSIONID=two         => 200 y *
        GET / | Cookie: JSESSIONID=two      => 200 y HIT y
        GET /a;v=1;jsessionid=two/b?f=x     => 200 y HIT y
    '],
    ['PHP', '
        GET /?cookie=PHPSESSID=one                                    => 200 x *
        GET / | Cookie: PHPSESSID=one                                 => 200 x HIT x
        GET /?cookie=PHPSESSID=two&cookie2=PHPSESSID=three            => 200 y *
        GET / | Cookie: PHPSESSID=three                               => 200 y HIT y
        GET /?cookie=PHPSESSID=four | Cookie: PHPSESSID=three         => 200 y *
        GET / | Cookie: PHPSESSID=four                                => 200 y HIT y
    '],
    ['Socket.IO', '
        GET /?cookie=io=one           => 200 x *
        GET /?sid=one                 => 200 x HIT x
        GET /?sid=one                 => 200 x HIT x
        GET /?cookie=io=two           => 200 y *
        POST /?sid=two                => 200 y HIT y
    '],
    ['SignalR', $cookie],
    ['Jupyter', $cookie],
    ['Gradio and Streamlit', $cookie],
    ['gRPC', '
        GET /?new=one            => 200 x NEW *
        GET / | X-Session: one   => 200 x HIT *
        GET / | X-Session: one   => 200 x HIT *
        GET /?new=two            => 200 y NEW *
        GET / | X-Session: two   => 200 y HIT *
    '],
);

open my $file, '<', 'docs/web.md' or die "no page: $!";
my @ours = do { local $/; <$file> } =~ /^```nginx\n(.*?)^```$/msg;
die 'the page has ' . @ours . ' configurations, and there are ' . @stories . ' stories' if @ours != @stories;

my $blocks = '';
for my $number (1 .. @stories) {
    my ($name, $story) = @{$stories[$number - 1]};
    my $http = $ours[$number - 1];
    # What the page has in its server is put into that of the test.
    $http =~ s/^server \{\n    listen 80[^\n]*\n(.*?)^\}\n//ms or die "no server for $name";
    my $config = $1;
    if ($name eq 'gRPC') {
        next unless nginx_was_built_with('--with-http_v2_module');
        $http =~ s/10\.0\.0\.(\d):8080/127.0.0.1:\$TEST_NGINX_RAND_PORT_@{[$1 + 3]}/g;
        $http .= join '', map {
            my $port = { x => 4, y => 5 }->{$_};
            "server { listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_$port http2; add_header X-Server $_; "
                . "add_header X-Session \$arg_new; location / { return 200 \"$_\\n\"; } }\n"
        } qw(x y);
    } else {
        my @servers = qw(X Y);
        $http =~ s/10\.0\.0\.(\d):8080/\$TEST_NGINX_$servers[$1 - 1]/g;
    }
    s/^/    /mg for $http, $config;
    $blocks .= "=== TEST $number: $name\n--- http_config\n$http--- config\n$config--- story$story\n\n";
}
spec_string($blocks);
run_tests();
