//! The opening request of a connection: what it asks for, and why it is refused (PROTOCOL §2).
//!
//! Reads a head and decides; never touches a socket and never looks at a token's contents.

mod credentials;

use crate::auth::Auth;
use crate::config::Config;
use crate::fields::Fields;
use crate::query;
use crate::speech::Speech;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use credentials::Credentials;
use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use std::net::IpAddr;
use wse_protocol::compress::{self, Agreement};

/// Largest request head in bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Most headers of a request.
pub const MAX_HEADERS: usize = 100;
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a head amounts to.
#[derive(Debug)]
pub enum Head {
    /// It is not complete yet.
    Partial,
    /// An HTTP answer, after which the connection ends.
    Answer(Answer),
    /// A WebSocket may begin.
    Upgrade(Box<Upgrade>),
}

/// An HTTP answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// `GET {path}/health`.
    Health,
    /// `GET {path}/ready`.
    Ready,
    /// A refusal.
    Refused(Refusal),
}

/// Why a request is refused. The status is the stable part; the text says what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not HTTP/1.1, not well formed, or without its one `Host`.
    #[error("this is not an HTTP/1.1 request with one Host")]
    Malformed,
    /// The head is larger than 16 KiB or has more than 100 headers.
    #[error("the request's head is over 16 KiB or 100 headers")]
    HeadTooLarge,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// Another path.
    #[error("nothing is served at this path")]
    NotFound,
    /// Another method.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// A request that asks for no WebSocket.
    #[error("this path speaks WebSocket: ask for an upgrade")]
    UpgradeRequired,
    /// Another version than 13.
    #[error("the only Sec-WebSocket-Version is 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing or not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is missing or not 16 bytes in base64")]
    Key,
    /// A version of the protocol that is none.
    #[error("protocol_version is 1 or 2")]
    Dialect,
    /// `wse.token.…` or `wse.ticket.…` alone: a browser needs an answer that is not its secret.
    #[error("offer wse.v2 or wse.v1 beside the token's or ticket's subprotocol: neither is ever echoed")]
    TokenAlone,
    /// A foreign page.
    #[error("this origin may not connect: name it in the server's option allowedOrigins")]
    Origin,
    /// Every place is taken.
    #[error("the server is full")]
    Full,
    /// More newcomers than are let in at once.
    #[error("too many connect at once")]
    Busy {
        /// When to come back.
        seconds: u32,
    },
    /// The token cannot be checked yet.
    #[error("the server has no key yet to check the token with")]
    NoKeys,
    /// The server is closing.
    #[error("the server is closing")]
    Closing,
}

impl Refusal {
    /// The HTTP status line's code and text.
    pub fn status(self) -> &'static str {
        match self {
            Self::Malformed | Self::Key | Self::Dialect | Self::TokenAlone => "400 Bad Request",
            Self::Origin => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::Method => "405 Method Not Allowed",
            Self::Timeout => "408 Request Timeout",
            Self::UpgradeRequired | Self::Version => "426 Upgrade Required",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Full | Self::Busy { .. } | Self::NoKeys | Self::Closing => "503 Service Unavailable",
        }
    }

    /// The whole HTTP answer.
    pub fn response(self) -> Vec<u8> {
        let extra = match self {
            Self::Method => "Allow: GET\r\n",
            Self::UpgradeRequired => "Upgrade: websocket\r\n",
            Self::Version => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::Busy { seconds } => &format!("Retry-After: {seconds}\r\n"),
            Self::Full | Self::NoKeys | Self::Closing => "Retry-After: 5\r\n",
            _ => "",
        };
        response(self.status(), "text/plain; charset=utf-8", extra, &format!("{self}\n"))
    }
}

/// An HTTP answer that ends the connection.
pub fn response(status: &str, content_type: &str, extra: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
    )
    .into_bytes()
}

/// A request for a WebSocket that nothing so far speaks against.
#[derive(Debug)]
pub struct Upgrade {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    /// How the connection will speak.
    pub speech: Speech,
    /// Whether it wants encryption: publications wait for its key.
    pub wants_encryption: bool,
    /// The subprotocol that is answered, of those that were offered.
    pub protocol: Option<&'static str>,
    /// What is agreed on of permessage-deflate.
    pub deflate: Option<Agreement>,
    /// The token, from cookie, header, subprotocol or query, in this order.
    pub token: Option<String>,
    /// The resume ticket, from subprotocol, or from the query where a token may be there.
    pub ticket: Option<String>,
    /// The client's address, behind trusted proxies.
    pub address: IpAddr,
    /// Topics of the query, to be subscribed silently.
    pub topics: Vec<String>,
    /// Tells one browser from another.
    pub fingerprint: u64,
    /// `headers`, `cookies`, `url`, `remoteAddress` as JSON, when the application will look at it.
    pub request: Option<String>,
    /// How long the head was.
    pub length: usize,
}

impl Upgrade {
    /// The answer that begins the WebSocket.
    pub fn response(&self) -> String {
        let protocol = self.protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let (accept, protocol) = (&self.accept, protocol.unwrap_or_default());
        let extensions = self.deflate.as_ref();
        let extensions =
            extensions.map(|agreed| format!("Sec-WebSocket-Extensions: {}\r\n", agreed.response));
        let extensions = extensions.unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}{extensions}\r\n"
        )
    }
}

/// Reads what has arrived of a request's head.
pub fn read(head: &[u8], peer: IpAddr, config: &Config) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let refused = |refusal| Head::Answer(Answer::Refused(refusal));
    let length = match request.parse(&head[..head.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => return Head::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refused(Refusal::HeadTooLarge);
        }
        Err(_) => return refused(Refusal::Malformed),
    };
    match upgrade(&request, length, peer, config) {
        Ok(upgrade) => Head::Upgrade(Box::new(upgrade)),
        Err(answer) => Head::Answer(answer),
    }
}

fn upgrade(
    request: &httparse::Request,
    length: usize,
    peer: IpAddr,
    config: &Config,
) -> Result<Upgrade, Answer> {
    let refused = |refusal| Err(Answer::Refused(refusal));
    let url = request.path.unwrap_or_default();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let is_get = request.method == Some("GET");
    match path.strip_prefix(config.path.as_str()) {
        Some("") => {}
        Some("/health") if is_get => return Err(Answer::Health),
        Some("/ready") if is_get => return Err(Answer::Ready),
        _ => return refused(Refusal::NotFound),
    }
    if !is_get {
        return refused(Refusal::Method);
    }
    let fields = Fields(request.headers);
    // RFC 9112 §3.2: a request of HTTP/1.1 has exactly one Host.
    if request.version != Some(1) || fields.values("host").count() != 1 {
        return refused(Refusal::Malformed);
    }
    if !fields.has_token("upgrade", "websocket") || !fields.has_token("connection", "upgrade") {
        return refused(Refusal::UpgradeRequired);
    }
    if fields.get("sec-websocket-version") != Some("13") {
        return refused(Refusal::Version);
    }
    let key =
        fields.get("sec-websocket-key").filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let Some(key) = key else { return refused(Refusal::Key) };
    // A plain WebSocket's query is the application's own.
    let wishes = if config.envelope { query } else { "" };
    let (speech, protocol) = Speech::of_request(wishes, fields.subprotocols()).map_err(Answer::Refused)?;
    let credentials = Credentials::of_request(&fields, query, wishes, &config.auth);
    if !is_origin_allowed(&fields, credentials.has_cookie, config) {
        return refused(Refusal::Origin);
    }
    if credentials.is_offered && protocol.is_none() {
        return refused(Refusal::TokenAlone);
    }
    let address = fields.forwarded(config.trusted_proxies).unwrap_or(peer);
    let is_shown = !matches!(config.auth, Auth::Jwt(_));
    Ok(Upgrade {
        accept: STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()),
        speech,
        wants_encryption: query::values(query, "encryption").next().as_deref() == Some("true"),
        protocol,
        deflate: deflate(&fields, config),
        token: credentials.token,
        ticket: credentials.ticket,
        address,
        topics: query::topics(query),
        fingerprint: fingerprint(address, fields.get("user-agent").unwrap_or_default()),
        request: is_shown.then(|| describe(&fields, url, address)),
        length,
    })
}

/// PROTOCOL §2: an allow-list where there is one; else a request that a cookie speaks for comes from the same host.
fn is_origin_allowed(fields: &Fields, has_cookie: bool, config: &Config) -> bool {
    if !fields.has("origin") {
        return true;
    }
    // One that cannot be read is nobody's.
    let Some(origin) = fields.get("origin") else { return false };
    if !config.allowed_origins.is_empty() {
        return config
            .allowed_origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    }
    if !has_cookie {
        return true;
    }
    let forwarded = if config.trusted_proxies > 0 { fields.get("x-forwarded-host") } else { None };
    let host = forwarded.or_else(|| fields.get("host")).unwrap_or_default();
    let Some((_, origin_host)) = origin.split_once("://") else { return false };
    host_name(origin_host).eq_ignore_ascii_case(host_name(host)) && !host.is_empty()
}

/// A host without its port; IPv6 addresses keep their brackets.
fn host_name(host: &str) -> &str {
    let end = if host.starts_with('[') { host.find(']').map(|end| end + 1) } else { host.find(':') };
    end.map_or(host, |end| &host[..end])
}

fn fingerprint(address: IpAddr, agent: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (address, agent).hash(&mut hasher);
    hasher.finish()
}

/// The request as the application sees it: header names in lower case, repeated ones joined as Node.js does.
fn describe(fields: &Fields, url: &str, address: IpAddr) -> String {
    let mut headers = Map::new();
    for header in fields.0.iter() {
        let name = header.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(header.value);
        let separator = if name == "cookie" { "; " } else { ", " };
        match headers.get_mut(&name) {
            Some(Value::String(joined)) => joined.extend([separator, &*value]),
            _ => drop(headers.insert(name, Value::String(value.into_owned()))),
        }
    }
    let cookies = fields.get("cookie").unwrap_or_default();
    json!({ "headers": headers, "cookies": cookies, "url": url, "remoteAddress": address.to_string() })
        .to_string()
}

/// The answer to what the client offers of permessage-deflate, where the server has it.
fn deflate(fields: &Fields, config: &Config) -> Option<Agreement> {
    let deflate = config.deflate.as_ref()?;
    // Several fields are one list (RFC 9110 §5.2).
    let offers = fields.values("sec-websocket-extensions").collect::<Vec<_>>().join(",");
    compress::agree(&offers, &deflate.terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Tokens;
    use crate::jwt::{JwtConfig, Verifier};
    use crate::keys::{Algorithm, Keys};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn config() -> Config {
        config_with(false)
    }

    fn config_with(is_in_query: bool) -> Config {
        let verifier = Verifier::new(JwtConfig {
            algorithm: Algorithm::Hs256,
            keys: Some(Keys::of_secret(&[7; 32], None, None).expect("32 bytes")),
            may_renew: false,
            issuer: None,
            audience: None,
            leeway_seconds: 30,
        });
        let tokens = Tokens { cookie_name: "access_token".into(), is_in_query, verifier };
        Config { auth: Auth::Jwt(Box::new(tokens)), ..Config::default() }
    }

    fn ask(url: &str, extra: &str, config: &Config) -> Result<Upgrade, Answer> {
        let head = format!(
            "GET {url} HTTP/1.1\r\nHost: here.example:8000\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
        );
        match read(head.as_bytes(), IpAddr::from([127, 0, 0, 1]), config) {
            Head::Upgrade(upgrade) => Ok(*upgrade),
            Head::Answer(answer) => Err(answer),
            Head::Partial => panic!("the head is complete"),
        }
    }

    fn refusal(result: Result<Upgrade, Answer>) -> Refusal {
        match result {
            Err(Answer::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn answers_the_key_of_the_rfc() {
        let upgrade = ask("/wse", "", &config()).expect("nothing speaks against it");
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(upgrade.token.is_none());
    }

    #[test]
    fn any_split_of_the_head_gives_the_same_answer() {
        let head = format!(
            "GET /wse HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        for end in 0..head.len() {
            let part = read(&head.as_bytes()[..end], IpAddr::from([127, 0, 0, 1]), &config());
            assert!(matches!(part, Head::Partial), "at {end}");
        }
    }

    #[test]
    fn the_token_comes_from_cookie_then_header_then_subprotocol() {
        let config = config();
        let cookie = "Cookie: a=b; access_token=c1\r\n";
        let header = "Authorization: BEARER h1\r\n";
        let protocol = "Sec-WebSocket-Protocol: wse.v2, wse.token.p1\r\n";
        let token = |extra: &str| ask("/wse", extra, &config).expect("no refusal").token;
        assert_eq!(token(&format!("{protocol}{header}{cookie}")).as_deref(), Some("c1"));
        assert_eq!(token(&format!("{protocol}{header}")).as_deref(), Some("h1"));
        assert_eq!(token(protocol).as_deref(), Some("p1"));
        for absent in ["undefined", "null", ""] {
            assert_eq!(token(&format!("Cookie: access_token={absent}\r\n{header}")).as_deref(), Some("h1"));
        }
        let alone = ask("/wse", "Sec-WebSocket-Protocol: wse.token.p1\r\n", &config);
        assert_eq!(refusal(alone), Refusal::TokenAlone);
        let answer = ask("/wse", protocol, &config).expect("no refusal").response();
        assert!(answer.contains("wse.v2") && !answer.contains("p1"));
    }

    #[test]
    fn a_token_in_the_query_comes_last_and_only_where_it_is_allowed() {
        let token = |extra: &str, is_allowed| {
            ask("/wse?token=q%311", extra, &config_with(is_allowed)).expect("no refusal")
        };
        assert_eq!(token("", true).token.as_deref(), Some("q11"));
        assert_eq!(token("", false).token, None);
        let protocol = "Sec-WebSocket-Protocol: wse.v2, wse.token.p1\r\n";
        assert_eq!(token(protocol, true).token.as_deref(), Some("p1"));
        assert!(ask("/wse?token=", "", &config_with(true)).expect("no refusal").token.is_none());
        let ticket =
            |is_allowed| ask("/wse?ticket=t1", "", &config_with(is_allowed)).expect("no refusal").ticket;
        assert_eq!((ticket(true).as_deref(), ticket(false)), (Some("t1"), None));
    }

    #[test]
    fn a_foreign_page_with_the_cookie_is_refused() {
        let config = config();
        let cookie = "Cookie: access_token=c1\r\n";
        let from =
            |origin: &str, cookie: &str| ask("/wse", &format!("Origin: {origin}\r\n{cookie}"), &config);
        assert!(from("https://here.example:444", cookie).is_ok(), "ports do not count");
        assert!(from("https://evil.example", "").is_ok(), "nothing to hijack");
        for origin in ["https://evil.example", "null", "https://here.example.evil"] {
            assert_eq!(refusal(from(origin, cookie)), Refusal::Origin, "{origin}");
        }
        let listed = Config { allowed_origins: vec!["https://app.example".into()], ..self::config() };
        assert!(ask("/wse", "Origin: https://app.example\r\n", &listed).is_ok());
        assert_eq!(refusal(ask("/wse", "Origin: https://here.example\r\n", &listed)), Refusal::Origin);
    }

    #[test]
    fn each_fault_has_its_status() {
        let config = config();
        let raw = |head: &str| match read(head.as_bytes(), IpAddr::from([127, 0, 0, 1]), &config) {
            Head::Answer(Answer::Refused(refusal)) => refusal.status().split(' ').next().map(str::to_owned),
            other => panic!("not refused: {other:?}"),
        };
        let status = |head: &str| raw(head).expect("a status");
        assert_eq!(status("GET /other HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status("POST /wse HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status("GET /wse HTTP/1.1\r\n\r\n"), "400", "no Host");
        assert_eq!(status("GET /wse HTTP/1.1\r\nHost: a\r\n\r\n"), "426");
        assert_eq!(status("hello\r\n\r\n"), "400");
        assert_eq!(status(&format!("GET /wse HTTP/1.1\r\nX: {}", "y".repeat(MAX_HEAD))), "431");
        assert_eq!(status(&format!("GET /wse HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101))), "431");
        let upgrade = "GET /wse HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n";
        assert_eq!(status(&format!("{upgrade}Sec-WebSocket-Version: 8\r\n\r\n")), "426");
        assert_eq!(status(&format!("{upgrade}Sec-WebSocket-Version: 13\r\n\r\n")), "400");
        assert_eq!(
            status(&format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n")),
            "400"
        );
        assert_eq!(refusal(ask("/wse?protocol_version=3", "", &config)), Refusal::Dialect);
        let plain = Config { envelope: false, ..self::config() };
        let speech = ask("/wse?protocol_version=3&format=msgpack", "", &plain).expect("no refusal").speech;
        assert_eq!(speech, Speech::default(), "the query is the application's");
        assert!(matches!(ask("/wse/health", "", &config), Err(Answer::Health)));
    }

    #[test]
    fn the_address_is_what_the_trusted_proxy_saw() {
        let address = |proxies: usize| {
            let config = Config { trusted_proxies: proxies, ..config() };
            let extra = "X-Forwarded-For: 10.9.9.9, 10.1.1.1\r\n";
            ask("/wse", extra, &config).expect("no refusal").address.to_string()
        };
        assert_eq!(
            (address(0), address(1), address(2)),
            ("127.0.0.1".into(), "10.1.1.1".into(), "10.9.9.9".into())
        );
    }
}
