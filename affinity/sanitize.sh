#!/bin/sh
# Runs the crate's tests under a checker: sanitize.sh address|thread|loom|fuzz|miri
#
# address, thread: nightly's sanitizers (thread rebuilds the standard library with it: rust-src).
# loom: all interleavings of the core operations, with at most BOUND preemptions (default 3).
# fuzz [TARGET]: each target of fuzz/, or one, for MINUTES (default 1), by cargo-fuzz.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-../target}/sanitize

has() {
    rustup component list --toolchain nightly 2>/dev/null | grep -E "^$1(-$host)? \\(installed\\)" >/dev/null
}

case ${1-} in
address)
    CARGO_TARGET_DIR=$target-address RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
        cargo +nightly test -p affinity --target "$host" --release
    ;;
thread)
    # Without an instrumented standard library its locks are unknown, and each access is reported as a race.
    if ! has rust-src; then
        echo "sanitize.sh: no rust-src (rustup component add rust-src --toolchain nightly)" >&2
        exit 1
    fi
    # Not the test `processes`: forked children are no threads, and ptrace counts instructions.
    CARGO_TARGET_DIR=$target-thread RUSTFLAGS=-Zsanitizer=thread \
        cargo +nightly test -p affinity -Zbuild-std --target "$host" --lib --test table
    ;;
loom)
    CARGO_TARGET_DIR=$target-loom RUSTFLAGS='--cfg loom' cargo test -p affinity --lib --release loom
    ;;
fuzz)
    if ! cargo fuzz --version >/dev/null 2>&1; then
        echo "sanitize.sh: no cargo-fuzz here (cargo install cargo-fuzz)" >&2
        exit 1
    fi
    for fuzz_target in ${2:-$(cargo +nightly fuzz list)}; do
        # New inputs of a run go into the corpus; the seeds are only read.
        corpus=fuzz/corpus/$fuzz_target seeds=fuzz/seeds/$fuzz_target
        mkdir -p "$corpus"
        [ -d "$seeds" ] || seeds=
        cargo +nightly fuzz run "$fuzz_target" "$corpus" ${seeds:+"$seeds"} -- \
            -max_total_time="$((${MINUTES:-1} * 60))" -max_len=4096 -timeout=10
    done
    ;;
miri)
    if ! has miri; then
        echo "sanitize.sh: no Miri here (rustup component add miri --toolchain nightly); nothing was checked" >&2
        exit 1
    fi
    # Miri has neither mmap nor robust mutexes: the readers and writers of a bucket, without the lock.
    MIRIFLAGS=-Zmiri-many-seeds=0..16 CARGO_TARGET_DIR=$target-miri \
        cargo +nightly miri test -p affinity --lib a_bucket_is_read_whole
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
