//! Verifies that an unfinished handshake holds nobody up: it is timed, counted, and the oldest gives way.

use crate::client::{HEAD, PING, PONG, close};
use crate::world::{World, identity, settings, value};
use std::net::IpAddr;
use wse_engine::auth::{Auth, Decision};
use wse_engine::{Config, Reply};

#[test]
fn over_the_cap_the_oldest_unfinished_one_gives_way() {
    let mut world = World::new(Config { max_handshakes: 3, ..settings() });
    let open = world.connect();
    let stuck = (0..3)
        .map(|_| {
            let client = world.accept();
            client.write(&HEAD.as_bytes()[..20]);
            world.settle();
            client
        })
        .collect::<Vec<_>>();
    let good = world.connect();
    assert!(stuck[0].is_gone());
    assert!(!stuck[1].is_gone() && !stuck[2].is_gone() && !good.is_gone() && !open.is_gone());
    assert_eq!(value(&world.shared.metrics.handshakes_dropped_total), 1);
    stuck[1].write(&HEAD.as_bytes()[20..]);
    world.settle();
    assert_eq!(stuck[1].status(), 101, "the others go on");
}

#[test]
fn a_crowd_that_knocks_in_one_turn_keeps_to_the_cap() {
    let mut world = World::new(Config { max_handshakes: 5, ..settings() });
    let crowd = (0..40).map(|_| world.accept()).collect::<Vec<_>>();
    world.settle();
    assert_eq!(world.len(), 5);
    assert!(crowd[..35].iter().all(|client| client.is_gone()));
    assert!(crowd[35..].iter().all(|client| !client.is_gone()));
}

#[test]
fn an_address_has_a_cap_of_its_own() {
    let mut world = World::new(Config { max_handshakes_per_address: 2, ..settings() });
    let [crowded, quiet] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
    let mut knock = |peer| {
        let client = world.take_in(peer, "", Decision::Open);
        world.settle();
        client
    };
    let first = knock(crowded);
    let other = knock(quiet);
    let rest = [knock(crowded), knock(crowded)];
    assert!(first.is_gone());
    assert!(!other.is_gone() && rest.iter().all(|client| !client.is_gone()));
}

#[test]
fn one_that_was_reset_does_not_count() {
    let mut world = World::new(Config { max_handshakes: 2, ..settings() });
    let (first, second) = (world.accept(), world.accept());
    world.settle();
    first.kernel().reset();
    world.settle();
    let third = world.accept();
    world.settle();
    assert!(!second.is_gone() && !third.is_gone());
}

#[test]
fn a_dripped_head_is_answered_when_its_time_is_up() {
    let mut world = World::new(settings());
    let client = world.accept();
    for byte in HEAD.as_bytes().chunks(1).take(99) {
        client.write(byte);
        world.pass(100);
    }
    assert!(!client.is_gone());
    world.pass(200);
    assert_eq!(client.status(), 408);
    world.pass(2_100);
    assert!(client.is_gone());
    world.assert_nothing_is_left(&[]);
}

#[test]
fn an_answer_waits_for_the_peer_to_read_it() {
    let mut world = World::new(settings());
    let client = world.accept();
    client.stop_reading(10);
    client.write(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n");
    world.settle();
    assert!(!client.kernel().is_shut());
    client.resume();
    world.settle();
    assert_eq!(client.status(), 404);
    assert!(client.kernel().is_shut());
    client.kernel().end();
    world.settle();
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_request_that_ends_with_its_last_byte_is_answered() {
    let mut world = World::new(settings());
    let client = world.accept();
    client.write(b"GET /wse/health HTTP/1.1\r\nHost: a\r\n\r\n");
    client.kernel().end();
    world.settle();
    assert_eq!(client.status(), 200);
    world.assert_nothing_is_left(&[]);
}

#[test]
fn the_application_decides_and_early_frames_wait_for_it() {
    let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
    let client = world.accept();
    client.write(HEAD.as_bytes());
    client.ping(b"early");
    world.settle();
    client.ping(b"later");
    world.settle();
    assert!(client.bytes().is_empty(), "nothing is said before the decision");
    let [Reply::Authenticate { key, request }] = &world.replies()[..] else { panic!("one question") };
    assert_eq!(*key, client.key());
    assert!(request.contains("/wse"));
    world.decide(*key, Some("ann"));
    world.settle();
    assert_eq!(client.status(), 101);
    assert_eq!(client.envelopes()[0]["p"]["details"]["user_id"], "ann");
    assert_eq!(client.payloads(crate::client::PONG), [&b"early"[..], b"later"]);
    assert!(client.payloads(PING).is_empty());
}

#[test]
fn a_decision_that_never_comes_refuses() {
    let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
    let client = world.accept();
    client.write(HEAD.as_bytes());
    world.pass(10_100);
    assert_eq!((client.status(), client.close_code()), (101, Some(4401)));
    assert_eq!(client.errors(), ["AUTH_FAILED"]);
    world.decide(client.key(), Some("ann"));
    client.write(&close(4401));
    world.settle();
    assert_eq!(world.open(), 0);
    assert!(world.take_events().is_empty(), "the application never hears of it");
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn what_the_host_decided_holds() {
    let mut world = World::new(settings());
    let known = world.connect_as("ann");
    let stranger = world.take_in(crate::world::PEER, HEAD, Decision::Refused);
    let late = world.take_in(crate::world::PEER, &HEAD[..30], Decision::Granted(identity("bob")));
    late.write(&HEAD.as_bytes()[30..]);
    world.settle();
    assert_eq!(known.envelopes()[0]["p"]["details"]["user_id"], "ann");
    assert_eq!(late.envelopes()[0]["p"]["details"]["user_id"], "bob");
    assert_eq!(stranger.close_code(), Some(4401));
}

#[test]
fn a_full_server_says_so_and_has_room_again() {
    let mut world = World::new(Config { max_connections: 2, ..settings() });
    let (first, _second) = (world.connect(), world.connect());
    let refused = world.accept();
    refused.write(HEAD.as_bytes());
    world.settle();
    assert_eq!(refused.status(), 503);
    first.kernel().reset();
    world.settle();
    assert_eq!(world.connect().status(), 101);
}

#[test]
fn a_peer_that_gave_up_while_it_was_decided_about_is_let_go_with_its_answer() {
    let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
    let client = world.accept();
    client.write(HEAD.as_bytes());
    client.kernel().end();
    world.pass(10_100);
    assert_eq!(client.close_code(), Some(4401));
    assert!(client.is_gone());
}

#[test]
fn a_socket_without_a_place_is_let_go() {
    let mut world = World::new(settings());
    let most = world.shared.desks[0].seats.capacity();
    let crowd = (0..most + 5).map(|_| world.accept()).collect::<Vec<_>>();
    assert!(crowd[most..].iter().all(|client| client.key.is_none() && client.is_gone()));
    world.settle();
    assert_eq!(world.connect().status(), 101, "the oldest have given way");
}

#[test]
fn one_that_was_refused_does_not_count() {
    let mut world = World::new(Config { max_handshakes: 2, ..settings() });
    for _ in 0..10 {
        let refused = world.accept();
        refused.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        refused.kernel().end();
        world.settle();
        assert_eq!(refused.status(), 404);
    }
    let stuck = [world.accept(), world.accept()];
    world.settle();
    assert!(stuck.iter().all(|client| !client.is_gone()));
}

#[test]
fn a_crowd_of_costly_ones_leaves_a_turn_to_who_is_open() {
    let mut world = World::new(settings());
    let open = world.connect();
    let crowd = (0..40).map(|_| world.accept()).collect::<Vec<_>>();
    world.settle();
    for client in &crowd {
        client.kernel().is_costly = true;
        client.write(&HEAD.as_bytes()[..20]);
    }
    open.ping(b"still there?");
    world.turn();
    world.let_clients_read();
    assert_eq!(open.payloads(PONG), [b"still there?"], "it is served in the same turn");
    let waiting = crowd.iter().filter(|client| client.kernel().waiting() > 0).count();
    assert!((1..40).contains(&waiting), "{waiting} are put off");
    for client in &crowd {
        client.write(&HEAD.as_bytes()[20..]);
    }
    world.settle();
    assert!(crowd.iter().all(|client| client.status() == 101), "all have their turn");
}
