//! Verifies that everyone is sent away in waves and loses nothing by it, that a ticket brings them back without a
//! login, and that no more are let in at once than may be.

use crate::client::{Client, HEAD};
use crate::world::{World, identity, settings, value};
use serde_json::json;
use wse_engine::auth::{Auth, Decision, Identity, Tokens};
use wse_engine::config::{OutboundLimits, Recovery};
use wse_engine::jwt::{JwtConfig, Verifier, encode_jwt};
use wse_engine::keys::{Algorithm, Keys};
use wse_engine::rate_limit::Rate;
use wse_engine::tickets::Tickets;
use wse_engine::{Config, Reply};
use wse_protocol::rules::Rules;
use wse_protocol::ticket::TicketKey;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Settings with a secret that the instances share. Nothing is granted but by somebody's word.
fn shared() -> Config {
    let key = TicketKey::new(SECRET).expect("32 bytes");
    let topics = Rules { allow: vec!["free".into()], deny: vec!["*:secret".into()] };
    Config { auth: Auth::Hook, tickets: Tickets::new(Some(key)), topics, ..settings() }
}

fn reason(client: &Client) -> String {
    let close = client.payloads(crate::client::CLOSE);
    String::from_utf8(close[0][2..].to_vec()).expect("text")
}

fn drained(world: &World) -> usize {
    world.replies().iter().filter(|reply| **reply == Reply::Drained).count()
}

/// A request with this query and these header fields, that nobody has decided about.
fn knock(world: &mut World, query: &str, fields: &str) -> Client {
    let client = world.accept();
    let head = HEAD.replace("Host: a\r\n", &format!("Host: a\r\n{fields}"));
    client.write(head.replace("/wse", &format!("/wse?{query}")).as_bytes());
    world.settle();
    client
}

fn come_back(world: &mut World, ticket: &str) -> Client {
    knock(world, "", &format!("Sec-WebSocket-Protocol: wse.v2, wse.ticket.{ticket}\r\n"))
}

fn user_of(client: &Client) -> serde_json::Value {
    client.told("server_ready").first().map(|ready| ready["details"]["user_id"].clone()).unwrap_or_default()
}

fn asked(world: &World) -> usize {
    world.replies().iter().filter(|reply| matches!(reply, Reply::Authenticate { .. })).count()
}

fn ticket_of_hello(world: &mut World, client: &Client) -> Option<String> {
    client.text(r#"{"t":"client_hello"}"#);
    world.settle();
    client.told("server_hello").last()?["resume_ticket"].as_str().map(str::to_owned)
}

/// What a connection is given that is sent away.
fn ticket_of_drain(world: &mut World, client: &Client) -> Option<String> {
    world.drain(1, 1_000);
    world.settle();
    client.told("server_draining")[0]["ticket"].as_str().map(str::to_owned)
}

#[test]
fn everyone_is_told_in_equal_waves_and_comes_back_at_another_time() {
    let mut world = World::new(settings());
    let clients = (0..40).map(|_| world.connect()).collect::<Vec<_>>();
    world.drain(4, 4_000);
    for wave in 1..=4 {
        world.settle();
        assert_eq!(world.open(), 40 - 10 * wave);
        assert_eq!(drained(&world), usize::from(wave == 4));
        world.pass(999);
        assert_eq!(world.open(), 40 - 10 * wave);
        world.pass(1);
    }
    let mut delays = Vec::new();
    for client in &clients {
        let [told] = &client.told("server_draining")[..] else { panic!("each is told once") };
        assert_eq!(told.get("ticket"), None, "nobody is known, so there is nothing to remember");
        let delay = told["retry_after_ms"].as_u64().expect("a number");
        assert_eq!((client.close_code(), reason(client)), (Some(4300), format!("retry_after_ms={delay}")));
        delays.push(delay);
    }
    assert!(delays.iter().all(|delay| *delay < 1_000));
    for tenth in 0..10 {
        let within = delays.iter().filter(|delay| **delay / 100 == tenth).count();
        assert_eq!(within, 4, "come back in the tenth {tenth}");
    }
    assert_eq!(value(&world.shared.metrics.drained_total), 40);
    world.pass(2_100);
    world.assert_nothing_is_left(&[]);
}

#[test]
fn who_speaks_v1_or_no_protocol_is_told_by_the_close() {
    for (envelope, query) in [(true, "protocol_version=1"), (false, "")] {
        let mut world = World::new(Config { envelope, ..settings() });
        let client = knock(&mut world, query, "");
        world.drain(1, 1_000);
        world.settle();
        assert!(client.told("server_draining").is_empty());
        assert_eq!(client.close_code(), Some(4300));
        assert!(reason(&client).starts_with("retry_after_ms="));
    }
}

#[test]
fn nobody_is_let_in_while_everyone_is_sent_away_and_probes_hear_why() {
    let mut world = World::new(Config { auth: Auth::Hook, ..settings() });
    let open = world.connect_as("ann");
    let waiting = knock(&mut world, "", "");
    let half = world.accept();
    half.write(&HEAD.as_bytes()[..40]);
    world.settle();
    world.drain(2, 1_000);
    world.settle();
    assert_eq!(waiting.status(), 503, "who waits for the application is told at once");
    world.decide(waiting.key(), Some("bob"));
    half.write(&HEAD.as_bytes()[40..]);
    let late = knock(&mut world, "", "");
    let decided = world.take_in(crate::world::PEER, HEAD, Decision::Granted(identity("cy")));
    world.settle();
    for refused in [&half, &late, &decided] {
        assert_eq!(refused.status(), 503);
        assert!(refused.heard().head.contains("\r\nRetry-After: "));
    }
    for page in ["health", "ready"] {
        let probe = world.accept();
        probe.write(format!("GET /wse/{page} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        world.settle();
        assert_eq!(probe.status(), 503, "{page}");
    }
    world.pass(1_000);
    assert_eq!((open.close_code(), drained(&world)), (Some(4300), 1));
    let events = world.take_events();
    assert_eq!(events.iter().filter(|event| event.key == open.key()).count(), 2);
    assert_eq!(events.len(), 2, "nobody else was there");
}

#[test]
fn a_reader_gets_everything_that_waits_for_it_before_it_is_sent_away() {
    let mut world = World::new(settings());
    let slow = world.connect_to("news");
    world.pass(12_000);
    slow.stop_reading(100);
    for n in 0..500 {
        assert!(world.publish_number("news", n, 20));
    }
    world.settle();
    world.drain(1, 9_000);
    world.pass(5_000);
    assert_eq!((world.open(), drained(&world)), (1, 0), "it has not taken what it was told");
    world.publish_number("news", 500, 20);
    world.settle();
    while slow.unread() > 0 {
        slow.kernel().drain(50);
        world.settle();
    }
    assert_eq!(slow.numbers("news"), (0..=500).collect::<Vec<_>>());
    assert_eq!(slow.told("server_draining").len(), 1);
    assert_eq!((slow.close_code(), drained(&world)), (Some(4300), 1));
}

#[test]
fn a_reader_gets_what_its_cursor_has_still_to_read_before_it_is_sent_away() {
    let recovery = Some(Recovery { slots: 1_024, ..Recovery::default() });
    let outbound = OutboundLimits { max_messages: 8, max_bytes: 0, slow_timeout_ms: 0 };
    let mut world = World::new(Config { recovery, outbound, ..settings() });
    let slow = world.connect_to("news");
    world.pass(12_000);
    slow.stop_reading(100);
    for n in 0..200 {
        assert!(world.publish_number("news", n, 20));
        world.settle();
    }
    world.drain(1, 9_000);
    world.pass(1_000);
    assert_eq!(world.open(), 1);
    while slow.unread() > 0 {
        slow.kernel().drain(50);
        world.settle();
    }
    assert_eq!(slow.numbers("news"), (0..200).collect::<Vec<_>>());
    assert!(slow.told("gap").is_empty());
    assert_eq!((slow.close_code(), drained(&world)), (Some(4300), 1));
}

#[test]
fn who_never_reads_holds_nobody_up_beyond_the_deadline() {
    let mut world = World::new(settings());
    let (stalled, fine) = (world.connect_to("news"), world.connect_to("news"));
    world.pass(12_000);
    stalled.stop_reading(10);
    for n in 0..50 {
        world.publish_number("news", n, 0);
    }
    world.drain(3, 3_000);
    world.pass(2_999);
    assert_eq!((world.open(), fine.close_code()), (1, Some(4300)));
    world.pass(1);
    assert_eq!((world.open(), drained(&world)), (0, 1));
    stalled.resume();
    world.pass(2_100);
    assert_eq!(stalled.close_code(), Some(1012));
    world.assert_nothing_is_left(&[]);
}

#[test]
fn an_engine_that_is_closed_while_it_drains_ends() {
    let mut world = World::new(settings());
    let clients = (0..8).map(|_| world.connect()).collect::<Vec<_>>();
    world.drain(4, 60_000);
    world.settle();
    world.close();
    world.settle();
    let codes = clients.iter().map(|client| client.close_code()).collect::<Vec<_>>();
    assert_eq!(codes.iter().filter(|code| **code == Some(4300)).count(), 2);
    assert_eq!(codes.iter().filter(|code| **code == Some(1012)).count(), 6);
    world.pass(2_100);
    assert!(world.is_done());
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_ticket_brings_a_user_back_without_a_question_on_another_instance() {
    let mut world = World::new(shared());
    let claims = json!({ "name": "Ann", "role": "admin" }).to_string();
    let ann = Identity::decided(Some("ann".into()), claims.clone());
    let first = world.take_in(crate::world::PEER, HEAD, Decision::Granted(ann));
    world.settle();
    world.subscribe(first.key(), "room:1");
    world.subscribe(first.key(), "free");
    world.settle();
    let plain = ticket_of_hello(&mut world, &first).expect("a ticket");
    let with_topics = ticket_of_drain(&mut world, &first).expect("a ticket");

    let mut other = World::new(shared());
    let late = come_back(&mut other, &with_topics);
    let without = come_back(&mut other, &plain);
    assert_eq!(asked(&other), 0, "nobody was asked");
    assert!(!late.heard().head.contains(&with_topics) && late.heard().head.contains("wse.v2"));
    let events = other.take_events();
    assert_eq!(events.len(), 2);
    for event in events {
        let event = serde_json::from_slice::<serde_json::Value>(&event.payload).expect("JSON");
        assert_eq!((&event["userId"], event["claims"].to_string()), (&json!("ann"), claims.clone()));
    }
    late.subscribe(&["room:1", "room:2", "free"]);
    without.subscribe(&["room:1", "user:ann"]);
    other.settle();
    let told = |client: &Client| client.told("subscription_update")[0]["success_topics"].clone();
    assert_eq!(told(&late), json!(["room:1", "free"]));
    assert_eq!(told(&without), json!(["user:ann"]), "the ticket of a hello grants no topics");
    assert_eq!(value(&other.shared.metrics.resumed_total), 2);
}

#[test]
fn the_hook_is_not_asked_again_about_topics_of_a_ticket() {
    let with_hook = || Config { authorize: true, ..shared() };
    let mut world = World::new(with_hook());
    let first = world.connect_as("ann");
    world.subscribe(first.key(), "challenge:17");
    world.settle();
    let ticket = ticket_of_drain(&mut world, &first).expect("a ticket");
    let mut other = World::new(with_hook());
    let questions = |world: &World| {
        world.replies().iter().filter(|reply| matches!(reply, Reply::Authorize { .. })).count()
    };
    let back = come_back(&mut other, &ticket);
    back.subscribe(&["challenge:17"]);
    other.settle();
    assert_eq!(questions(&other), 0);
    assert_eq!(back.told("subscription_update")[0]["success_topics"], json!(["challenge:17"]));
    back.subscribe(&["challenge:17", "challenge:18"]);
    other.settle();
    assert_eq!(questions(&other), 1, "it is asked about the other one");
}

#[test]
fn what_is_denied_today_no_ticket_grants() {
    let mut world = World::new(shared());
    let first = world.connect_as("ann");
    world.subscribe(first.key(), "a:open");
    world.subscribe(first.key(), "b:open");
    world.settle();
    let ticket = ticket_of_drain(&mut world, &first).expect("a ticket");
    let denied = Rules { allow: Vec::new(), deny: vec!["b:*".into()] };
    let mut other = World::new(Config { topics: denied, ..shared() });
    let back = come_back(&mut other, &ticket);
    back.subscribe(&["a:open", "b:open"]);
    other.settle();
    assert_eq!(back.told("subscription_update")[0]["success_topics"], json!(["a:open"]));
}

#[test]
fn a_ticket_that_is_not_good_counts_for_nothing() {
    let mut world = World::new(shared());
    let ann = world.connect_as("ann");
    let good = ticket_of_hello(&mut world, &ann).expect("a ticket");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for (ticket, is_off) in [(forged.as_str(), false), ("nonsense", false), (good.as_str(), true)] {
        let mut other = World::new(Config { resume: !is_off, ..shared() });
        let client = come_back(&mut other, ticket);
        assert_eq!(asked(&other), 1, "the application is asked, as without one");
        other.decide(client.key(), Some("bob"));
        other.settle();
        assert_eq!(user_of(&client), "bob");
        if is_off {
            assert_eq!(ticket_of_hello(&mut other, &client), None);
        }
    }
    let moment = wse_protocol::envelope::Timestamp(1_700_000_000_500);
    world.shared.config.tickets.revoke("ann", moment);
    come_back(&mut world, &good);
    assert_eq!(asked(&world), 1, "it was revoked");
    assert_eq!(value(&world.shared.metrics.resume_refused_total), 1);
}

#[test]
fn who_was_put_out_gets_no_ticket_until_the_next_login() {
    let mut world = World::new(Config { auth: tokens(), ..shared() });
    let ann = knock_with(&mut world, &token_of("ann"), None);
    let first = ticket_of_hello(&mut world, &ann).expect("a ticket");
    let back = come_back(&mut world, &first);
    assert!(ticket_of_hello(&mut world, &back).is_some());
    let now = wse_protocol::envelope::Timestamp(1_700_000_000_000);
    world.shared.config.tickets.revoke("ann", now);
    for client in [&ann, &back] {
        assert_eq!(ticket_of_hello(&mut world, client), None, "by the same login");
    }
    world.pass(1);
    let refresh = json!({ "t": "auth_refresh", "p": { "token": token_of("ann") } });
    ann.text(&refresh.to_string());
    let ticket = ticket_of_hello(&mut world, &ann).expect("a ticket of the new login");
    assert_eq!(user_of(&come_back(&mut world, &ticket)), "ann");
    world.shared.config.tickets.revoke("ann", now);
    assert_eq!(ticket_of_drain(&mut world, &ann), None);
}

#[test]
fn a_hook_that_was_asked_before_a_revocation_brings_no_ticket() {
    let mut world = World::new(shared());
    let client = knock(&mut world, "", "");
    world.shared.config.tickets.revoke("ann", wse_protocol::envelope::Timestamp(1_700_000_000_000));
    world.pass(1_000);
    world.decide(client.key(), Some("ann"));
    world.settle();
    assert_eq!((user_of(&client), ticket_of_hello(&mut world, &client)), (json!("ann"), None));
}

#[test]
fn a_token_of_somebody_else_wins_over_a_ticket() {
    let with_tokens = || Config { auth: tokens(), ..shared() };
    let mut world = World::new(with_tokens());
    let ann = knock_with(&mut world, &token_of("ann"), None);
    let ticket = ticket_of_hello(&mut world, &ann).expect("a ticket");
    let unsigned = |user| format!("{}x", token_of(user));
    for (token, user) in [(token_of("ben"), json!("ben")), (unsigned("ann"), json!("ann"))] {
        let mut other = World::new(with_tokens());
        assert_eq!(user_of(&knock_with(&mut other, &token, Some(&ticket))), user);
    }
    for token in [unsigned("ben"), "no token".into()] {
        let mut other = World::new(with_tokens());
        let client = knock_with(&mut other, &token, Some(&ticket));
        assert_eq!(client.told("error")[0]["code"], "AUTH_FAILED");
        assert_eq!(value(&other.shared.metrics.resume_refused_total), 1);
    }
}

#[test]
fn what_the_application_takes_away_a_ticket_does_not_give_back() {
    let mut world = World::new(shared());
    let first = world.connect_as("ann");
    for topic in ["room:1", "room:2", "room:3"] {
        world.subscribe(first.key(), topic);
    }
    world.settle();
    let ticket = ticket_of_drain(&mut world, &first).expect("a ticket");
    for taken in [Some(vec!["room:1".into(), "room:2".into()]), None] {
        let mut other = World::new(shared());
        let back = come_back(&mut other, &ticket);
        back.subscribe(&["room:1"]);
        other.settle();
        let is_all = taken.is_none();
        other.unsubscribe(back.key(), taken);
        other.settle();
        back.subscribe(&["room:1", "room:2", "room:3"]);
        other.settle();
        let told = back.told("subscription_update");
        let granted = told.last().expect("an answer")["success_topics"].clone();
        assert_eq!(granted, if is_all { json!([]) } else { json!(["room:3"]) });
    }
}

#[test]
fn nobody_comes_back_as_nobody_where_users_are_known() {
    let open = || Config { auth: Auth::Anonymous, ..shared() };
    let mut world = World::new(open());
    let stranger = world.connect();
    world.subscribe(stranger.key(), "room:1");
    world.settle();
    assert_eq!(ticket_of_hello(&mut world, &stranger), None, "it would say nothing");
    let ticket = ticket_of_drain(&mut world, &stranger).expect("a ticket");
    let mut other = World::new(open());
    let back = come_back(&mut other, &ticket);
    back.subscribe(&["room:1"]);
    other.settle();
    assert_eq!(back.told("subscription_update")[0]["success_topics"], json!(["room:1"]));
    let mut strict = World::new(shared());
    come_back(&mut strict, &ticket);
    assert_eq!((asked(&strict), value(&strict.shared.metrics.resumed_total)), (1, 0));
}

#[test]
fn a_ticket_ends_after_an_hour_whoever_comes_back_with_it_in_between() {
    let mut world = World::new(Config { heartbeat: quiet(), ..shared() });
    let ann = world.connect_as("ann");
    let first = ticket_of_hello(&mut world, &ann).expect("a ticket");
    world.pass(3_000_000);
    let back = come_back(&mut world, &first);
    let second = ticket_of_hello(&mut world, &back).expect("a ticket");
    let fresh = ticket_of_hello(&mut world, &ann).expect("a ticket");
    world.pass(599_000);
    assert_eq!(user_of(&come_back(&mut world, &second)), "ann");
    world.pass(2_000);
    assert_eq!(asked(&world), 0);
    come_back(&mut world, &second);
    assert_eq!(asked(&world), 1, "the second ends with the first");
    assert_eq!(ticket_of_hello(&mut world, &back), None, "a login has to be checked first");
    assert_eq!(user_of(&come_back(&mut world, &fresh)), "ann");
}

#[test]
fn a_ticket_ends_with_the_claims_and_so_does_who_came_back_with_it() {
    let mut world = World::new(Config { heartbeat: quiet(), ..shared() });
    let claims = json!({ "exp": 1_700_000_100 }).to_string();
    let ann = Identity::decided(Some("ann".into()), claims);
    let first = world.take_in(crate::world::PEER, HEAD, Decision::Granted(ann));
    world.settle();
    let ticket = ticket_of_hello(&mut world, &first).expect("a ticket");
    let back = come_back(&mut world, &ticket);
    world.pass(99_000);
    assert_eq!((user_of(&back), back.close_code()), (json!("ann"), None));
    world.pass(1_100);
    assert_eq!(back.close_code(), Some(4401));
    come_back(&mut world, &ticket);
    assert_eq!(asked(&world), 1);
}

#[test]
fn a_ticket_names_as_many_topics_as_it_has_room_for_and_large_claims_get_none() {
    let mut world = World::new(shared());
    let many = world.connect_as("ann");
    for n in 0..1_000 {
        world.subscribe(many.key(), &format!("a:topic:with:a:name:{n}"));
    }
    let claims = json!({ "all": "x".repeat(8_000) }).to_string();
    let large = Identity::decided(Some("bob".into()), claims);
    let large = world.take_in(crate::world::PEER, HEAD, Decision::Granted(large));
    world.settle();
    assert_eq!(ticket_of_hello(&mut world, &large), None);
    let ticket = ticket_of_drain(&mut world, &many).expect("a ticket");
    assert!((4_000..=8_192).contains(&ticket.len()), "{} bytes", ticket.len());
    assert_eq!(large.told("server_draining")[0].get("ticket"), None);
}

#[test]
fn no_more_are_let_in_at_once_than_may_be_and_those_who_obey_come_in() {
    let admission = Some(Rate { per_second: 10, burst: 10 });
    let mut world = World::new(Config { admission, ..settings() });
    let early = (0..30).map(|_| knock(&mut world, "", "")).collect::<Vec<_>>();
    let is_in = |clients: &[Client]| clients.iter().filter(|client| client.status() == 101).count();
    assert_eq!(is_in(&early), 10);
    let mut again = [0, 0];
    for client in early.iter().filter(|client| client.status() == 503) {
        let head = client.heard().head;
        let after = head.lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a time");
        again[after.parse::<usize>().expect("seconds") - 1] += 1;
    }
    assert_eq!(again, [10, 10]);
    for crowd in again {
        world.pass(1_000);
        let late = (0..crowd).map(|_| knock(&mut world, "", "")).collect::<Vec<_>>();
        assert_eq!(is_in(&late), crowd);
    }
    assert_eq!((world.open(), value(&world.shared.metrics.admission_refused_total)), (30, 20));
    let decided = world.take_in(crate::world::PEER, HEAD, Decision::Granted(identity("ann")));
    world.settle();
    assert_eq!(decided.status(), 101, "whom the host has asked about it has let in before");
}

#[test]
fn who_has_no_login_takes_nobodys_place() {
    let admission = Some(Rate { per_second: 1, burst: 2 });
    let mut world = World::new(Config { auth: tokens(), admission, ..shared() });
    let forged = format!("{}x", token_of("ann"));
    for _ in 0..20 {
        let stranger = knock(&mut world, "", "");
        assert_eq!(stranger.told("error")[0]["code"], "AUTH_REQUIRED");
        let stranger = come_back(&mut world, "nonsense");
        assert_eq!(stranger.told("error")[0]["code"], "AUTH_REQUIRED");
        let stranger = knock_with(&mut world, &forged, None);
        assert_eq!(stranger.told("error")[0]["code"], "AUTH_FAILED");
    }
    for user in ["ann", "ben"] {
        assert_eq!(user_of(&knock_with(&mut world, &token_of(user), None)), user);
    }
    assert_eq!(knock_with(&mut world, &token_of("cy"), None).status(), 503);
    knock(&mut world, "", "");
    world.pass(1_000);
    assert_eq!(
        user_of(&knock_with(&mut world, &token_of("cy"), None)),
        "cy",
        "nothing was promised to strangers"
    );
}

#[test]
fn whom_the_hook_refuses_gives_the_place_back() {
    let admission = Some(Rate { per_second: 1, burst: 1 });
    let mut world = World::new(Config { admission, ..shared() });
    for user in [None, None, Some("ann")] {
        let client = knock(&mut world, "", "");
        world.decide(client.key(), user);
        world.settle();
        assert_eq!(client.status(), 101);
    }
    assert_eq!((world.open(), knock(&mut world, "", "").status()), (1, 503));
}

fn tokens() -> Auth {
    let keys = Some(Keys::of_secret(SECRET, None, None).expect("32 bytes"));
    let verifier = Verifier::new(JwtConfig {
        algorithm: Algorithm::Hs256,
        keys,
        may_renew: false,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    });
    Auth::Jwt(Box::new(Tokens { cookie_name: "access_token".into(), is_in_query: false, verifier }))
}

fn token_of(user: &str) -> String {
    let claims = json!({ "sub": user, "iat": 1, "exp": 1_700_003_600 });
    encode_jwt(&claims.to_string(), SECRET, Algorithm::Hs256, None).expect("it signs")
}

/// A request with a token, and with a ticket perhaps.
fn knock_with(world: &mut World, token: &str, ticket: Option<&str>) -> Client {
    let ticket = ticket.map(|ticket| format!("Sec-WebSocket-Protocol: wse.v2, wse.ticket.{ticket}\r\n"));
    let ticket = ticket.unwrap_or_default();
    knock(world, "", &format!("Authorization: Bearer {token}\r\n{ticket}"))
}

fn quiet() -> wse_engine::heartbeat::Heartbeat {
    wse_engine::heartbeat::Heartbeat { interval_ms: 0, idle_timeout_ms: 0 }
}
