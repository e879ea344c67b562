//! Echo mode: what conformance tools talk to (PROTOCOL §17).
//!
//! Sends each message back as it came. The application hears of nothing, and no message is ever dropped: who does
//! not take what comes back is not read until it has.

use crate::config::Mode;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::delivery::Publication;
use crate::frame::{FRAME_WEIGHT, Frame};
use crate::log::{Event, Overload};
use crate::metrics::count;
use wse_protocol::codes::close;
use wse_protocol::frame::OpCode;

impl Core {
    /// Whether messages are echoed instead of handed to the application.
    pub(crate) fn is_echo(&self) -> bool {
        self.shared.config.mode == Mode::Echo
    }

    /// Whether the connection has to take what comes back before more of it is read.
    pub(crate) fn owes_echo<S>(&self, conn: &Connection<S>) -> bool {
        self.is_echo() && conn.is_open() && conn.backlog.is_some()
    }

    /// Sends a message back. Over the memory budget the connection is closed: an echo with a hole is none.
    pub(crate) fn echo<S: Socket>(&mut self, conn: &mut Connection<S>, opcode: OpCode, payload: &[u8]) {
        match self.shared.budget.charge(payload.len() + FRAME_WEIGHT) {
            Some(charge) => {
                let frame = Frame::new(opcode, payload, Some(charge));
                self.publish(conn, &mut Publication::new(frame, None));
            }
            None => {
                count(&self.shared.metrics.budget_refused_total, 1);
                self.note(conn, Event::Overload(Overload::Memory));
                self.close(conn, close::OVERLOAD, "over the memory budget");
                self.stop_listening(conn, false);
            }
        }
    }
}
