//! A queue group that ends while something is published to it.

use crate::{model, settings, share, start};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_engine::ConnectionKey;
use wse_engine::config::OutboundLimits;
use wse_engine::frame::Frame;
use wse_engine::groups::Placed;
use wse_protocol::frame::OpCode;

#[test]
fn what_waits_for_a_group_that_ends_is_counted_once() {
    model(|| {
        let (shared, _) = share(settings());
        let member = shared.topics.want_in_group("jobs", "workers");
        let group = member.group().expect("it stands for one");
        group.join(ConnectionKey::new(0, 1, 1));
        let (publisher, of_member) = (Arc::clone(&shared), Arc::clone(&member));
        let leaver = start(move || publisher.leave(&of_member, 0, 1));
        let placed = group.place(Frame::new(OpCode::Text, b"1", None), &OutboundLimits::default());
        leaver.join().expect("it leaves");
        let lost = shared.metrics.groups_dropped_total.load(Relaxed);
        assert_eq!(lost, u64::from(matches!(placed, Placed::Waits(0))), "{placed:?}");
        assert!(shared.topics.is_empty());
    });
}
