//! Child processes, and the ids, servers and times of the tests.

use super::*;

pub fn key(table: &Table, id: u64) -> Key {
    table.key(Kind::Session, &id.to_le_bytes(), b"")
}

pub fn address(number: u64) -> Vec<u8> {
    // Some take one cell of the server list, some two.
    let mut text = format!("server-{number}.example:8000");
    if number % 3 == 0 {
        text.push_str("/with-a-rather-long-tail-behind-it");
    }
    text.into_bytes()
}

pub fn now() -> Tick {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    // A tick is a millisecond here: a test has little time.
    Tick((time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000) as u32)
}

/// Forks a child that does `work` and exits.
pub fn spawn(work: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork"),
        0 => {
            // A child of a test that has failed does not go on.
            // SAFETY: no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => child,
    }
}

pub fn end(child: i32) {
    // SAFETY: a child of this process that has not been waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait(child);
}

/// The exit status of a child; None if it was killed.
pub fn wait(child: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a child of this process that has not been waited for.
    unsafe { libc::waitpid(child, &mut status, 0) };
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

pub fn sleep_micros(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}
