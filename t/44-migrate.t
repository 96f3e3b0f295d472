# All configurations of docs/migrate.md for this module, with our servers instead of 10.0.0.1, 2 and 3.

use lib 't/lib';
use Sticky;

also_with_two_workers;
told_by_nginx;
plan 'no_plan';

my $cookie = '; expires=<+3600>; max-age=3600; domain=.example.com; httponly; secure; samesite=lax; path=/';
my $ng = '; expires=<+3600>; max-age=3600; domain=.example.com; httponly; secure; path=/';
my $learned = '
    GET /?cookie=sid=one    => 200 a *
    GET / | Cookie: sid=one => 200 a HIT a
    GET / | Cookie: sid=one => 200 a HIT a
    GET /?cookie=sid=two    => 200 b *
    GET / | Cookie: sid=two => 200 b HIT b
';

# In the order of the page.
my @stories = (
    ['the cookie of NGINX Plus', "
        GET /                    => 200 a NEW a | srv_id=a$cookie
        GET / | Cookie: srv_id=b => 200 b HIT b | srv_id=b$cookie
        GET / | Cookie: srv_id=b => 200 b HIT b | srv_id=b$cookie
    "],
    ['the route of NGINX Plus', '
        GET / | Cookie: JSESSIONID=1.node-b           => 200 b HIT b
        GET / | Cookie: JSESSIONID=1.node-b           => 200 b HIT b
        GET /x;jsessionid=2.a                         => 200 a HIT a
        GET /x;jsessionid=2.node-b                    => 200 b HIT b
        GET /x;jsessionid=2.node-b?page=2             => 200 b HIT b
        GET /x;jsessionid=2.node-b?page=2             => 200 b HIT b
        GET /x;jsessionid=2.node-b;v=1                => 200 b HIT b
        GET /x;v=1;jsessionid=2.node-b;w=2/y?f=x.a    => 200 b HIT b
        GET /x?f=x.node-b                             => 200 * NONE -
        GET /x?f=;jsessionid=2.node-b                 => 200 * NONE -
        GET /x;jsessionid=2                           => 200 * NONE -
        GET /x;jsessionid=2.a?f=;jsessionid=2.node-b  => 200 a HIT a
        GET /x;jsessionid=2.a | Cookie: JSESSIONID=1  => 200 a HIT a
    '],
    ['learned sessions of NGINX Plus', $learned],
    ['the same with sticky_learn', $learned],
    ['the cookie of Angie', '
        GET /                    => 200 a NEW a | srv_id=a; path=/
        GET / | Cookie: srv_id=b => 200 b HIT b | srv_id=b; path=/
        GET / | Cookie: srv_id=b => 200 b HIT b | srv_id=b; path=/
    '],
    ['sticky_strict of Angie', $learned],
    ['nginx-sticky-module-ng', "
        GET /                      => 200 x NEW x | srv_id=<x>$ng
        GET / | Cookie: srv_id=<y> => 200 y HIT y | srv_id=<y>$ng
        GET / | Cookie: srv_id=<y> => 200 y HIT y | srv_id=<y>$ng
    ", 'XY'],
    ['nginx-sticky-module-ng with hash=index', '
        GET / | Cookie: srv_id=1 => 200 b HIT b | srv_id=1
        GET / | Cookie: srv_id=1 => 200 b HIT b | srv_id=1
        GET / | Cookie: srv_id=0 => 200 a HIT a | srv_id=0
    '],
    ['the cookie of HAProxy', '
        GET /                 => 200 a NEW a | SRV=a; httponly; secure; path=/
        GET /                 => 200 b NEW b | SRV=b; httponly; secure; path=/
        GET /                 => 200 a NEW a | SRV=a; httponly; secure; path=/
        GET / | Cookie: SRV=c => 200 c HIT c | SRV=c; httponly; secure; path=/
    '],
    ['a stick table of HAProxy', '
        POST /?mcp=one                   => 200 a *
        POST / | Mcp-Session-Id: one     => 200 a HIT a
        GET / | Mcp-Session-Id: one      => 200 a HIT a
        POST / | Mcp-Session-Id: unheard => 200 b UNKNOWN -
    '],
);

open my $file, '<', 'docs/migrate.md' or die "no page: $!";
my @ours = do { local $/; <$file> } =~ /^```nginx\n(.*?)^```$/msg;
die 'the page has ' . @ours . ' configurations, and there are ' . @stories . ' stories' if @ours != @stories;

my $blocks = '';
for my $number (1 .. @stories) {
    my ($name, $story, $servers) = @{$stories[$number - 1]};
    my @servers = split //, $servers // 'ABC';
    my $config = $ours[$number - 1] =~ s/10\.0\.0\.(\d):8080/\$TEST_NGINX_$servers[$1 - 1]/gr;
    $config =~ s/^/    /mg;
    $blocks .= "=== TEST $number: $name\n--- http_config\n$config--- config\n"
        . "    location / { proxy_pass http://app; }\n--- story$story\n\n";
}
spec_string($blocks);
run_tests();
