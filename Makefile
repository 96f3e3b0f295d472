# The front door. What each target does stands in tools/.

NGINX ?=
NGINX_BUILD_DIR ?=
NGINX_SOURCE_DIR ?=
# The folder of an OpenResty instead of NGINX: make test OPENRESTY=/usr/local/openresty NGINX_SOURCE_DIR=...
OPENRESTY ?=
# A branch from the matrix instead of NGINX: make test-t V=1.26
V ?=
# Some of the tests: make test-t T=t/03-learn.t, make test-process T=tests/sessions/test_timeout.py
T ?=
ARGS ?=
# A release of Debian: make deb SUITE=trixie
SUITE ?=

export NGINX_BUILD_DIR NGINX_SOURCE_DIR
# nginx reads a variable of this name as its list of inherited sockets.
unexport NGINX

nginx = $(if $(V),$(CURDIR)/build/nginx/$(V)/nginx,$(if $(OPENRESTY),$(OPENRESTY)/nginx/sbin/nginx,$(NGINX)))
of_branch = $(if $(V),nginx-$(V))
branches = 1.22 1.26 1.28 1.30
all_tests = test-unit,test-t,test-process
so = ngx_http_sticky_learn_module.so

$(if $(filter-out $(branches),$(V)),$(error no branch $(V), there are $(branches)))

.PHONY: help module demo test test-unit test-musl test-arm64 test-t test-process least dist deb test-deb test-install test-image test-configure lint audit msrv nightly matrix valgrind sanitize fuzz bench bench-table clean
.PHONY: $(addprefix nginx-,$(branches))

help: ## this list
	@sed -n 's/^\([a-z][^:]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

module: $(of_branch) ## build/ngx_http_sticky_learn_module.so for the installed nginx, or NGINX=/path/to/nginx
	@so=$$(tools/module "$(nginx)") && cp "$$so" build/$(so).new && mv -f build/$(so).new build/$(so) \
		&& echo "load_module $(CURDIR)/build/$(so);"

demo: ## real MCP clients through round robin and through sticky_learn; ARGS=--once ends by itself
	@NGINX="$(nginx)" demo/run $(ARGS)

test: ## everything below, with the installed nginx; T=t/FILE.t or T=tests/FOLDER/FILE.py for one
	@NGINX="$(nginx)" tools/parts $(if $(T),$(if $(filter t/%,$(T)),test-t,test-process),$(all_tests))

test-unit: ## unit and property tests of the pure crate and the load generator
	@tools/test-unit

test-musl: ## tests of the pure crate, compiled for musl (Alpine)
	@tools/test-target musl

test-arm64: ## tests of the pure crate, compiled for arm64 and run under qemu
	@tools/test-target arm64

test-t: $(of_branch) ## Test::Nginx suites in t/; V=1.26 for another nginx, T=t/FILE.t for one
	@tools/test-t "$(nginx)" $(T)

test-process: $(of_branch) ## process-level tests in tests/; V, T as above
	@tools/test-process "$(nginx)" $(or $(T),tests) $(ARGS)

least: $(of_branch) ## compiles for an nginx without SSL, --with-compat, cache and zones; V as above
	@tools/least "$(nginx)"

dist: ## archives of a release in build/dist: sources, crates, checksums
	@tools/dist

deb: ## the Debian package for this machine's nginx, in build/deb; SUITE=trixie for another release, in a chroot
	@tools/deb $(SUITE)

test-deb: ## installs, uses and removes the package in a fresh chroot of SUITE=bookworm, trixie or forky
	@tools/test-deb $(or $(SUITE),bookworm)

test-install: ## builds and installs the module as README says, in a bare chroot of SUITE=bookworm, trixie or forky
	@tools/test-install $(or $(SUITE),bookworm)

test-image: ## carries out contrib/docker/Dockerfile in a chroot, and uses the image
	@tools/test-image

test-configure: ## compiles the module in nginx's tree, dynamic and linked, and uses both; NGINX_SOURCE_DIR or nginx 1.28
	@tools/test-configure

matrix: ## module and suites for every branch of nginx: 1.22 1.26 1.28 1.30, or V=1.26
	@tools/matrix $(V)

$(addprefix nginx-,$(branches)): nginx-%:
	@tools/nginx $*

lint: ## rustfmt, clippy, cargo-deny, floors of the rooms, shellcheck, workflow files
	@tools/lint "$(nginx)"

audit: ## known vulnerabilities of the dependencies (needs the network)
	@tools/audit

msrv: $(of_branch) ## builds with the oldest Rust that Cargo.toml promises; V as above
	@tools/msrv "$(nginx)"

nightly: ## installs what sanitize and fuzz need: nightly Rust, cargo-fuzz
	@tools/nightly

valgrind: $(of_branch) ## t/ under memcheck
	@MODES=valgrind tools/test-t "$(nginx)" $(T)

sanitize: ## the pure crate under AddressSanitizer, ThreadSanitizer and loom; ARGS=fuzz, ARGS=miri
	@set -e; for check in $(or $(ARGS),address thread loom); do affinity/sanitize.sh $$check; done

fuzz: ## fuzz targets of the pure crate, a minute each; MINUTES=20, T=mcp_json for one
	@affinity/sanitize.sh fuzz $(T)

bench: ## load comparisons, over half an hour; ARGS=--quick five minutes, ARGS=--help the rest
	@NGINX="$(nginx)" bench/run $(ARGS)

bench-table: ## the session table beside others; ARGS="--bench latency" one of latency, processes, table
	cargo bench --package affinity $(ARGS)

clean: ## remove what was built
	rm -rf --one-file-system build target
