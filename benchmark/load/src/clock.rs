//! The clock that both ends of a benchmark read.
//!
//! Node's `process.hrtime` and this function read the same monotonic clock of the kernel, so a time
//! that a server wrote into a payload can be subtracted here.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
