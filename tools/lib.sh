# What the scripts in tools/ share: places, versions, messages. Sourced, never run.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
shopt -s inherit_errexit

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL=C.UTF-8

# To nginx itself the variable NGINX lists inherited sockets: none that is started from here may see it.
asked=${NGINX:-nginx}
unset NGINX

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build
module=ngx_http_sticky_learn_module.so
testing_module=ngx_http_sticky_learn_testing.so

# The nginx branches that the module is held to; where each one comes from says tools/nginx.
branches=(1.22 1.26 1.28 1.30)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
on_debian() { have apt-get && have dpkg-query; }


codename() { (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}"); }

# The mirror that this machine's own apt uses.
# shellcheck disable=SC2016
mirror() {
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' \
        | awk -v release="$(codename)" '$1 == release && $2 == "main" && !found++ { print $3 }'
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null || true) == ii* ]]; }

# The first N lines. Reads to the end: with pipefail, who writes to a reader that has left ends the script (141).
first() { awk -v lines="$1" 'NR <= lines'; }

# need PACKAGE...: installs what is missing (root), or says what to install. Other systems than Debian name
# their packages differently: there the compiler's own messages have to do.
need() {
    local package missing=()
    on_debian || return 0
    for package; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    is_root || die "missing packages; as root: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    mkdir -p "$build"
    (
        flock 9
        apt-get -qq update || say "apt-get update failed, trying with the old lists"
        DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
    ) 9>"$build/apt.lock" >"$build/apt.log" 2>&1 \
        || die "apt-get install ${missing[*]} failed, see $build/apt.log"
}

oldest_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml"; }

version_of_module() { sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml"; }

# at_least VERSION WANTED
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | first 1)" = "$2" ]; }

# The packages of this Debian whose Rust is new enough: Debian 12 has them under the names that its browsers are built with.
rust_packages() {
    local suffix candidate
    on_debian || return 0
    for suffix in '' -web; do
        candidate=$(apt-cache policy "rustc$suffix" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
        if [ -n "$candidate" ] && at_least "$candidate" "$(oldest_rust)"; then
            printf '%s\n' "cargo$suffix rustc$suffix"
            return
        fi
    done
}

need_rust() {
    local wanted found packages instead
    wanted=$(oldest_rust)
    packages=$(rust_packages)
    if ! have cargo && on_debian && is_root; then
        # A new machine may have no lists of packages.
        [ -n "$packages" ] || apt-get -qq update >/dev/null 2>&1 || true
        packages=$(rust_packages)
        # shellcheck disable=SC2086
        [ -z "$packages" ] || need $packages
    fi
    instead="install Rust $wanted or newer with rustup"
    [ -z "$packages" ] || instead="as root: apt-get install $packages"
    { have cargo && have rustc; } || die "no cargo and rustc in PATH; $instead"
    found=$(rustc --version | cut -d' ' -f2)
    at_least "$found" "$wanted" || die "$(command -v rustc) is Rust $found, $wanted or newer is needed; $instead"
}

# cargo_tool NAME: cargo NAME, of the crate cargo-NAME.
cargo_tool() {
    ! cargo "$1" --version >/dev/null 2>&1 || return 0
    say "installing cargo-$1, once, about three minutes"
    env -u CARGO_TARGET_DIR cargo install --locked --quiet "cargo-$1"
}

# Local work may change Cargo.lock; CI must not.
locked() { [ -z "${CI:-}" ] || printf -- --locked; }

# nginx/1.22.1, openresty/1.27.1.2: what an nginx says of itself, and what it is compiled to say from these sources.
product() { "$1" -v 2>&1 | sed -n 's|^[A-Za-z]* version: \([^ ]*\).*|\1|p' | first 1; }
source_product() {
    [ -f "$1/src/core/nginx.h" ] || return 0
    # Tengine keeps nginx's own name besides its.
    printf '#include "%s"\n#ifdef TENGINE_VER\nTENGINE_VER\n#else\nNGINX_VER\n#endif\n' "$(realpath "$1")/src/core/nginx.h" \
        | cc -E -P -x c - 2>/dev/null | sed -n 's/" *"//g; s/^"\(.*\)"$/\1/p' || true
}
# 1.22.1, openresty-1.27.1.2: the name of its folder in build/.
nginx_version() { product "$1" | sed 's|^nginx/||; s|/|-|g'; }

# find_nginx [NGINX]: the absolute path of the nginx to build for.
find_nginx() {
    local nginx=${1:-$asked}
    if ! have "$nginx" && [ "$nginx" = nginx ] && on_debian && is_root; then
        need nginx
    fi
    if ! have "$nginx"; then
        [ "$nginx" != nginx ] || die "no nginx in PATH; install one (Debian: apt-get install nginx) or set NGINX=/path/to/nginx"
        die "no nginx at $nginx"
    fi
    nginx=$(command -v "$nginx")
    case $nginx in
        /*) printf '%s\n' "$nginx" ;;
        *) printf '%s\n' "$PWD/$nginx" ;;
    esac
}

# The nginx of a branch, as tools/nginx leaves it.
branch_nginx() { printf '%s\n' "$build/nginx/$1/nginx"; }

# The module built for an nginx, as tools/module leaves it.
module_of() { printf '%s\n' "$build/$(nginx_version "$1")/$module"; }

# summary LOG: what the runners in it said of failures, and at their ends, forty lines at most. A script that sums up
# itself begins that with "===".
summary() {
    awk '
        /^=== / { lines = 0 }
        /^Test Summary Report/ { report = 1 }
        / panicked at / { following = 4 }
        # These scripts and make; Test::More and prove; pytest; cargo; clippy and cargo-deny, rustfmt, shellcheck.
        /^(===|---|error:|make:) / ||
        /^# (  Failed test| +got:| +expected:|Looks like) / || /^(Files=|Result:|Bailout called)/ || report ||
        /^(FAILED|ERROR) / || /^=+ .* in [0-9.]+s/ ||
        /^test .* FAILED$/ || /^test result: / || following-- > 0 ||
        /^error\[/ || /^ +--> / || /^Diff in / || /^In .* line [0-9]+:/ || / SC[0-9]+ \(/ {
            line[++lines] = $0
        }
        /^Result:/ { report = 0 }
        END {
            for (i = 1; i <= lines; i++) {
                if (lines > 40 && i == 30) {
                    print "..."
                    i = lines - 9
                }
                print line[i]
            }
        }' "$1"
}

# slowest LOG...: the twenty files of t/ and tests of tests/ that took longest.
slowest() {
    local table
    # [HH:MM:SS] MODE/t/FILE.t .. ok  1234 ms ( ...     and     12.34s call     tests/FOLDER/FILE.py::TEST
    table=$(sed -n -E \
        -e 's/^\[[0-9:]+\] (\S+) \.* *ok *([0-9]+)([0-9]{3}) ms.*/\2.\3 \1/p' \
        -e 's/^([0-9.]+)s (call|setup|teardown) +(.*)/\1 \3 (\2)/; s/ \(call\)$//; /^[0-9.]+ tests/p' "$@" \
        | sort -rn | first 20 | awk '{ time = $1; $1 = ""; printf "%8.1f s %s\n", time, $0 }')
    [ -z "$table" ] || printf '\n====== slowest\n%s\n' "$table"
}

# What runs beside others, and what needs the machine for itself: it waits until no other of this folder's suites runs.
beside_others() { flock --shared --close "$build/suites.lock" "$@"; }
alone() { flock --exclusive --close "$build/suites.lock" "$@"; }

# test_environment NGINX MODULE: what the suites find their nginx by.
#   TEST_NGINX_BINARY, TEST_NGINX_LOAD_MODULES     the binary and the object to load
#   TEST_NGINX_LUA_MODULES, TEST_NGINX_LUA_PATH    load_module directives and lua_package_path, empty without Lua
#   TEST_NGINX_STICKY_LUA                          the same path with lua/ of this folder in front
#   TEST_NGINX_MODSECURITY                         the object of ModSecurity, empty without it
#   TEST_NGINX_HEADERS_MORE, TEST_NGINX_JS         load_module directives of headers-more and njs, empty without them
test_environment() {
    local modules lua
    modules=$(dirname "$1")/modules
    lua=$(dirname "$1")/lua
    if [ "$(readlink -f "$1")" = /usr/sbin/nginx ] && on_debian; then
        ! is_root || need libnginx-mod-http-lua libnginx-mod-http-modsecurity modsecurity-crs \
            libnginx-mod-http-headers-more-filter libnginx-mod-http-js lua-cjson
        modules=/usr/lib/nginx/modules
        lua=/usr/share/lua/5.1
    fi
    export TEST_NGINX_BINARY=$1 TEST_NGINX_LOAD_MODULES=$2
    export TEST_NGINX_LUA_MODULES='' TEST_NGINX_LUA_PATH=''
    if [[ $(product "$1") == openresty/* ]]; then
        # Compiled in, and it knows where its libraries are.
        TEST_NGINX_LUA_MODULES='# Lua is compiled in'
        TEST_NGINX_LUA_PATH="$(dirname "$(readlink -f "$1")")/../../lualib/?.lua;;"
    elif [ -f "$modules/ngx_http_lua_module.so" ]; then
        TEST_NGINX_LUA_MODULES="load_module $modules/ndk_http_module.so; load_module $modules/ngx_http_lua_module.so;"
        TEST_NGINX_LUA_PATH="$lua/?.lua;;"
    fi
    export TEST_NGINX_STICKY_LUA="$top/lua/?.lua;$TEST_NGINX_LUA_PATH"
    export TEST_NGINX_MODSECURITY=$modules/ngx_http_modsecurity_module.so
    [ -f "$TEST_NGINX_MODSECURITY" ] || TEST_NGINX_MODSECURITY=
    export TEST_NGINX_HEADERS_MORE='' TEST_NGINX_JS=''
    if [ -f "$modules/ngx_http_headers_more_filter_module.so" ]; then
        TEST_NGINX_HEADERS_MORE="load_module $modules/ngx_http_headers_more_filter_module.so;"
    elif grep -q more_set_input_headers "$1"; then
        TEST_NGINX_HEADERS_MORE='# headers-more is compiled in'
    fi
    [ ! -f "$modules/ngx_http_js_module.so" ] || TEST_NGINX_JS="load_module $modules/ngx_http_js_module.so;"
}

# venv NAME REQUIREMENTS [FOLDER]: build/venv, or another folder there, a Python environment with what a file requires.
venv() {
    local folder=$build/${3:-venv}
    local mark=$folder/$1-requirements.txt
    ! cmp -s "$2" "$mark" || return 0
    python3 -c 'import venv, ensurepip' 2>/dev/null || need python3-venv
    [ -x "$folder/bin/python" ] || python3 -m venv "$folder" >&2
    say "installing ${2#"$top"/}"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$2" >&2
    cp "$2" "$mark"
}

# node_modules FOLDER [TO]: build/node, or another folder there, with the packages that a folder's package-lock.json names.
node_modules() {
    local lock=package-lock.json
    local folder=$build/${2:-node}
    local mark=$folder/installed-$lock
    ! cmp -s "$1/$lock" "$mark" || return 0
    { have node && have npm; } || need nodejs npm
    have npm || die "no npm in PATH; install Node.js 18 or newer"
    mkdir -p "$folder"
    cp "$1/package.json" "$1/$lock" "$folder"
    say "installing ${1#"$top"/}/$lock"
    (cd "$folder" && npm ci --omit=dev --no-audit --no-fund --silent) >&2
    cp "$1/$lock" "$mark"
}
