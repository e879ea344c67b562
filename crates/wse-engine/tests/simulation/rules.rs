//! Verifies who may hold which topic and glob, that globs bring each publication once, and that what is no longer
//! allowed ends in order with publications.

use crate::client::{Client, HEAD};
use crate::world::{PEER, World, identity, settings};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use wse_engine::auth::{Auth, Decision, Identity, Tokens};
use wse_engine::config::Recovery;
use wse_engine::jwt::{JwtConfig, Verifier, encode_jwt};
use wse_engine::keys::{Algorithm, Keys};
use wse_engine::policy::{Policies, Policy};
use wse_engine::rate_limit::Rate;
use wse_engine::{Config, ConnectionKey, Reply};
use wse_protocol::glob::matches;
use wse_protocol::priority::Priority;
use wse_protocol::rules::{Rules, Verdict};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn rules(allow: &[&str], deny: &[&str]) -> Rules {
    let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.into()).collect();
    Rules { allow: texts(allow), deny: texts(deny) }
}

fn with_rules(allow: &[&str], deny: &[&str]) -> Config {
    Config { topics: rules(allow, deny), ..settings() }
}

/// An open connection of ann with these claims.
fn connect(world: &mut World, claims: &Value, query: &str) -> Client {
    let ann = Identity { claims: claims.to_string(), ..identity("ann") };
    let client = world.take_in(PEER, &HEAD.replace("/wse", &format!("/wse?{query}")), Decision::Granted(ann));
    world.settle();
    client
}

/// Asks for topics; which of them it got and which it did not.
fn ask(world: &mut World, client: &Client, topics: &[&str]) -> (Value, Value) {
    client.subscribe(topics);
    world.settle();
    let mut reply = client.told("subscription_update").pop().expect("a reply");
    (reply["success_topics"].take(), reply["failed_topics"].take())
}

fn unsubscribe(world: &mut World, client: &Client, topics: &[&str]) {
    let request = json!({ "t": "subscription_update", "p": { "action": "unsubscribe", "topics": topics } });
    client.text(&request.to_string());
    world.settle();
}

fn publish(world: &mut World, topic: &str, n: u64) {
    assert!(world.publish(topic, &json!({ "t": "news", "p": { "n": n } }).to_string()));
    world.settle();
}

/// The questions for the hook that wait: whose, which, and about what.
fn questions(world: &World) -> Vec<(ConnectionKey, u32, Vec<String>)> {
    let question = |reply| match reply {
        Reply::Authorize { key, number, topics, .. } => Some((key, number, topics)),
        _ => None,
    };
    world.replies().into_iter().filter_map(question).collect()
}

#[test]
fn clients_and_the_application_get_what_the_vectors_say() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../../spec/vectors/topic.json")).expect("vectors are JSON");
    for case in vectors["claims"].as_array().expect("a list") {
        let mut world = World::new(with_rules(&["market"], &["denied"]));
        let claims = &case["claims"];
        let client = connect(&mut world, claims, "");
        let topic = case["topic"].as_str().expect("a text").replace("user:7", "user:ann");
        let (got, _) = ask(&mut world, &client, &[&topic]);
        assert_eq!(got != json!([]), case["client"] == "granted", "{case}");
        let request = world.subscribe(client.key(), &topic);
        world.settle();
        let refused = if case["application"] == true { Vec::new() } else { vec![topic.clone()] };
        assert_eq!(world.replies(), [Reply::Subscribed { request, refused, stands: Vec::new() }], "{case}");
        client.close(1000);
        world.settle();
        world.assert_nothing_is_left(&["ann"]);
    }
}

#[test]
fn who_holds_a_topic_in_several_ways_gets_one_copy_and_all_get_the_same_order() {
    let mut world = World::new(settings());
    let [exact, glob, several] =
        [&["news:a"][..], &["news:*"], &["news:a", "news:*", "*", "news:?"]].map(|topics| {
            let client = world.connect();
            client.subscribe(topics);
            client
        });
    let stranger = world.connect_to("weather:*");
    world.settle();
    for n in 1..=5 {
        publish(&mut world, "news:a", n);
    }
    for client in [&exact, &glob, &several] {
        assert_eq!(client.numbers("news"), [1, 2, 3, 4, 5]);
    }
    publish(&mut world, "news:bb", 6);
    assert_eq!(
        (exact.numbers("news").len(), glob.numbers("news").len()),
        (5, 6),
        "nobody holds it but by a glob"
    );
    unsubscribe(&mut world, &several, &["*", "news:a", "news:?"]);
    publish(&mut world, "news:a", 7);
    unsubscribe(&mut world, &several, &["news:*"]);
    publish(&mut world, "news:a", 8);
    assert_eq!(several.numbers("news"), [1, 2, 3, 4, 5, 6, 7]);
    assert!(stranger.numbers("news").is_empty());
    for client in [&exact, &glob, &several, &stranger] {
        client.close(1000);
    }
    world.settle();
    world.assert_nothing_is_left(&[]);
}

#[test]
fn what_a_glob_brings_to_a_slow_reader_is_missed_by_its_topic() {
    let mut config = settings();
    config.outbound.max_messages = 2;
    let mut world = World::new(config);
    let client = world.connect_to("news:*");
    client.stop_reading(64);
    for n in 0..10 {
        publish(&mut world, "news:a", n);
    }
    client.resume();
    world.settle();
    world.pass(100);
    let gaps = client.told("gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["topic"], "news:a");
    let missed = gaps[0]["count"].as_u64().expect("a number");
    assert_eq!(missed + client.numbers("news").len() as u64, 10);
}

#[test]
fn what_a_glob_brings_of_a_topic_with_a_log_is_lost_to_nobody() {
    let mut config = Config { recovery: Some(Recovery::default()), ..settings() };
    config.outbound.max_messages = 2;
    let mut world = World::new(config);
    let clients = [&["news:*"][..], &["news:*", "news:a", "*:a"]].map(|topics| {
        let client = world.connect();
        client.subscribe(topics);
        client
    });
    world.settle();
    clients.iter().for_each(|client| client.stop_reading(64));
    for n in 1..=100 {
        publish(&mut world, "news:a", n);
    }
    let late = world.connect_to("n*");
    clients.iter().for_each(Client::resume);
    world.settle();
    world.pass(1_000);
    publish(&mut world, "news:a", 101);
    for client in &clients {
        assert_eq!(client.numbers("news"), (1..=101).collect::<Vec<_>>());
        assert_eq!(client.told("gap"), Vec::<Value>::new());
    }
    assert_eq!(late.numbers("news"), [101]);
    let stamp = late.envelopes().pop().expect("one");
    assert_eq!(
        (&stamp["tp"], &stamp["o"]),
        (&json!("news:a"), &json!(101)),
        "the topic's name, and not the glob's"
    );
}

#[test]
fn a_client_holds_a_glob_only_where_one_entry_covers_it_and_nothing_denies_any_of_it() {
    let mut world = World::new(with_rules(&["news:*", "a?"], &["*:secret"]));
    let client = connect(&mut world, &json!({}), "");
    let asked =
        ["news:??", "news:*", "news*", "*", "a*", "a?", "user:ann:?", "user:*", "user:ann:*", "news:?ecret"];
    let (got, refused) = ask(&mut world, &client, &asked);
    assert_eq!(got, json!(["news:??", "a?", "user:ann:?"]));
    assert_eq!(refused, json!(["news:*", "news*", "*", "a*", "user:*", "user:ann:*", "news:?ecret"]));
    for (topic, n) in [("news:secret", 1), ("news:ab", 2), ("news:abc", 3), ("user:ann:secret", 4)] {
        publish(&mut world, topic, n);
    }
    assert_eq!(client.numbers("news"), [2]);
    let request = world.subscribe(client.key(), "news:*");
    world.settle();
    let refused = vec!["news:*".to_owned()];
    assert_eq!(
        world.replies(),
        [Reply::Subscribed { request, refused, stands: Vec::new() }],
        "deny binds the application, too"
    );
}

#[test]
fn a_connection_holds_so_many_topics_and_globs_and_no_more() {
    let limits = Config { max_subscriptions: 4, max_globs: 2, ..settings() };
    let mut world = World::new(limits);
    let client = world.connect();
    let (got, refused) = ask(&mut world, &client, &["a*", "b*", "c*", "d", "e", "f"]);
    assert_eq!((got, refused), (json!(["a*", "b*", "d", "e"]), json!(["c*", "f"])));
    let error = &client.told("error")[0]["message"];
    assert!(error.as_str().is_some_and(|message| message.ends_with("or are too many")), "{error}");
    assert_eq!(ask(&mut world, &client, &["a*", "d"]).1, json!([]), "what is held is held");
    unsubscribe(&mut world, &client, &["a*"]);
    assert_eq!(ask(&mut world, &client, &["c*", "f"]).0, json!(["c*"]));
    let request = world.subscribe(client.key(), "g");
    world.settle();
    assert_eq!(
        world.replies(),
        [Reply::Subscribed { request, refused: vec!["g".into()], stands: Vec::new() }]
    );
    client.close(1000);
    world.settle();
    world.assert_nothing_is_left(&[]);

    let mut world = World::new(Config { max_subscriptions: 0, max_globs: 0, ..settings() });
    let client = world.connect();
    let topics = (0..1_024).map(|n| format!("a{n}*")).collect::<Vec<_>>();
    let topics = topics.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(ask(&mut world, &client, &topics).1, json!([]));
    assert_eq!(ask(&mut world, &client, &["more", "more*"]).1, json!([]));
}

#[test]
fn to_look_at_a_glob_counts_against_the_rate_of_who_asks() {
    let rate = Some(Rate { per_second: 1, burst: 10 });
    let mut world = World::new(Config { rate, ..settings() });
    let client = world.connect();
    let globs = (0..16).map(|n| format!("a{n}*")).collect::<Vec<_>>();
    let (got, refused) = ask(&mut world, &client, &globs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(got.as_array().map(Vec::len), Some(9), "the message itself is one");
    assert_eq!(refused.as_array().map(Vec::len), Some(7));
    world.pass(20_000);
    let (long, longest) = (format!("{}*", "a".repeat(64)), format!("{}*", "a".repeat(254)));
    let (got, _) = ask(&mut world, &client, &[&long, &longest, &format!("{}*", "a".repeat(300)), "a", "b*"]);
    assert_eq!(got, json!([long, "a"]), "three for 65 bytes, and too few are left for 255");
}

#[test]
fn many_topics_count_as_many_messages_whatever_is_asked_of_them() {
    let names = (0..1_024).map(|n| format!("t{n}")).collect::<Vec<_>>();
    for (burst, more) in [(64 + 3, true), (10, false)] {
        let mut world = World::new(Config { rate: Some(Rate { per_second: 1, burst }), ..settings() });
        let client = world.connect();
        let mut ask = |action, names: &[String]| {
            let request = json!({"t": "subscription_update", "p": {"action": action, "topics": names}});
            client.text(&request.to_string());
            world.settle();
            client.told("subscription_update").len()
        };
        assert_eq!(ask("subscribe", &names), 1, "once all that is saved up is enough");
        assert_eq!(ask("subscribe", &names[..16]), 1 + usize::from(more), "so many are one message");
        for action in ["subscribe", "unsubscribe"] {
            assert_eq!(ask(action, &names[..48]), 1 + usize::from(more));
        }
        assert_eq!(client.errors(), ["RATE_LIMITED"]);
    }
}

#[test]
fn other_rules_take_away_what_they_do_not_grant_in_order_with_publications() {
    let mut world = World::new(with_rules(&["news:*", "weather"], &[]));
    let (client, other) = (connect(&mut world, &json!({}), ""), connect(&mut world, &json!({}), ""));
    ask(&mut world, &client, &["news:a", "news:*", "weather", "user:ann"]);
    ask(&mut world, &other, &["weather"]);
    world.subscribe(other.key(), "news:a");
    world.subscribe(other.key(), "denied");
    world.settle();
    for n in 1..=3 {
        world.publish("news:a", &json!({ "t": "news", "p": { "n": n } }).to_string());
        if n == 2 {
            world.shared.set_rules(rules(&["weather"], &["denied", "user:*"]));
        }
    }
    world.settle();
    assert_eq!(client.numbers("news"), [1, 2]);
    assert_eq!(other.numbers("news"), [1, 2, 3], "what the application gave is bound by deny alone");
    let told = |client: &Client| {
        let mut envelopes = client.envelopes();
        envelopes.split_off(envelopes.len() - 2).into_iter().map(|mut it| it["p"].take()).collect::<Vec<_>>()
    };
    let lost = json!(["news:a", "news:*", "user:ann"]);
    let [update, error] = &told(&client)[..] else { panic!("an update and an error") };
    let expected = json!({ "action": "unsubscribe", "success": true, "success_topics": lost, "failed_topics": [], "recovery": {} });
    assert_eq!(
        (update, &error["code"], &error["details"]["topics"]),
        (&expected, &json!("SUBSCRIPTION_FAILED"), &lost)
    );
    assert_eq!(other.told("subscription_update").last().expect("one")["success_topics"], json!(["denied"]));
    assert_eq!(
        ask(&mut world, &client, &["news:a", "weather"]).0,
        json!(["weather"]),
        "the new rules are in force"
    );
    assert!(!world.has_topic("denied") && !world.has_topic("user:ann"));
    world.shared.set_rules(rules(&["*"], &[]));
    world.settle();
    assert_eq!(ask(&mut world, &client, &["news:*"]).1, json!([]));
}

#[test]
fn every_connection_holds_from_the_start_what_the_option_names() {
    let subscribe_on_connect = ["news", "user:{id}:*", "denied", "a*b*c*d*e*"].map(String::from).to_vec();
    let config = Config { subscribe_on_connect, ..with_rules(&[], &["denied"]) };
    let mut world = World::new(config);
    let (ann, nobody, odd) = (world.connect_as("ann"), world.connect(), world.connect_as("a:b"));
    for (topic, n) in [("news", 1), ("user:ann:x", 2), ("user:{id}:x", 3), ("user:a:b:x", 4), ("denied", 5)] {
        publish(&mut world, topic, n);
    }
    assert_eq!(ann.numbers("news"), [1, 2]);
    assert_eq!((nobody.numbers("news"), odd.numbers("news")), (vec![1], vec![1]));
    assert_eq!(ann.told("subscription_update"), Vec::<Value>::new(), "without a word");
}

#[test]
fn a_request_waits_for_the_hook_and_those_behind_it_wait_too() {
    let mut world = World::new(Config { authorize: true, ..with_rules(&["news"], &["denied"]) });
    let client = connect(&mut world, &json!({ "level": 3 }), "");
    client.subscribe(&["challenge:17", "news", "denied", "challenge:18", "challenge:17"]);
    client.subscribe(&["challenge:*"]);
    unsubscribe(&mut world, &client, &["challenge:17"]);
    client.subscribe(&["news"]);
    world.settle();
    assert_eq!(client.told("subscription_update"), Vec::<Value>::new());
    let replies = world.replies();
    let Reply::Authorize { key, number, user, claims, topics, .. } = &replies[0] else {
        panic!("a question")
    };
    assert_eq!((*key, user.as_deref(), &**claims), (client.key(), Some("ann"), r#"{"level":3}"#));
    assert_eq!(topics, &["challenge:17", "challenge:18"], "each once, and nothing that the rules decide");
    let Reply::Authorize { number: second, topics, .. } = &replies[1] else { panic!("another question") };
    assert_eq!((topics, replies.len()), (&vec!["challenge:*".to_owned()], 2));
    // The second answer comes first, and both say more than they were asked.
    world.authorize(*key, *second, &["denied", "challenge:*"]);
    assert_eq!(client.told("subscription_update"), Vec::<Value>::new());
    world.authorize(*key, *number, &["challenge:17", "denied", "other"]);
    world.authorize(*key, *number, &["challenge:18"]);
    let replies = client.told("subscription_update");
    let expected = [
        ("subscribe", json!(["challenge:17", "news", "challenge:17"]), json!(["denied", "challenge:18"])),
        ("subscribe", json!(["challenge:*"]), json!([])),
        ("unsubscribe", json!(["challenge:17"]), json!([])),
        ("subscribe", json!(["news"]), json!([])),
    ];
    assert_eq!(replies.len(), expected.len());
    for (reply, (action, got, refused)) in replies.iter().zip(expected) {
        assert_eq!((&reply["action"], &reply["success_topics"]), (&json!(action), &got));
        assert_eq!(reply["failed_topics"], refused);
    }
    client.ping(b"?");
    client.close(1000);
    world.settle();
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn what_the_application_takes_away_meanwhile_is_asked_again() {
    let mut world = World::new(Config { authorize: true, ..with_rules(&["news"], &[]) });
    let client = connect(&mut world, &json!({}), "topics=a,b");
    client.subscribe(&["a"]);
    client.subscribe(&["b"]);
    client.subscribe(&["news"]);
    world.settle();
    let asked = questions(&world);
    // The second has its answer, and waits behind the first.
    world.authorize(asked[1].0, asked[1].1, &["a"]);
    world.unsubscribe(client.key(), Some(vec!["a".into()]));
    world.settle();
    let again = questions(&world);
    assert_eq!(again.iter().map(|it| &it.2[..]).collect::<Vec<_>>(), [&["a", "b"][..], &["a"]]);
    for (key, number, topics) in asked {
        world.authorize(key, number, &topics.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(
        client.told("subscription_update"),
        Vec::<Value>::new(),
        "what was said before counts no more"
    );
    world.authorize(again[0].0, again[0].1, &["b"]);
    world.authorize(again[1].0, again[1].1, &[]);
    let replies = client.told("subscription_update");
    let got = replies.iter().map(|reply| reply["success_topics"].clone()).collect::<Vec<_>>();
    assert_eq!(got, [json!([]), json!(["b"]), json!(["news"])]);
    client.subscribe(&["c", "d"]);
    world.settle();
    questions(&world);
    world.unsubscribe(client.key(), None);
    world.settle();
    assert_eq!(questions(&world)[0].2, ["c", "d"], "all of it");
    client.close(1000);
    world.settle();
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn so_many_requests_wait_and_no_more_and_none_is_left_behind() {
    let mut world = World::new(Config { authorize: true, ..with_rules(&["news"], &[]) });
    let client = connect(&mut world, &json!({}), "topics=query,news,other");
    for n in 0..20 {
        client.subscribe(&[&format!("t{n}")]);
    }
    world.settle();
    let asked = questions(&world);
    assert_eq!(
        (asked.len(), &asked[0].2),
        (16, &vec!["other".to_owned(), "query".into()]),
        "the query's come first"
    );
    assert_eq!(client.errors(), ["RATE_LIMITED"; 5]);
    assert!(world.shared.budget.used() > 0);
    world.authorize(asked[0].0, asked[0].1, &["query"]);
    assert_eq!(
        client.told("subscription_update"),
        Vec::<Value>::new(),
        "what the query names is not answered"
    );
    publish(&mut world, "query", 1);
    publish(&mut world, "other", 2);
    publish(&mut world, "news", 3);
    assert_eq!(client.numbers("news"), [1, 3]);
    client.close(1000);
    world.settle();
    world.authorize(asked[1].0, asked[1].1, &["t0"]);
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn to_ask_the_hook_counts_against_the_rate_of_who_asks() {
    let rate = Some(Rate { per_second: 1, burst: 13 });
    let mut world = World::new(Config { authorize: true, rate, ..with_rules(&["n*"], &["d*"]) });
    let client = connect(&mut world, &json!({}), "");
    let topics = (10..30).flat_map(|n| ["a", "d", "n"].map(|kind| format!("{kind}{n}"))).collect::<Vec<_>>();
    client.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    world.settle();
    let asked = questions(&world);
    let expected = (10..19).map(|n| format!("a{n}")).collect::<Vec<_>>();
    assert_eq!(
        asked[0].2, expected,
        "the message is four, for sixty topics; what the rules decide costs no more"
    );
    world.authorize(asked[0].0, asked[0].1, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    let reply = client.told("subscription_update").pop().expect("a reply");
    assert_eq!(reply["success_topics"].as_array().map(Vec::len), Some(20 + 9));
    assert_eq!(reply["failed_topics"].as_array().map(Vec::len), Some(20 + 11));
    assert_eq!(client.errors(), ["RATE_LIMITED", "SUBSCRIPTION_FAILED"]);
}

#[test]
fn so_many_topics_of_a_connection_wait_for_the_hook_and_no_more() {
    let mut world = World::new(Config { authorize: true, ..with_rules(&["news"], &[]) });
    let names = |kind: &str, count: usize| (0..count).map(|n| format!("{kind}{n}")).collect::<Vec<_>>();
    let ask = |client: &Client, topics: &[String]| {
        client.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let client = connect(&mut world, &json!({}), &format!("topics={}", names("q", 1_030).join(",")));
    let asked = questions(&world);
    assert_eq!(asked[0].2.len(), 1_024, "the query's first");
    assert!(!asked[0].2.contains(&"q1024".to_owned()));
    ask(&client, &names("a", 1));
    world.settle();
    assert_eq!(client.errors(), ["RATE_LIMITED"]);
    ask(&client, &["news".into()]);
    world.settle();
    world.authorize(asked[0].0, asked[0].1, &[]);
    assert_eq!(client.told("subscription_update").len(), 1, "what needs no answer waits behind");
    for topics in [names("a", 1_000), names("b", 25), names("c", 24)] {
        ask(&client, &topics);
    }
    world.settle();
    let asked = questions(&world).into_iter().map(|it| it.2.len()).collect::<Vec<_>>();
    assert_eq!(asked, [1_000, 24]);
    assert_eq!(client.errors(), ["RATE_LIMITED"; 2]);
    client.close(1000);
    world.settle();
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn without_a_hook_what_the_rules_leave_open_is_refused_at_once() {
    let mut world = World::new(with_rules(&[], &[]));
    let client = connect(&mut world, &json!({}), "topics=a");
    assert_eq!(ask(&mut world, &client, &["a"]).1, json!(["a"]));
    assert_eq!(world.replies(), []);
}

#[test]
fn other_claims_are_looked_at_and_the_hook_is_asked_again() {
    let keys = Keys::of_secret(SECRET, None, None).expect("32 bytes");
    let verifier = Verifier::new(JwtConfig {
        algorithm: Algorithm::Hs256,
        keys: Some(keys),
        may_renew: false,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    });
    let tokens = Tokens { cookie_name: "access_token".into(), is_in_query: false, verifier };
    let auth = Auth::Jwt(Box::new(tokens));
    let mut world = World::new(Config { auth, authorize: true, ..with_rules(&["news"], &[]) });
    let token_of = |mut claims: Value| {
        claims["sub"] = json!("ann");
        claims["iat"] = json!(1);
        claims["exp"] = json!(1_700_000_600);
        encode_jwt(&claims.to_string(), SECRET, Algorithm::Hs256, None).expect("it signs")
    };
    let client = world.accept();
    let header = format!(
        "Host: a\r\nAuthorization: Bearer {}\r\n",
        token_of(json!({ "roles": ["editor", "author"] }))
    );
    client.write(HEAD.replace("Host: a\r\n", &header).as_bytes());
    world.settle();
    client.subscribe(&["news", "role:editor", "role:author", "user:ann", "b", "c", "d", "team:x"]);
    world.settle();
    let asked = questions(&world);
    world.authorize(asked[0].0, asked[0].1, &["b", "c", "d", "team:x"]);
    assert_eq!(client.told("subscription_update")[0]["failed_topics"], json!([]));
    world.subscribe(client.key(), "given");
    world.settle();
    let refresh = |world: &mut World, claims: Value| {
        client.text(&json!({ "t": "auth_refresh", "p": { "token": token_of(claims) } }).to_string());
        world.settle();
    };
    let lost = || client.told("subscription_update").pop().expect("one")["success_topics"].clone();
    world.replies();

    refresh(
        &mut world,
        json!({ "roles": "author", "teams": ["x"], "wse_topics": { "deny": ["d", "given"] } }),
    );
    assert_eq!(client.told("auth_refreshed").len(), 1);
    let mut taken = lost()
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| it.as_str().expect("a text").to_owned())
        .collect::<Vec<_>>();
    taken.sort();
    assert_eq!(taken, ["d", "given", "role:editor"]);
    let replies = world.replies();
    let (Reply::ClaimsChanged { user }, Reply::Authorize { key, number, topics, .. }) =
        (&replies[0], &replies[1])
    else {
        panic!("what was answered is forgotten, and asked again")
    };
    let mut topics = topics.clone();
    topics.sort();
    assert_eq!((&**user, topics), ("ann", vec!["b".to_owned(), "c".into()]));
    publish(&mut world, "c", 1);
    assert_eq!(client.numbers("news"), [1], "it stays until the answer is there");
    world.authorize(*key, *number, &["b"]);
    assert_eq!(lost(), json!(["c"]));
    refresh(&mut world, json!({ "roles": "author" }));
    assert_eq!(lost(), json!(["team:x"]), "the hook's word was no longer needed");
    client.subscribe(&["e", "f", "news"]);
    world.settle();
    let asked = questions(&world);
    assert_eq!(asked.iter().map(|it| &it.2[..]).collect::<Vec<_>>(), [&["b"][..], &["e", "f"]]);
    refresh(&mut world, json!({ "wse_topics": { "deny": ["f"] } }));
    let again = questions(&world);
    assert_eq!(again.iter().map(|it| &it.2[..]).collect::<Vec<_>>(), [&["e"][..], &["b"]]);
    for (key, number, _) in asked {
        world.authorize(key, number, &["b", "e", "f"]);
    }
    assert_eq!(lost(), json!(["role:author"]), "an answer about other claims is none");
    for (key, number, _) in again {
        world.authorize(key, number, &["b"]);
    }
    let reply = client.told("subscription_update").pop().expect("one");
    assert_eq!((&reply["success_topics"], &reply["failed_topics"]), (&json!(["news"]), &json!(["e", "f"])));

    refresh(&mut world, json!({ "wse_topics": "?" }));
    assert_eq!(client.told("auth_refreshed").len(), 4);
    publish(&mut world, "user:ann", 2);
    publish(&mut world, "b", 3);
    assert_eq!(client.numbers("news"), [1], "claims that nobody understands leave nothing");
    // No more than four in a second are looked at.
    world.pass(1_000);
    refresh(&mut world, json!({}));
    assert_eq!(ask(&mut world, &client, &["news", "user:ann"]).0, json!(["news", "user:ann"]));
    client.close(1000);
    world.settle();
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn what_is_lost_is_told_once_for_each_lane() {
    let policy = Policy { priority: Priority::Low, ..Policy::default() };
    let policies = Arc::new(Policies::new([(vec!["slow".into()], policy)]));
    let mut world = World::new(Config { policies, ..settings() });
    let client = world.connect();
    ask(&mut world, &client, &["a", "slow", "b"]);
    let before = client.told("subscription_update").len();
    world.shared.set_rules(rules(&[], &[]));
    world.settle();
    let lost = client.told("subscription_update").split_off(before);
    let lost = lost.iter().map(|told| told["success_topics"].clone()).collect::<Vec<_>>();
    assert_eq!(lost, [json!(["slow"]), json!(["a", "b"])]);
    assert_eq!(client.told("error").last().expect("one")["details"]["topics"], json!(["slow", "a", "b"]));
}

/// What a connection should hold, by whose word, and what it should have got.
#[derive(Default)]
struct Account {
    by_itself: BTreeSet<&'static str>,
    by_the_application: BTreeSet<&'static str>,
    got: Vec<u64>,
}

#[test]
fn in_every_order_each_publication_comes_once_to_who_may_have_it() {
    const NAMES: [&str; 8] = ["a:x", "a:y", "b:x", "a:*", "*:x", "*", "?:?", "b:?"];
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let tables = [
            rules(&["*"], &[]),
            rules(&["a:*"], &["b:x"]),
            rules(&["*:x"], &["a:y"]),
            rules(&[], &["?:y"]),
            rules(&["*"], &["*"]),
        ];
        let mut table = tables[0].clone();
        let recovery = (seed % 2 == 0).then(Recovery::default);
        let mut world = World::new(Config { recovery, ..settings() });
        let mut lives =
            (0..3).map(|_| (connect(&mut world, &json!({}), ""), Account::default())).collect::<Vec<_>>();
        for n in 0..80 {
            let name = NAMES[random.usize(..NAMES.len())];
            let (client, account) = &mut lives[random.usize(..3)];
            match random.u8(..10) {
                0..2 => {
                    world.settle();
                    let (got, _) = ask(&mut world, client, &[name]);
                    let may = table.judge(Some("ann"), None, name) == Verdict::Granted;
                    assert_eq!(got == json!([name]), may, "seed {seed}, step {n}");
                    if may {
                        account.by_itself.insert(name);
                    }
                }
                2 => {
                    world.subscribe(client.key(), name);
                    if table.application_may(None, name) {
                        account.by_the_application.insert(name);
                    }
                }
                3 => {
                    world.settle();
                    unsubscribe(&mut world, client, &[name]);
                    account.by_itself.remove(name);
                    account.by_the_application.remove(name);
                }
                4 => {
                    table = tables[random.usize(..tables.len())].clone();
                    world.shared.set_rules(table.clone());
                    for (_, account) in &mut lives {
                        account.by_itself.retain(|name| {
                            let is_given = account.by_the_application.contains(name);
                            is_given || table.judge(Some("ann"), None, name) == Verdict::Granted
                        });
                        let may = |name: &&str| table.application_may(None, name);
                        account.by_itself.retain(may);
                        account.by_the_application.retain(may);
                    }
                }
                _ => {
                    let topic = NAMES[random.usize(..3)];
                    assert!(world.publish(topic, &json!({ "t": "news", "p": { "n": n } }).to_string()));
                    for (_, account) in &mut lives {
                        let held = account.by_itself.iter().chain(&account.by_the_application);
                        if held.into_iter().any(|held| matches(held, topic)) {
                            account.got.push(n);
                        }
                    }
                }
            }
        }
        world.settle();
        for (client, account) in &lives {
            assert_eq!(client.numbers("news"), account.got, "seed {seed}");
            client.close(1000);
        }
        world.settle();
        assert!(world.shared.topics.is_empty() || seed % 2 == 0, "a log outlives those who hold its topic");
    }
}
