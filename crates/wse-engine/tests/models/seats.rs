//! A seat that changes hands, and those who ask about it.

use crate::{model, start};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use wse_engine::ConnectionKey;
use wse_engine::seats::{Caller, Seats};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn open(seats: &Seats, user: &str) -> ConnectionKey {
    let key = ConnectionKey::new(0, 0, seats.reserve(0));
    let caller = Caller { user: Some(user.into()), address: ADDRESS };
    seats.open(key, u64::from(key.generation), Arc::new(caller));
    key
}

#[test]
fn a_key_shows_its_own_occupant_or_none() {
    model(|| {
        let seats = Arc::new(Seats::new(1));
        let first = open(&seats, "1");
        let shard = Arc::clone(&seats);
        start(move || {
            shard.leave(first);
            open(&shard, "3");
        });
        if let Some(caller) = seats.caller(first) {
            assert_eq!(caller.user.as_deref(), Some("1"));
        }
        let next = seats.high(ConnectionKey::new(0, 0, first.generation + 2));
        assert!(next.is_none_or(|high| high == 3), "it is open before it is filled in");
        for (key, high) in seats.open_keys(0) {
            assert!(high >= u64::from(key.generation), "it is open before it is filled in");
        }
    });
}
