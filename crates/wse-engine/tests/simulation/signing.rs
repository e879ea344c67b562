//! Verifies that what is to be signed leaves signed, in every form and for those who speak v2 alone; that a client's
//! message with a signature is believed once and in its time; and that tokens grant what they say, to whom they were
//! given.

use crate::client::{BINARY, Client, HEAD, TEXT, frame};
use crate::listener::{Carrier, Listener};
use crate::world::{PEER, World, settings, value};
use serde_json::{Value, json};
use std::cell::Cell;
use wse_engine::Config;
use wse_engine::Reply;
use wse_engine::auth::Decision;
use wse_engine::content::Content;
use wse_engine::inbound::Kind;
use wse_engine::signing::{Requirement, Signing};
use wse_protocol::envelope::Timestamp;
use wse_protocol::msgpack;
use wse_protocol::sign::{self, Nonces, SigningKey};
use wse_protocol::ticket::{Kind as TicketKind, Ticket};

/// The clock of a world when it begins.
const BEGINNING: u64 = 1_700_000_000_000;

fn key(kid: &str) -> SigningKey {
    SigningKey::new(kid, kid.repeat(32).as_bytes()).expect("a key")
}

/// Settings under which types that begin with `order_` are signed.
fn signed_orders(required: Requirement) -> Config {
    let signing = Signing::new(vec![key("new"), key("old")], vec!["order_*".into()], required);
    Config { signing: Some(signing), ..settings() }
}

/// An open connection with this query.
fn connect(world: &mut World, query: &str) -> Client {
    Listener::knock(world, query).client
}

/// Whether the envelope is signed with the key that signs, at the moment `at`.
fn is_signed(envelope: &Value, at: u64) -> bool {
    sign::verify(&[key("new")], &envelope.to_string(), Timestamp(at), &mut Nonces::new(1)).is_ok()
}

/// The envelopes of one type.
fn received(client: &Client, kind: &str) -> Vec<Value> {
    client.envelopes().into_iter().filter(|envelope| envelope["t"] == kind).collect()
}

#[test]
fn a_publication_is_signed_in_every_form_of_v2_and_in_none_of_v1() {
    let forms = ["", "compression=true", "compression=payload", "format=msgpack", "encryption=true"];
    let mut world = World::new(signed_orders(Requirement::V2));
    let mut native = forms.map(|query| Listener::connect(&mut world, query));
    let mut old = forms.map(|query| Listener::connect(&mut world, &format!("protocol_version=1&{query}")));
    let text = json!({"t": "order_new", "p": {"lines": vec![1.5; 500], "name": "ä"}}).to_string();
    assert!(world.publish_all(&text) && world.publish_all(r#"{"t":"chat","p":{}}"#));
    world.settle();
    let carriers = [Carrier::Text, Carrier::Zlib, Carrier::Payload, Carrier::Msgpack, Carrier::Sealed];
    let mut nonces = Vec::new();
    for (listener, carrier) in native.iter_mut().zip(carriers) {
        let told = listener.told();
        let (order, chat) = (told[0].json(), told[1].json());
        assert!(told[0].carrier == carrier && is_signed(&order, BEGINNING), "{carrier:?} {order:?}");
        assert_eq!((told.len(), &chat["sig"]), (2, &Value::Null));
        nonces.push(order["sig"]["nonce"].clone());
    }
    assert!(nonces.iter().all(|nonce| *nonce == nonces[0]), "one signature for all");
    for listener in &mut old {
        let order = listener.told()[0].json();
        assert_eq!(
            (&order["sig"], &order["c"], &order["p"]["name"]),
            (&Value::Null, &json!("U"), &json!("ä"))
        );
    }
}

#[test]
fn a_unicast_is_signed_with_its_number_and_what_its_publisher_signed_is_left_alone() {
    let mut world = World::new(signed_orders(Requirement::V2));
    let client = world.connect();
    for text in [r#"{"t":"order_new","p":{}}"#, r#"{"t":"order_new","p":{},"sig":"of its publisher"}"#] {
        world.send(client.key(), text).expect("there is room");
    }
    world.settle();
    let orders = received(&client, "order_new");
    assert!(orders[0]["seq"] == 1 && is_signed(&orders[0], BEGINNING));
    assert_eq!((&orders[1]["seq"], &orders[1]["sig"]), (&json!(2), &json!("of its publisher")));
}

#[test]
fn a_message_that_cannot_be_signed_reaches_v1_alone_and_everyone_is_told() {
    let mut world = World::new(signed_orders(Requirement::V2));
    let (native, old) = (world.connect(), connect(&mut world, "protocol_version=1"));
    for _ in 0..2 {
        assert!(world.publish_all(r#"{"t":"order_new","p":{"n":9007199254740993}}"#));
    }
    assert!(world.publish_all(r#"{"t":"order_new","p":{"n":1}}"#));
    world.settle();
    assert_eq!(received(&native, "order_new").len(), 1);
    let gaps = native.told("gap");
    assert_eq!((gaps.len(), &gaps[1]), (2, &json!({"topic": null, "count": 1, "reason": "unsigned"})));
    assert_eq!(value(&world.shared.metrics.budget_refused_total), 0);
    assert_eq!(received(&old, "order_new").len(), 3);
    assert_eq!(value(&world.shared.metrics.unsigned_total), 2);
    assert!(matches!(world.replies()[..], [Reply::Unsigned(_)]), "told once");
    assert_eq!(world.replies(), []);
}

#[test]
fn a_signature_that_has_no_room_in_the_memory_budget_is_missed_and_the_room_comes_back() {
    let mut world = World::new(Config { memory_budget_bytes: 6_000, ..signed_orders(Requirement::V2) });
    let reader = world.connect();
    let text = json!({"t": "order_new", "p": {"x": "x".repeat(3_000)}}).to_string();
    assert!(world.publish_all(&text));
    world.settle();
    assert_eq!(received(&reader, "order_new").len(), 0);
    assert_eq!((reader.told("gap").len(), world.shared.budget.used()), (1, 0));
    assert!(world.publish_all(r#"{"t":"order_new","p":{}}"#));
    world.settle();
    assert_eq!(received(&reader, "order_new").len(), 1);
}

#[test]
fn the_size_of_a_message_is_measured_with_its_signature() {
    let limit = 4_096;
    let mut config = signed_orders(Requirement::V2);
    config.frame.max_message_bytes = limit;
    let fits = |kind: &str, length: usize| {
        let text = json!({"t": kind, "p": {"x": "x".repeat(length)}}).to_string();
        Content::Text(&text).payload(&config, Timestamp(1), uuid::Uuid::nil).is_ok()
    };
    let most = |kind: &str| (limit - 1_000..limit).rfind(|length| fits(kind, *length)).expect("some length");
    let (plain, signed) = (most("other_new"), most("order_new"));
    assert!((100..200).contains(&(plain - signed)), "{plain} {signed}");
    let mut world = World::new(config);
    let client = world.connect();
    assert!(world.publish_all(&json!({"t": "order_new", "p": {"x": "x".repeat(signed)}}).to_string()));
    world.settle();
    let frames = client.payloads(TEXT);
    assert!(frames.last().is_some_and(|frame| frame.len() > limit - 100 && frame.len() <= limit));
}

/// Makes signed messages of a client, each with a nonce of its own.
#[derive(Default)]
struct Author(Cell<u128>);

impl Author {
    fn order(&self, kid: &str, at: u64) -> String {
        self.0.set(self.0.get() + 1);
        let envelope = json!({"t": "order_new", "p": {"n": self.0.get() as u64}, "v": 2}).to_string();
        key(kid).sign(&envelope, Timestamp(at), &self.0.get().to_be_bytes()).expect("a signature")
    }
}

/// How many messages the application has been given since it was last asked.
fn given(world: &World) -> usize {
    world.take_events().iter().filter(|event| matches!(event.kind, Kind::Message | Kind::Request)).count()
}

fn last_error(client: &Client) -> String {
    let error = client.told("error").pop().expect("an error");
    format!("{}: {}", error["code"].as_str().expect("a code"), error["message"].as_str().expect("text"))
}

#[test]
fn a_signed_message_of_a_client_is_believed_once_whoever_repeats_it() {
    let mut world = World::new(signed_orders(Requirement::V2));
    world.set_consumer(true);
    let (first, second) = (world.connect(), world.connect());
    let author = Author::default();
    let order = author.order("old", BEGINNING);
    first.text(&order);
    world.settle();
    assert_eq!((given(&world), first.errors().len()), (1, 0));
    for client in [&first, &second] {
        client.text(&order);
        world.settle();
        assert_eq!(last_error(client), "INVALID_MESSAGE: the signature was seen before");
    }
    second.text(&author.order("new", BEGINNING));
    world.settle();
    assert_eq!(given(&world), 1);
    assert_eq!(value(&world.shared.metrics.signatures_refused_total), 2);
}

#[test]
fn a_message_whose_signature_does_not_hold_is_dropped_and_the_client_told_why() {
    let mut world = World::new(signed_orders(Requirement::V2));
    world.set_consumer(true);
    world.shared.handled.set("order_taken", true);
    let client = world.connect();
    given(&world);
    let author = Author::default();
    let good = author.order("new", BEGINNING);
    for (text, reason) in [
        (r#"{"t":"order_new"}"#.to_owned(), "the envelope has no signature of this kind"),
        (r#"{"t":"order_taken"}"#.to_owned(), "the envelope has no signature of this kind"),
        (r#"{"t":"order_new","sig":"mine"}"#.to_owned(), "the envelope has no signature of this kind"),
        (r#"{"type":"order_new","sig":{}}"#.to_owned(), "the signature is malformed"),
        (good.replace(r#""n":1"#, r#""n":2"#), "the signature does not belong to the envelope"),
        (good.replace(r#""kid":"new""#, r#""kid":"old""#), "the signature does not belong to the envelope"),
        (good.replace(r#""kid":"new""#, r#""kid":"who""#), "the signature's key is unknown"),
        (author.order("new", BEGINNING - 60_001), "the signature's time is 60001 ms off"),
        (author.order("new", BEGINNING + 60_001), "the signature's time is 60001 ms off"),
    ] {
        client.text(&text);
        world.settle();
        assert_eq!(last_error(&client), format!("INVALID_MESSAGE: {reason}"), "{text}");
    }
    assert_eq!(given(&world), 0);
    // What was refused has used nothing up, and the connection goes on.
    client.text(&good);
    client.text(r#"{"t":"chat"}"#);
    client.text(r#"{"t":"ping","p":{}}"#);
    world.settle();
    assert_eq!((given(&world), client.told("PONG").len(), client.close_code()), (2, 1, None));
    assert_eq!(value(&world.shared.metrics.signatures_refused_total), 9);
}

#[test]
fn a_minute_off_is_believed_and_no_repetition_for_as_long_as_its_time_is() {
    let mut world = World::new(signed_orders(Requirement::V2));
    world.set_consumer(true);
    let client = world.connect();
    given(&world);
    let author = Author::default();
    let early = author.order("new", BEGINNING + 60_000);
    client.text(&early);
    world.settle();
    assert_eq!(given(&world), 1);
    world.pass(20_000);
    client.text(r#"{"t":"ping"}"#);
    for _ in 0..4 {
        world.pass(25_000);
        client.text(&early);
        world.settle();
        assert_eq!(last_error(&client), "INVALID_MESSAGE: the signature was seen before");
    }
    world.pass(1);
    client.text(&early);
    world.settle();
    assert_eq!(last_error(&client), "INVALID_MESSAGE: the signature's time is 60001 ms off");
    assert_eq!(given(&world), 0);
}

#[test]
fn what_stands_in_a_batch_or_in_another_form_needs_its_signature_too() {
    let mut world = World::new(signed_orders(Requirement::V2));
    world.set_consumer(true);
    let client = connect(&mut world, "format=msgpack");
    given(&world);
    let author = Author::default();
    let message = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
    let good = message(author.order("new", BEGINNING));
    let bad = json!({"t": "order_new", "id": "b"});
    client.text(&json!({"t": "batch", "p": {"messages": [good, bad, {"t": "chat"}]}}).to_string());
    let mut packed = b"M:".to_vec();
    msgpack::encode(&author.order("new", BEGINNING), &mut packed).expect("MessagePack");
    client.write(&frame(BINARY, &packed, true));
    client.write(&frame(BINARY, &packed, true));
    world.settle();
    let result = &client.told("batch_message_result")[0];
    assert_eq!((&result["successful"], &result["failed"]), (&json!(2), &json!(1)));
    assert_eq!(result["results"][1], json!({"success": false, "id": "b", "code": "INVALID_MESSAGE"}));
    assert_eq!(given(&world), 3);
    assert_eq!(last_error(&client), "INVALID_MESSAGE: the signature was seen before");
}

#[test]
fn who_must_sign_is_an_option() {
    let bare = r#"{"t":"order_new","sig":"of v1"}"#;
    for (required, version, is_taken) in [
        (Requirement::V2, 1, true),
        (Requirement::Nobody, 2, true),
        (Requirement::Everyone, 1, false),
        (Requirement::Everyone, 2, false),
    ] {
        let mut world = World::new(signed_orders(required));
        world.set_consumer(true);
        let client = connect(&mut world, &format!("protocol_version={version}"));
        given(&world);
        client.text(bare);
        world.settle();
        assert_eq!(given(&world) == 1, is_taken, "{required:?} {version}");
        client.text(&Author::default().order("new", BEGINNING));
        world.settle();
        assert_eq!(given(&world), 1, "{required:?} {version}");
    }
}

/// A token for a connection.
fn token(world: &World, client: &Client, kind: TicketKind, user: Option<&str>, topics: &[&str]) -> String {
    let id = world.shared.ids.id(world.shared.desks[0].seats.high(client.key()).expect("open"), client.key());
    let mut ticket = Ticket::new(kind, user.map(str::to_owned), id.0, Timestamp(BEGINNING), None);
    ticket.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    world.shared.config.tickets.issue(ticket, None).expect("a token")
}

/// Asks for topics with tokens; those that it got.
fn ask(world: &mut World, client: &Client, topics: &[&str], tokens: &Value) -> Value {
    let request = json!({"action": "subscribe", "topics": topics, "tokens": tokens});
    client.text(&json!({"t": "subscription_update", "p": request}).to_string());
    world.settle();
    client.told("subscription_update").pop().map_or(Value::Null, |mut reply| reply["success_topics"].take())
}

fn guarded() -> Config {
    let mut config = settings();
    config.topics.allow.clear();
    config.topics.deny.push("secret:*".into());
    config
}

#[test]
fn a_topic_token_grants_its_topics_to_its_user_and_nothing_that_is_denied() {
    let mut world = World::new(guarded());
    let (ann, again, bob) = (world.connect_as("ann"), world.connect_as("ann"), world.connect_as("bob"));
    let room = token(&world, &ann, TicketKind::Topic, Some("ann"), &["room:1", "room:*", "secret:1"]);
    assert_eq!(ask(&mut world, &ann, &["room:1"], &Value::Null), json!([]));
    let wanted = ["room:1", "room:2", "room:*", "secret:1"];
    assert_eq!(ask(&mut world, &ann, &wanted, &json!([room])), json!(["room:1"]));
    assert_eq!(
        ann.told("error").pop().expect("an error")["details"]["topics"],
        json!(["room:2", "room:*", "secret:1"])
    );
    assert_eq!(ask(&mut world, &again, &["room:1"], &json!(["junk", room])), json!(["room:1"]));
    assert_eq!(ask(&mut world, &bob, &["room:1"], &json!([room])), json!([]));
    let session = token(&world, &ann, TicketKind::Session, Some("ann"), &["room:2"]);
    assert_eq!(ask(&mut world, &ann, &["room:2"], &json!([session])), json!([]));
}

#[test]
fn a_topic_token_of_nobody_is_good_on_its_own_connection_alone() {
    let mut world = World::new(guarded());
    let (own, other) = (world.connect(), world.connect());
    let room = json!([token(&world, &own, TicketKind::Topic, None, &["room:1"])]);
    assert_eq!(ask(&mut world, &other, &["room:1"], &room), json!([]));
    assert_eq!(ask(&mut world, &own, &["room:1"], &room), json!(["room:1"]));
}

#[test]
fn a_topic_token_ends_after_an_hour_or_with_a_revocation() {
    let mut world = World::new(guarded());
    let ann = world.connect_as("ann");
    let room = json!([token(&world, &ann, TicketKind::Topic, Some("ann"), &["room:1", "room:2"])]);
    assert_eq!(ask(&mut world, &ann, &["room:1"], &room), json!(["room:1"]));
    world.shared.config.tickets.revoke("ann", Timestamp(BEGINNING));
    assert_eq!(ask(&mut world, &ann, &["room:2"], &room), json!([]));

    let mut world = World::new(Config {
        heartbeat: wse_engine::heartbeat::Heartbeat { interval_ms: 0, idle_timeout_ms: 0 },
        ..guarded()
    });
    let ann = world.connect_as("ann");
    let room = json!([token(&world, &ann, TicketKind::Topic, Some("ann"), &["room:1", "room:2"])]);
    world.pass(3_599_999);
    assert_eq!(ask(&mut world, &ann, &["room:1"], &room), json!(["room:1"]));
    world.pass(1);
    assert_eq!(ask(&mut world, &ann, &["room:2"], &room), json!([]));
    // What is held stays held.
    assert!(world.has_topic("room:1"));
}

#[test]
fn tokens_are_a_short_list_of_texts_and_mean_nothing_in_v1() {
    let mut world = World::new(guarded());
    let ann = world.connect_as("ann");
    let room = token(&world, &ann, TicketKind::Topic, Some("ann"), &["room:1"]);
    for tokens in [json!(room), json!([1]), json!({}), json!(vec!["x"; 65])] {
        ask(&mut world, &ann, &["room:1"], &tokens);
        assert_eq!(ann.errors().pop().as_deref(), Some("INVALID_SUBSCRIPTION"), "{tokens}");
    }
    assert!(!world.has_topic("room:1"));
    let head = HEAD.replace("/wse ", "/wse?protocol_version=1 ");
    let old = world.take_in(PEER, &head, Decision::Granted(crate::world::identity("ann")));
    world.settle();
    assert_eq!(ask(&mut world, &old, &["room:1"], &json!([room])), json!([]));
}
