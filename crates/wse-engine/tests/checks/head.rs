//! What holds for any bytes that a client may send as its opening request.

use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use wse_engine::Config;
use wse_engine::auth::{Auth, Tokens};
use wse_engine::handshake::{Head, MAX_HEAD, Upgrade, read};
use wse_engine::jwt::{JwtConfig, Verifier};
use wse_engine::keys::Algorithm;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

static ANONYMOUS: LazyLock<Config> = LazyLock::new(|| Config { trusted_proxies: 1, ..Config::default() });

static WITH_TOKENS: LazyLock<Config> = LazyLock::new(|| {
    let verifier = Verifier::new(JwtConfig {
        algorithm: Algorithm::Hs256,
        keys: None,
        may_renew: false,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    });
    let tokens = Tokens { cookie_name: "access_token".into(), is_in_query: true, verifier };
    Config { auth: Auth::Jwt(Box::new(tokens)), ..Config::default() }
});

/// The first byte says in which pieces the rest arrives, and with its highest bit that tokens are wanted.
///
/// Verifies that the pieces are judged as the whole is, that a head of any length is judged in the end, and that
/// what an accepted one asks for is within what it said.
pub fn check(input: &[u8]) {
    let Some((&first, head)) = input.split_first() else { return };
    let config = if first & 0x80 == 0 { &*ANONYMOUS } else { &*WITH_TOKENS };
    let whole = read(head, PEER, config);
    if head.len() >= MAX_HEAD {
        assert!(!matches!(whole, Head::Partial), "nobody waits for more");
    }
    let piece = usize::from(first & 0x7f) + 1;
    let mut judged = Head::Partial;
    for end in (piece..head.len()).step_by(piece).chain([head.len()]) {
        judged = read(&head[..end], PEER, config);
        if !matches!(judged, Head::Partial) {
            break;
        }
    }
    assert_eq!(format!("{judged:?}"), format!("{whole:?}"), "in pieces of {piece}");
    if let Head::Upgrade(upgrade) = whole {
        check_upgrade(&upgrade, head);
    }
}

fn check_upgrade(upgrade: &Upgrade, head: &[u8]) {
    assert!(upgrade.length <= head.len().min(MAX_HEAD));
    assert!(head[..upgrade.length].ends_with(b"\n"), "what follows are frames");
    let response = upgrade.response();
    assert!(response.is_ascii() && response.ends_with("\r\n\r\n"));
    assert_eq!(response.matches("\r\n\r\n").count(), 1, "{response:?}");
    assert!(upgrade.topics.iter().all(|topic| !topic.is_empty()));
    assert!(upgrade.token.as_deref().is_none_or(|token| !token.is_empty() && token.len() <= head.len()));
    if let Some(request) = &upgrade.request {
        let request = serde_json::from_str::<Value>(request).expect("JSON");
        assert!(request["url"].as_str().is_some_and(|url| url.starts_with(&*ANONYMOUS.path)));
    }
}
