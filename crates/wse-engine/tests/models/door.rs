//! Newcomers who are let in on several shards at once.

use crate::{NOW, model, start};
use std::sync::Arc;
use wse_engine::door::Door;
use wse_engine::rate_limit::Rate;

#[test]
fn no_more_come_in_at_once_than_the_bucket_holds_and_no_place_is_lost() {
    for burst in [1, 2] {
        model(move || {
            let door = Arc::new(Door::new(Rate { per_second: 1, burst }));
            let (stranger, guest) = (Arc::clone(&door), Arc::clone(&door));
            let stranger = start(move || {
                // As one that has no login.
                if door_is_open(&stranger) {
                    stranger.give_back();
                }
            });
            let guest = start(move || door_is_open(&guest));
            let own = door_is_open(&door);
            stranger.join().expect("it leaves");
            let stay = u32::from(own) + u32::from(guest.join().expect("it knocks"));
            let later = (0..3).filter(|_| door_is_open(&door)).count() as u32;
            assert_eq!(stay + later, burst);
        });
    }
}

fn door_is_open(door: &Door) -> bool {
    door.admit(NOW.unix_ms).is_ok()
}
