//! What the open connections do beside receiving.

use crate::frame::{TEXT, masked};
use std::rc::Rc;

/// Bytes of a batch: as much as one write(2) should carry.
const BATCH_BYTES: usize = 64 * 1024;

/// The present order for all connections.
#[derive(Clone, Default)]
pub enum Work {
    /// Only receive.
    #[default]
    Listen,
    /// Send as fast as the server reads: the same batch of frames over and over.
    Flood(Batch),
    /// Send one message, and the next when an answer came.
    Echo(Rc<[u8]>),
    /// Open, close and open again.
    Churn,
}

/// Whole frames, masked one by one, to be written in one go.
#[derive(Clone)]
pub struct Batch {
    /// The frames.
    pub bytes: Rc<[u8]>,
    /// How many there are.
    pub frames: u64,
}

impl Batch {
    /// As many frames of `text` as fit, each with a mask of its own.
    pub fn of(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(BATCH_BYTES);
        let mut frames = 0;
        loop {
            let frame = masked(TEXT, text.as_bytes(), mask(frames as u32));
            if frames > 0 && bytes.len() + frame.len() > BATCH_BYTES {
                return Self { bytes: bytes.into(), frames };
            }
            bytes.extend_from_slice(&frame);
            frames += 1;
        }
    }
}

/// A mask that differs from frame to frame, and from run to run does not: chance has no place here.
fn mask(number: u32) -> [u8; 4] {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9).to_be_bytes()
}

/// One text frame.
pub fn single(text: &str) -> Rc<[u8]> {
    masked(TEXT, text.as_bytes(), mask(0)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_whole_frames() {
        let batch = Batch::of(&"x".repeat(128));
        assert_eq!(batch.bytes.len() as u64, batch.frames * 136);
        assert!(batch.bytes.len() <= BATCH_BYTES);
    }
}
