//! Verifies that a connection leaves nothing behind, whatever it was doing when it ended and however it ended.

use crate::client::{Client, HEAD, TEXT, close, frame};
use crate::world::{World, settings, value};
use wse_engine::auth::Auth;
use wse_engine::inbound::Kind;
use wse_engine::{Config, Reply};

const USER: &str = "ann";

/// A way to bring a connection into some state.
type State = (&'static str, fn(&mut World) -> Client);

fn deciding(world: &mut World) -> Client {
    let client = world.accept();
    client.write(HEAD.as_bytes());
    client.text("early");
    world.settle();
    client
}

fn subscribed(world: &mut World) -> Client {
    let client = world.connect_as(USER);
    client.subscribe(&["news", "more"]);
    world.settle();
    client
}

fn with_backlog(world: &mut World) -> Client {
    let client = subscribed(world);
    client.stop_reading(30);
    (0..1_500).for_each(|n| assert!(world.publish_number("news", n, 0)));
    client.ping(b"waits");
    world.settle();
    client
}

const STATES: [State; 13] = [
    ("silent", |world| world.accept()),
    ("in the head", |world| {
        let client = world.accept();
        client.write(&HEAD.as_bytes()[..50]);
        world.settle();
        client
    }),
    ("deciding", deciding),
    ("decided in the same turn", |world| {
        let client = deciding(world);
        world.decide(client.key(), Some(USER));
        client
    }),
    ("refused", |world| {
        let client = world.accept();
        client.stop_reading(5);
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        world.settle();
        client
    }),
    ("open", |world| world.connect_as(USER)),
    ("subscribed", subscribed),
    ("in a frame", |world| {
        let client = subscribed(world);
        client.write(&frame(TEXT, b"fragment", false));
        client.write(&frame(TEXT, b"not whole", true)[..7]);
        world.settle();
        client
    }),
    ("with a backlog", with_backlog),
    ("published to in the same turn", |world| {
        let client = subscribed(world);
        (0..10).for_each(|n| assert!(world.publish_number("news", n, 0)));
        world.subscribe(client.key(), "late");
        world.send(client.key(), r#"{"t":"one","p":{}}"#);
        client
    }),
    ("disconnected", |world| {
        let client = subscribed(world);
        world.disconnect(client.key(), 4403);
        world.settle();
        client
    }),
    ("disconnected with a backlog", |world| {
        let client = with_backlog(world);
        world.disconnect(client.key(), 4403);
        world.settle();
        client
    }),
    ("closing by its own wish, with a backlog", |world| {
        let client = with_backlog(world);
        client.close(1000);
        world.settle();
        client
    }),
];

/// A way to end a connection from outside.
type Ending = (&'static str, fn(&World, &Client));

const ENDINGS: [Ending; 7] = [
    ("a reset", |_, client| client.kernel().reset()),
    ("an end", |_, client| client.kernel().end()),
    ("a Close", |_, client| client.close(1000)),
    ("a Close and an end", |_, client| {
        client.close(1000);
        client.kernel().end();
    }),
    ("a fault", |_, client| client.write(&[0xff; 20])),
    ("the application", |world, client| world.disconnect(client.key(), 1000)),
    ("silence", |_, _| {}),
];

#[test]
fn nothing_is_left_of_any_state_after_any_ending() {
    for (state, begin) in STATES {
        for (ending, end) in ENDINGS {
            let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
            let bystander = world.connect_as("bob");
            let client = begin(&mut world);
            end(&world, &client);
            world.settle();
            world.pass(30_000);
            bystander.text("alive");
            world.pass(45_000);
            let what = format!("{state}, ended by {ending}");
            assert!(client.is_gone(), "{what}");
            assert_eq!(world.open(), 1, "{what}");
            bystander.kernel().reset();
            world.pass(70_000);
            world.assert_nothing_is_left(&[USER, "bob"]);
            assert_eq!(world.next_due(), None, "{what}");
            let events = world.take_events();
            let of = |wanted: &[Kind]| {
                let own = events.iter().filter(|event| event.key == client.key());
                own.filter(|event| wanted.contains(&event.kind)).count()
            };
            let (begun, ended) = (of(&[Kind::Connect, Kind::AuthConnect]), of(&[Kind::Disconnect]));
            assert!(begun <= 1 && begun == ended, "{what}: {begun} beginnings and {ended} ends");
        }
    }
}

#[test]
fn nothing_is_left_when_the_engine_closes_in_any_state() {
    for (state, begin) in STATES {
        let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
        let bystander = world.connect_as("bob");
        let client = begin(&mut world);
        world.close();
        world.settle();
        assert_eq!(bystander.close_code(), Some(1012), "{state}");
        bystander.close(1012);
        world.pass(2_100);
        assert!(world.is_done() && client.is_gone(), "{state}");
        world.assert_nothing_is_left(&[USER, "bob"]);
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_the_socket_ends() {
    let mut world = World::new(settings());
    for (sent, answered) in
        [(close(1000), 1000), (close(4321), 4321), (frame(crate::client::CLOSE, b"", true), 1000)]
    {
        let client = world.connect();
        client.write(&sent);
        client.text("behind the end");
        world.settle();
        assert_eq!(client.close_code(), Some(answered));
        assert!(client.is_gone());
        let kinds = world.take_events().into_iter().map(|event| event.kind).collect::<Vec<_>>();
        assert_eq!(kinds, [Kind::Connect, Kind::Disconnect], "nothing is read behind a Close");
    }
}

#[test]
fn our_close_waits_for_its_answer_and_hears_nothing_else() {
    let mut world = World::new(settings());
    let client = world.connect_to("news");
    world.disconnect(client.key(), 4403);
    world.publish_number("news", 1, 0);
    client.text("crossing");
    world.settle();
    assert_eq!(client.close_code(), Some(4403));
    assert!(!client.is_gone());
    client.ping(b"still there?");
    client.close(4403);
    world.settle();
    assert!(client.is_gone());
    let events = world.take_events();
    assert_eq!(events.iter().filter(|event| event.kind == Kind::Disconnect).count(), 1);
    assert_eq!(events.last().map(|event| &event.payload[..]), Some(&b"4403 because"[..]));
}

#[test]
fn a_subscription_that_comes_too_late_leaves_no_topic() {
    let mut world = World::new(settings());
    let client = world.connect();
    client.kernel().reset();
    let request = world.subscribe(client.key(), "news");
    world.settle();
    let late = world.subscribe(client.key(), "news");
    world.settle();
    let refused = |request| Reply::Subscribed { request, refused: vec!["news".into()], stands: Vec::new() };
    assert_eq!(world.replies().last(), Some(&refused(late)));
    assert!(request < late && !world.has_topic("news"));
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_stale_key_never_reaches_the_next_occupant() {
    let mut world = World::new(settings());
    let gone = world.connect();
    gone.kernel().reset();
    world.settle();
    let next = world.connect();
    assert_eq!(gone.key().slot(), next.key().slot());
    world.disconnect(gone.key(), 1000);
    world.subscribe(gone.key(), "news");
    world.unsubscribe(gone.key(), None);
    world.decide(gone.key(), Some(USER));
    assert_eq!(world.send(gone.key(), "{}"), None);
    world.settle();
    world.publish_all(r#"{"t":"all","p":{}}"#);
    world.settle();
    assert_eq!(next.told("all").len(), 1);
    assert_eq!(next.close_code(), None);
    assert!(!world.has_topic("news"));
}

#[test]
fn subscriptions_end_one_by_one_or_together() {
    let mut world = World::new(settings());
    let client = world.connect();
    client.subscribe(&["a", "b", "c", "a"]);
    world.settle();
    assert_eq!(world.shared.topics.subscribers("a"), 1, "held once, however often it was asked for");
    world.unsubscribe(client.key(), Some(vec!["a".into(), "never held".into()]));
    world.settle();
    assert!(!world.has_topic("a") && world.has_topic("b"));
    client.text(r#"{"t":"subscription_update","p":{"action":"unsubscribe","topics":["b"]}}"#);
    world.unsubscribe(client.key(), None);
    world.settle();
    assert!(world.shared.topics.is_empty());
    assert_eq!(value(&world.shared.metrics.panics_total), 0);
}

#[test]
fn a_panic_ends_its_connection_alone() {
    let mut world = World::new(settings());
    let (faulty, healthy) = (world.connect_to("news"), world.connect_to("news"));
    faulty.kernel().is_faulty = true;
    faulty.text("x");
    healthy.ping(b"alive");
    world.settle();
    assert_eq!(faulty.close_code(), Some(1011));
    assert_eq!(healthy.payloads(crate::client::PONG), [b"alive"]);
    world.publish_number("news", 1, 0);
    world.pass(2_100);
    assert!(faulty.is_gone());
    assert_eq!(healthy.numbers("news"), [1]);
    assert_eq!(value(&world.shared.metrics.panics_total), 1);
}
