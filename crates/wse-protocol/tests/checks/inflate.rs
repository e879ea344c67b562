//! What holds for any bytes that a client may send as compressed ones.

use wse_protocol::compress::{Deflater, Format, InflateLimits, Inflater};

const LIMITS: InflateLimits = InflateLimits { max_bytes: 4096, max_ratio: 50 };
const NONE: InflateLimits = InflateLimits { max_bytes: 0, max_ratio: 0 };
/// What stands in the output before.
const BEFORE: &[u8] = b"before";

/// The first byte says what stands around the stream, which is the rest.
///
/// Verifies that limits hold, that nothing is left behind of a message that is refused, neither in the output nor in
/// the inflater, and that what came out goes in again.
pub fn check(input: &[u8]) {
    let Some((&first, message)) = input.split_first() else { return };
    let format = match first % 3 {
        0 => Format::Zlib,
        1 => Format::RAW,
        _ => Format::Raw { window_bits: 15, keeps_window: true },
    };
    let mut inflater = Inflater::new(format);
    let mut out = BEFORE.to_vec();
    let end = inflater.inflate(message, &LIMITS, &mut out);
    let allowed = LIMITS.max_bytes.min(LIMITS.max_ratio * message.len());
    assert!(out.starts_with(BEFORE) && out.len() <= BEFORE.len() + allowed);
    assert!(out.capacity() <= 2 * (BEFORE.len() + allowed) + 64, "{} bytes of memory", out.capacity());
    if end.is_err() {
        assert_eq!(out, BEFORE);
    }
    if first % 3 < 2 {
        let mut again = BEFORE.to_vec();
        assert_eq!(inflater.inflate(message, &LIMITS, &mut again), end);
        assert_eq!(again, out);
    }
    if end.is_ok() {
        let mut compressed = Vec::new();
        Deflater::new(format, 6).deflate(&out, &mut compressed);
        let mut twice = Vec::new();
        assert_eq!(Inflater::new(format).inflate(&compressed, &NONE, &mut twice), Ok(()));
        assert_eq!(twice, out);
    }
}
