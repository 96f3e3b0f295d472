package Sticky::Lua;

# For suites with nginx's Lua module. Each block runs twice: with our module loaded first, and with Lua's loaded first,
# unless Lua is compiled in; there "story_of_lua_first" takes the place of "story", and "response_headers_of_lua_first"
# that of "response_headers". Lua finds resty.sticky_learn.

use Sticky;
use Test::Nginx::Socket -Base;

our @EXPORT = qw(with_lua lua_has);

sub with_lua() {
    plan(skip_all => 'no Lua module') if !$ENV{TEST_NGINX_LUA_MODULES};
    plan('no_plan');
    my $ours = "load_module $Test::Nginx::Util::LoadModules;";
    undef $Test::Nginx::Util::LoadModules;

    my $spec = do { local $/; <main::DATA> };
    my $blocks = () = $spec =~ /^=== /mg;
    my $again = $spec;
    $again =~ s/^=== TEST (\d+): (.*)$/'=== TEST ' . ($1 + $blocks) . ": $2 (Lua loaded first)\n--- lua_first"/gme;
    spec_string($ENV{TEST_NGINX_LUA_MODULES} =~ /load_module/ ? "$spec\n\n$again" : $spec);

    add_block_preprocessor(sub {
        my $block = shift;
        # Where Lua's filter runs behind ours: also if it is compiled in.
        if (defined $block->lua_first || $ENV{TEST_NGINX_LUA_MODULES} !~ /load_module/) {
            $block->set_value(story => $block->story_of_lua_first) if defined $block->story_of_lua_first;
            my $headers = $block->response_headers_of_lua_first;
            $block->set_value(response_headers => $headers) if defined $headers;
        }
        my @modules = ($ours, $ENV{TEST_NGINX_LUA_MODULES});
        @modules = reverse @modules if defined $block->lua_first;
        my $http = "    lua_package_path '$ENV{TEST_NGINX_STICKY_LUA}';\n" . ($block->http_config // '');
        $block->set_value(main_config => join "\n", @modules, $block->main_config // '');
        $block->set_value(http_config => $http);
    });
}

# Whether Lua's module has a directive or a function of C.
sub lua_has($) {
    my $name = shift;
    my $lua = $ENV{TEST_NGINX_LUA_MODULES} =~ /(\S+ngx_http_lua_module\.so)/ ? $1 : $Test::Nginx::Util::NginxBinary;
    return !system "grep -q $name $lua";
}

1;
