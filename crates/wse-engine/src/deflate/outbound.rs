//! What permessage-deflate adds to sending: a message is compressed once for all who have agreed on the same window.

use super::{is_worth, place};
use crate::core::Core;
use crate::frame::{FRAME_WEIGHT, Frame, Payload, ROOM};
use wse_protocol::compress::Format;
use wse_protocol::frame;

impl Core {
    /// The message compressed, by whichever shard came first, or as it is where that is better.
    pub(crate) fn deflated(&mut self, frame: &Frame, format: Format) -> Frame {
        let compressed = frame.deflated(place(format), || self.deflate(frame, format));
        compressed.unwrap_or(frame).clone()
    }

    /// Compresses a message. `None`: it is not worth it, or the memory budget has no room for both forms.
    fn deflate(&mut self, frame: &Frame, format: Format) -> Option<Frame> {
        let compression = self.shared.config.deflate.as_ref()?.compression;
        let (opcode, payload, _) = frame::split(frame.bytes())?;
        if !is_worth(opcode, payload, compression) {
            return None;
        }
        let mut bytes = Payload::room(0);
        self.deflate.deflate(format, compression.level, payload, &mut bytes);
        if bytes.len() - ROOM >= payload.len() && compression.threshold_bytes != 0 {
            return None;
        }
        bytes.shrink_to_fit();
        let charge = self.shared.budget.charge(bytes.len() + FRAME_WEIGHT)?;
        Some(Frame::compressed(opcode, bytes, frame.standing(), Some(charge)))
    }
}
