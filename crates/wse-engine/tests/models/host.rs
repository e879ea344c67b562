//! The host that sleeps, and the shards that have something for it.

use crate::{model, settings, share, start};
use std::sync::Arc;
use wse_engine::inbound::{Arrivals, Kind};
use wse_engine::{ConnectionKey, Reply};

#[test]
fn a_host_that_waits_for_events_is_woken_for_the_next_ones() {
    model(|| {
        let (shared, bell) = share(settings());
        for desk in 0..2 {
            let shared = Arc::clone(&shared);
            start(move || {
                let (mut arrivals, whose) = (Arrivals::default(), (ConnectionKey::new(desk, 0, 1), 0));
                arrivals.push(&shared.desks[desk].inbound, Kind::Raw, whose, b"x");
                assert!(arrivals.deliver(&shared.desks[desk].inbound));
                shared.wake_for_events();
            });
        }
        let mut taken = 0;
        while taken < 2 {
            let batch = shared.desks.iter().find_map(|desk| desk.inbound.take());
            match batch {
                Some((batch, _)) => taken += batch.entries.len(),
                None if shared.wait_for_events() => {}
                None => bell.wait(),
            }
        }
    });
}

#[test]
fn every_reply_is_taken_by_a_host_that_was_woken() {
    model(|| {
        let (shared, bell) = share(settings());
        for _ in 0..2 {
            let shared = Arc::clone(&shared);
            start(move || {
                shared.reply(Reply::Closed);
                shared.wake_for_replies();
            });
        }
        let mut taken = 0;
        while taken < 2 {
            bell.wait();
            taken += shared.take_replies().len();
        }
    });
}

#[test]
fn a_token_that_asks_for_a_key_waits_for_a_look_that_comes() {
    model(|| {
        let (shared, bell) = share(settings());
        let askers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            start(move || shared.want_key())
        });
        let look = || {
            bell.wait();
            let looks = shared.take_replies().into_iter().filter_map(|reply| match reply {
                Reply::UnknownKey { look } => Some(look),
                _ => None,
            });
            looks.max()
        };
        let mut looked = look();
        let awaited = askers.map(|asker| asker.join().expect("it asks")).into_iter().max();
        while looked < awaited {
            looked = looked.max(look());
        }
    });
}
