//! Verifies that a connection ends with its token, that another token of the same user prolongs it, and that a token
//! of an unknown key waits for the look that it caused.

use crate::client::{Client, HEAD};
use crate::world::{World, settings, value};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wse_engine::auth::{Auth, Decision, Identity, Tokens};
use wse_engine::expiry::TokenExpiry;
use wse_engine::heartbeat::Heartbeat;
use wse_engine::inbound::Kind;
use wse_engine::jwt::{JwtConfig, Verifier, encode_jwt};
use wse_engine::keys::{Algorithm, Keys};
use wse_engine::{Config, Reply};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The moment at which a world begins, in seconds.
const NOW: u64 = 1_700_000_000;

fn token_of(user: &str, exp: u64) -> String {
    let claims = json!({ "sub": user, "iat": 1, "exp": exp });
    encode_jwt(&claims.to_string(), SECRET, Algorithm::Hs256, None).expect("it signs")
}

/// Settings with tokens. Nobody has to answer a heartbeat, so that only the token ends a connection.
fn with_tokens(verifier: Verifier) -> Config {
    let tokens = Tokens { cookie_name: "access_token".into(), is_in_query: false, verifier };
    let heartbeat = Heartbeat { interval_ms: 0, idle_timeout_ms: 0 };
    Config { auth: Auth::Jwt(Box::new(tokens)), heartbeat, ..settings() }
}

fn verifier(algorithm: Algorithm, keys: Keys, may_renew: bool) -> Verifier {
    Verifier::new(JwtConfig {
        algorithm,
        keys: Some(keys),
        may_renew,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    })
}

fn secrets() -> Config {
    let keys = Keys::of_secret(SECRET, None, None).expect("32 bytes");
    with_tokens(verifier(Algorithm::Hs256, keys, false))
}

fn knock_with(world: &mut World, token: &str) -> Client {
    knock_at(world, "/wse", token)
}

fn knock_at(world: &mut World, url: &str, token: &str) -> Client {
    let client = world.accept();
    let header = format!("Host: a\r\nAuthorization: Bearer {token}\r\n");
    client.write(HEAD.replace("Host: a\r\n", &header).replace("/wse", url).as_bytes());
    world.settle();
    client
}

fn refresh(world: &mut World, client: &Client, token: &str) {
    client.text(&json!({ "t": "auth_refresh", "p": { "token": token } }).to_string());
    world.settle();
}

fn codes(client: &Client) -> Vec<Value> {
    client.told("error").iter().map(|error| error["code"].clone()).collect()
}

#[test]
fn a_connection_is_warned_a_minute_before_its_token_ends_and_ends_with_it() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 600));
    world.pass(539_000);
    assert!(client.told("auth_expiring").is_empty());
    world.pass(1_100);
    assert_eq!(client.told("auth_expiring"), [json!({ "expires_at": "2023-11-14T22:23:20.000Z" })]);
    world.pass(59_800);
    assert_eq!((world.open(), client.close_code()), (1, None));
    world.pass(200);
    assert_eq!(client.told("auth_expiring").len(), 1, "it is told once");
    let error = &client.told("error")[0];
    assert_eq!((&error["code"], &error["recoverable"]), (&json!("AUTH_EXPIRED"), &json!(true)));
    assert_eq!(client.close_code(), Some(4401));
    let last = world.take_events().pop().expect("an event");
    assert_eq!((last.kind, last.payload.as_slice()), (Kind::Disconnect, &b"4401 AUTH_EXPIRED"[..]));
    assert_eq!(value(&world.shared.metrics.expired_closed_total), 1);
    world.pass(2_100);
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn a_token_with_less_than_a_minute_is_warned_of_at_once() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 20));
    world.pass(10);
    let types = client.envelopes().iter().map(|message| message["t"].clone()).collect::<Vec<_>>();
    assert_eq!(types, ["server_ready", "auth_expiring"]);
    world.pass(20_000);
    assert_eq!(client.close_code(), Some(4401));
}

#[test]
fn a_token_that_was_forgiven_lasts_as_long_as_that() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW - 10));
    world.pass(10);
    assert_eq!(client.told("auth_expiring"), [json!({ "expires_at": "2023-11-14T22:13:40.000Z" })]);
    world.pass(19_900);
    assert_eq!(client.close_code(), None);
    world.pass(100);
    assert_eq!(client.close_code(), Some(4401));
}

#[test]
fn a_token_without_a_near_end_asks_for_nothing_but_a_look_at_the_clock() {
    for exp in ["253402300800", "1e18", "18446744073709551615"] {
        let mut world = World::new(secrets());
        let claims = format!(r#"{{"sub":"ann","iat":1,"exp":{exp}}}"#);
        let token = encode_jwt(&claims, SECRET, Algorithm::Hs256, None).expect("it signs");
        let client = knock_with(&mut world, &token);
        let key = client.key();
        assert_eq!(world.shared.desks[0].seats.expires(key), Some(253_402_300_799_999), "{exp}");
        world.pass(50_000_000);
        assert_eq!((world.open(), client.close_code()), (1, None), "{exp}");
        refresh(&mut world, &client, &token);
        let answer = json!({ "expires_at": "9999-12-31T23:59:59.999Z" });
        assert_eq!(client.told("auth_refreshed"), [answer], "{exp}");
    }
}

#[test]
fn with_the_option_off_no_connection_ends_with_its_token() {
    let mut world = World::new(Config { token_expiry: TokenExpiry::Off, ..secrets() });
    let client = knock_with(&mut world, &token_of("ann", NOW + 20));
    world.pass(100_000);
    assert_eq!((world.open(), client.close_code()), (1, None));
    assert!(client.told("auth_expiring").is_empty());
    assert_eq!(world.next_due(), None);
}

#[test]
fn a_client_of_v1_stays_unless_the_option_says_all_and_has_no_messages_of_v2() {
    for (token_expiry, is_ended) in [(TokenExpiry::Native, false), (TokenExpiry::All, true)] {
        let mut world = World::new(Config { token_expiry, ..secrets() });
        let token = token_of("ann", NOW + 20);
        let by_query = knock_at(&mut world, "/wse?protocol_version=1", &token);
        let by_hello = knock_with(&mut world, &token);
        by_hello.text(r#"{"t":"client_hello","p":{"protocol_version":1}}"#);
        for client in [&by_query, &by_hello] {
            refresh(&mut world, client, &token_of("ann", NOW + 600));
        }
        let messages = world.take_events().iter().filter(|event| event.kind == Kind::Message).count();
        assert_eq!(messages, 2, "to v1 it is a message like any other");
        world.pass(20_100);
        for client in [by_query, by_hello] {
            assert!(client.told("auth_expiring").is_empty() && client.told("auth_refreshed").is_empty());
            assert_eq!(client.close_code(), is_ended.then_some(4401));
            assert_eq!(codes(&client).len(), usize::from(is_ended));
        }
    }
}

#[test]
fn a_plain_connection_is_told_by_the_close_alone() {
    let mut world = World::new(Config { envelope: false, ..secrets() });
    let client = knock_with(&mut world, &token_of("ann", NOW + 20));
    client.text(&json!({ "t": "auth_refresh", "p": { "token": token_of("ann", NOW + 600) } }).to_string());
    world.settle();
    assert_eq!(world.take_events().last().map(|event| event.kind), Some(Kind::Message), "no message of ours");
    world.pass(20_100);
    assert_eq!(client.close_code(), Some(4401));
    assert!(client.envelopes().is_empty());
}

#[test]
fn the_claims_of_the_application_may_have_an_end_too() {
    let mut world = World::new(settings());
    for (claims, is_ended) in [
        (json!({ "exp": NOW + 20 }), true),
        (json!({ "exp": NOW - 10 }), true),
        (json!({ "exp": NOW - 1_000 }), true),
        (json!({}), false),
    ] {
        let identity = Identity::decided(Some("ann".into()), claims.to_string());
        let client = world.take_in(crate::world::PEER, HEAD, Decision::Granted(identity));
        world.pass(20_100);
        assert_eq!(client.close_code(), is_ended.then_some(4401), "{claims}");
    }
}

#[test]
fn a_connection_that_nobody_reads_ends_all_the_same() {
    let mut world = World::new(secrets());
    let paused = knock_with(&mut world, &token_of("ann", NOW + 600));
    paused.subscribe(&["news"]);
    world.settle();
    paused.stop_reading(10);
    (0..20).for_each(|n| assert!(world.publish_number("news", n, 0)));
    let stalled = knock_with(&mut world, &token_of("ben", NOW + 600));
    world.hold_back(stalled.key(), true);
    world.pass(600_100);
    assert_eq!(world.open(), 0);
    assert_eq!(stalled.close_code(), Some(4401));
    world.pass(2_100);
    world.assert_nothing_is_left(&["ann", "ben"]);
}

#[test]
fn another_token_of_the_same_user_takes_the_place_of_the_first() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 70));
    world.pass(20_000);
    assert_eq!(client.told("auth_expiring").len(), 1);
    refresh(&mut world, &client, &token_of("ann", NOW + 200));
    assert_eq!(client.told("auth_refreshed"), [json!({ "expires_at": "2023-11-14T22:16:40.000Z" })]);
    assert_eq!(world.shared.desks[0].seats.expires(client.key()), Some((NOW + 200) * 1_000));
    world.pass(100_000);
    assert_eq!((client.told("auth_expiring").len(), client.close_code()), (1, None));
    world.pass(30_000);
    assert_eq!(client.told("auth_expiring").len(), 2, "it is told of each end");
    refresh(&mut world, &client, &token_of("ann", NOW + 170));
    assert_eq!(client.told("auth_refreshed").len(), 2, "an earlier end counts too");
    world.pass(20_100);
    assert_eq!(client.close_code(), Some(4401));
    assert!(world.take_events().iter().all(|event| event.kind != Kind::Message), "no event");
}

#[test]
fn what_the_claims_allow_follows_the_last_token() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 600));
    let ask = |world: &mut World| {
        client.text(r#"{"t":"debug_request"}"#);
        world.settle();
        client.told("debug_response").len()
    };
    assert_eq!(ask(&mut world), 0);
    let claims = json!({ "sub": "ann", "iat": 1, "exp": NOW + 600, "wse_debug": true }).to_string();
    let token = encode_jwt(&claims, SECRET, Algorithm::Hs256, None).expect("it signs");
    refresh(&mut world, &client, &token);
    assert_eq!(ask(&mut world), 1);
    refresh(&mut world, &client, &token_of("ann", NOW + 600));
    assert_eq!(ask(&mut world), 1);
}

#[test]
fn three_bad_tokens_in_a_row_end_the_connection() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 600));
    let bad = [token_of("ben", NOW + 600), token_of("ann", NOW - 100), "x".into()];
    for token in &bad[..2] {
        refresh(&mut world, &client, token);
    }
    let error = client.told("error").pop().expect("an error");
    assert_eq!((&error["code"], &error["recoverable"]), (&json!("AUTH_FAILED"), &json!(true)));
    refresh(&mut world, &client, &token_of("ann", NOW + 700));
    world.pass(1_000);
    for token in &bad {
        assert_eq!(client.close_code(), None);
        refresh(&mut world, &client, token);
    }
    assert_eq!(codes(&client), ["AUTH_FAILED"; 5]);
    let error = client.told("error").pop().expect("an error");
    assert_eq!((&error["recoverable"], &error["severity"]), (&json!(false), &json!("fatal")));
    assert_eq!(client.close_code(), Some(4401));
}

#[test]
fn no_more_than_a_few_tokens_a_second_are_looked_at() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 600));
    for _ in 0..10 {
        refresh(&mut world, &client, &token_of("ann", NOW + 600));
    }
    assert_eq!(client.told("auth_refreshed").len(), 4);
    assert_eq!(codes(&client), ["RATE_LIMITED"; 6]);
    world.pass(1_000);
    refresh(&mut world, &client, &token_of("ann", NOW + 600));
    assert_eq!((client.told("auth_refreshed").len(), client.close_code()), (5, None));
}

#[test]
fn a_refresh_without_a_token_is_a_mistake_and_without_tokens_too() {
    let mut world = World::new(secrets());
    let client = knock_with(&mut world, &token_of("ann", NOW + 600));
    for text in [
        r#"{"t":"auth_refresh"}"#,
        r#"{"t":"auth_refresh","p":{}}"#,
        r#"{"t":"auth_refresh","p":{"token":7}}"#,
        r#"{"t":"auth_refresh","p":"x"}"#,
    ] {
        client.text(text);
    }
    world.settle();
    assert_eq!((codes(&client), client.close_code()), (vec![json!("INVALID_MESSAGE"); 4], None));

    let mut world = World::new(settings());
    let client = world.connect();
    refresh(&mut world, &client, &token_of("ann", NOW + 600));
    assert_eq!((codes(&client), client.close_code()), (vec![json!("INVALID_MESSAGE")], None));
}

// ---- tokens of keys that are looked for ----

/// A world that does not know the key of a token, the token, and a set of keys with it.
fn renewable() -> (World, String, String) {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../../spec/vectors/token.json")).expect("vectors are JSON");
    let private = &vectors["private_keys"]["ES256"];
    let pkcs8 = STANDARD.decode(private["pkcs8"].as_str().expect("a text")).expect("base64");
    let kid = private["kid"].as_str().map(str::to_owned);
    let claims = json!({ "sub": "ann", "iat": 1, "exp": NOW + 600 }).to_string();
    let token = encode_jwt(&claims, &pkcs8, Algorithm::Es256, kid).expect("it signs");
    let set = &vectors["sets"]["set"];
    let own = set["keys"].as_array().expect("a list").iter().find(|key| key["kid"] == private["kid"]);
    let mut other = own.expect("its key").clone();
    other["kid"] = "another".into();
    let keys = Keys::of_set(&json!({ "keys": [other] }).to_string(), Algorithm::Es256).expect("a set");
    (World::new(with_tokens(verifier(Algorithm::Es256, keys, true))), token, set.to_string())
}

fn look_of(world: &World) -> u32 {
    match world.replies()[..] {
        [Reply::UnknownKey { look }] => look,
        ref other => panic!("one look was expected: {other:?}"),
    }
}

fn publish(world: &World, set: &str) {
    let Auth::Jwt(tokens) = &world.shared.config.auth else { panic!("there are tokens") };
    tokens.verifier.set_keys(set).expect("a set");
}

#[test]
fn a_token_of_an_unknown_key_waits_until_newer_keys_were_looked_for() {
    let (mut world, token, set) = renewable();
    let early = knock_with(&mut world, &token);
    early.text(r#"{"t":"ping","p":{"timestamp":1}}"#);
    world.settle();
    assert_eq!(early.status(), 0, "it is not decided");
    let look = look_of(&world);
    let late = knock_with(&mut world, &token);
    publish(&world, &set);
    world.looked(look, true);
    assert_eq!((early.status(), early.told("PONG").len()), (101, 1));
    assert_eq!(late.status(), 0, "it came when the look was under way, and waits for the next");
    let look = look_of(&world);
    world.looked(look, true);
    assert_eq!(late.told("server_ready").len(), 1);
    assert!(world.replies().is_empty());
}

#[test]
fn it_is_refused_for_good_only_when_the_look_did_not_find_its_key() {
    for (is_done, status, close) in [(true, 101, Some(4401)), (false, 503, None)] {
        let (mut world, token, _) = renewable();
        let client = knock_with(&mut world, &token);
        let look = look_of(&world);
        world.looked(look.wrapping_sub(1), true);
        assert_eq!(client.status(), 0, "another look");
        world.looked(look, is_done);
        assert_eq!((client.status(), client.close_code()), (status, close));
        world.pass(3_000);
        world.assert_nothing_is_left(&[]);
    }
}

#[test]
fn it_is_told_to_come_back_when_nobody_looks_in_time() {
    let (mut world, token, set) = renewable();
    let client = knock_with(&mut world, &token);
    let look = look_of(&world);
    world.pass(10_100);
    assert_eq!(client.status(), 503);
    publish(&world, &set);
    world.looked(look, true);
    world.pass(3_000);
    world.assert_nothing_is_left(&[]);
}

#[test]
fn a_refresh_with_a_token_of_an_unknown_key_is_no_failure() {
    let (mut world, token, set) = renewable();
    let client = knock_with(&mut world, &token);
    publish(&world, &set);
    let look = look_of(&world);
    world.looked(look, true);
    let stranger = token.replacen(
        token.split('.').next().expect("a header"),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"new"}"#),
        1,
    );
    for _ in 0..5 {
        refresh(&mut world, &client, &stranger);
        assert!(matches!(world.replies()[..], [Reply::UnknownKey { .. }]));
        world.pass(1_000);
    }
    let error = client.told("error").pop().expect("an error");
    assert_eq!((&error["recoverable"], &error["retry_after"]), (&json!(true), &json!(1.0)));
    assert_eq!((codes(&client), client.close_code()), (vec![json!("AUTH_FAILED"); 5], None));
}
