//! The clocks that a zone's times belong to.

use std::fs;

use affinity::file::Clock;

use crate::nginx;

/// Both clocks of nginx.
pub fn clock() -> Clock {
    Clock { monotonic: nginx::millis(), wall: nginx::wall_clock_millis() }
}

/// The kernel's id of its boot; zeros where it has none. Then times of an earlier boot pass for times of
/// this one.
pub fn boot() -> [u8; 16] {
    let text = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut id = [0; 16];
    let mut digits = text.iter().filter_map(|&byte| char::from(byte).to_digit(16));
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else { break };
        *byte = (high << 4 | low) as u8;
    }
    id
}
