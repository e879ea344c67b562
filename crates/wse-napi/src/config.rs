//! The settings of an engine as the facade sends them: validated there, one JSON text.

use crate::error::coded;
use crate::policies::{self, TopicPolicy};
use napi::bindgen_prelude::Result;
use serde::Deserialize;
use std::sync::Arc;
use wse_engine::auth::{Auth, Tokens};
use wse_engine::config::{
    Compression, Config, ConnectionLimitPolicy, Deflate, InboundLimits, Mode, OutboundLimits, Recovery,
};
use wse_engine::expiry::TokenExpiry;
use wse_engine::heartbeat::Heartbeat;
use wse_engine::jwt::{JwtConfig, Verifier};
use wse_engine::keys::{Algorithm, Keys, Place, check_secret};
use wse_engine::log::Level;
use wse_engine::presence::PresenceLimits;
use wse_engine::rate_limit::Rate;
use wse_engine::signing::{Requirement, Signing};
use wse_engine::tickets::Tickets;
use wse_protocol::compress::Terms;
use wse_protocol::frame::FrameLimits;
use wse_protocol::rules::Rules;
use wse_protocol::sign::SigningKey;
use wse_protocol::ticket::TicketKey;

/// Options with all defaults filled in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    path: String,
    jwt: Option<Jwt>,
    token_expiry: Expiring,
    authenticate: bool,
    allowed_origins: Vec<String>,
    trust_proxy: usize,
    max_connections: usize,
    admission: Option<RateLimit>,
    max_connections_per_user: usize,
    connection_limit_policy: Policy,
    max_connection_age_ms: u64,
    handshake_timeout_ms: u64,
    max_handshakes: usize,
    max_handshakes_per_address: usize,
    heartbeat_interval_ms: u64,
    idle_timeout_ms: u64,
    rate_limit: Option<RateLimit>,
    max_message_bytes: usize,
    max_fragments: u32,
    outbound: Outbound,
    inbound: Inbound,
    memory_budget_bytes: usize,
    compression: Option<Deflation>,
    per_message_deflate: Option<PerMessageDeflate>,
    signing: Option<Signatures>,
    tickets: TicketSecret,
    recovery: Option<Logs>,
    topics: Topics,
    presence: Option<Attendance>,
    authorize: bool,
    subscribe_on_connect: Vec<String>,
    max_subscriptions: usize,
    max_globs: usize,
    topic_policies: Vec<TopicPolicy>,
    envelope: bool,
    mode: EngineMode,
    shards: Option<usize>,
    log_level: Option<LogLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    algorithm: Algorithm,
    /// Of HS256.
    secret: Option<String>,
    previous_secret: Option<String>,
    /// Of the others: one JSON Web Key.
    public_key: Option<String>,
    /// Of the others: a set of them. Absent with the two above: it is yet to come.
    jwks: Option<String>,
    key_id: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_seconds: u64,
    cookie_name: String,
    query_parameter: bool,
}

impl Jwt {
    fn read(self) -> Result<JwtConfig> {
        let Self { algorithm, key_id, .. } = self;
        let invalid = |option: &str, error| invalid(&format!("jwt.{option}"), error);
        let previous = self.previous_secret.as_deref().map(str::as_bytes);
        if let Some(previous) = previous {
            check_secret(previous).map_err(|error| invalid("previousSecret", error))?;
        }
        let (option, keys) = if let Some(secret) = &self.secret {
            ("secret", Some(Keys::of_secret(secret.as_bytes(), key_id, previous)))
        } else if let Some(jwk) = &self.public_key {
            ("publicKey", Some(Keys::of_public(jwk, algorithm, key_id)))
        } else {
            ("jwks", self.jwks.as_ref().map(|set| Keys::of_set(set, algorithm)))
        };
        Ok(JwtConfig {
            algorithm,
            keys: keys.transpose().map_err(|error| invalid(option, error))?,
            may_renew: option == "jwks",
            issuer: self.issuer,
            audience: self.audience,
            leeway_seconds: self.leeway_seconds,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Expiring {
    Off,
    Native,
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Logs {
    slots: usize,
    ttl_seconds: u64,
    max_messages: usize,
    budget_bytes: usize,
    topics: Vec<String>,
}

impl From<Logs> for Recovery {
    fn from(logs: Logs) -> Self {
        let Logs { slots, ttl_seconds, max_messages, budget_bytes, topics } = logs;
        Self { slots, ttl_ms: ttl_seconds * 1_000, max_messages, budget_bytes, topics }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Policy {
    Replace,
    Refuse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum EngineMode {
    App,
    Echo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RateLimit {
    per_second: u32,
    burst: u32,
}

impl RateLimit {
    fn read(self) -> Rate {
        Rate { per_second: self.per_second, burst: self.burst }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Outbound {
    max_messages: usize,
    max_bytes: usize,
    slow_timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Inbound {
    max_bytes: usize,
    max_bytes_per_connection: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deflation {
    threshold_bytes: usize,
    level: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PerMessageDeflate {
    server_context_takeover: bool,
    client_context_takeover: bool,
    server_max_window_bits: u8,
    client_max_window_bits: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Signatures {
    keys: Vec<NamedSecret>,
    types: Vec<String>,
    require: Required,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamedSecret {
    kid: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Required {
    Of(bool),
    Named(Dialects),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Dialects {
    All,
}

impl Signatures {
    fn read(self) -> Result<Signing> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (place, NamedSecret { kid, secret }) in self.keys.into_iter().enumerate() {
            let option = |error| invalid(&format!("signing.keys[{place}]"), error);
            keys.push(SigningKey::new(kid, secret.as_bytes()).map_err(option)?);
        }
        let required = match self.require {
            Required::Of(false) => Requirement::Nobody,
            Required::Of(true) => Requirement::V2,
            Required::Named(Dialects::All) => Requirement::Everyone,
        };
        Ok(Signing::new(keys, self.types, required))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TicketSecret {
    secret: Option<String>,
    resume: bool,
}

impl TicketSecret {
    fn read(self) -> Result<Tickets> {
        let key = self.secret.map(|secret| TicketKey::new(secret.as_bytes()));
        Ok(Tickets::new(key.transpose().map_err(|error| invalid("tickets.secret", error))?))
    }
}

fn invalid(option: &str, error: impl std::fmt::Display) -> napi::Error {
    coded("WSE_OPTION_INVALID", &format!("option {option}: {error}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Topics {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Topics {
    fn read(self) -> Rules {
        Rules { allow: self.allow, deny: self.deny }
    }
}

/// Reads the rules of topics alone.
pub fn read_rules(json: &str) -> Result<Rules> {
    Ok(parse::<Topics>(json)?.read())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attendance {
    max_data_bytes: usize,
    max_members: usize,
}

/// Reads the options of tokens alone.
pub fn read_jwt(json: &str) -> Result<JwtConfig> {
    parse::<Jwt>(json)?.read()
}

fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T> {
    // Not what serde says of it, which would quote secrets.
    serde_json::from_str(json)
        .map_err(|error| coded("WSE_OPTION_INVALID", &format!("the options: {}", Place::of(&error))))
}

/// Reads the options.
pub fn read(json: &str) -> Result<Config> {
    let options: Options = parse(json)?;
    let auth = match (options.jwt, options.authenticate) {
        (Some(mut jwt), _) => {
            let (cookie_name, is_in_query) = (std::mem::take(&mut jwt.cookie_name), jwt.query_parameter);
            Auth::Jwt(Box::new(Tokens { cookie_name, is_in_query, verifier: Verifier::new(jwt.read()?) }))
        }
        (None, true) => Auth::Hook,
        (None, false) => Auth::Anonymous,
    };
    let compression =
        options.compression.map(|it| Compression { threshold_bytes: it.threshold_bytes, level: it.level });
    let policies = policies::read(options.topic_policies);
    let recovery = options.recovery.map(Recovery::from);
    // Every topic is the default, which nobody has named.
    let kept = recovery.as_ref().filter(|recovery| recovery.topics != ["*"]);
    if let Some(place) = kept.and_then(|recovery| policies.contradicting(&recovery.topics)) {
        let message =
            format!("options recovery.topics and topicPolicies[{place}]: what it leaves out has no log");
        return Err(coded("WSE_OPTION_INVALID", &message));
    }
    Ok(Config {
        path: options.path,
        auth,
        token_expiry: match options.token_expiry {
            Expiring::Off => TokenExpiry::Off,
            Expiring::Native => TokenExpiry::Native,
            Expiring::All => TokenExpiry::All,
        },
        allowed_origins: options.allowed_origins,
        trusted_proxies: options.trust_proxy,
        max_connections: options.max_connections,
        admission: options.admission.map(RateLimit::read),
        max_connections_per_user: options.max_connections_per_user,
        connection_limit_policy: match options.connection_limit_policy {
            Policy::Replace => ConnectionLimitPolicy::Replace,
            Policy::Refuse => ConnectionLimitPolicy::Refuse,
        },
        max_connection_age_ms: options.max_connection_age_ms,
        handshake_timeout_ms: options.handshake_timeout_ms,
        max_handshakes: options.max_handshakes,
        max_handshakes_per_address: options.max_handshakes_per_address,
        heartbeat: Heartbeat {
            interval_ms: options.heartbeat_interval_ms,
            idle_timeout_ms: options.idle_timeout_ms,
        },
        rate: options.rate_limit.map(RateLimit::read),
        frame: FrameLimits {
            max_message_bytes: options.max_message_bytes,
            max_fragments: options.max_fragments,
        },
        outbound: OutboundLimits {
            max_messages: options.outbound.max_messages,
            max_bytes: options.outbound.max_bytes,
            slow_timeout_ms: options.outbound.slow_timeout_ms,
        },
        inbound: InboundLimits {
            max_bytes: options.inbound.max_bytes,
            max_bytes_per_connection: options.inbound.max_bytes_per_connection,
        },
        memory_budget_bytes: options.memory_budget_bytes,
        compression,
        deflate: options.per_message_deflate.map(|deflate| Deflate {
            terms: Terms {
                server_keeps_window: deflate.server_context_takeover,
                client_keeps_window: deflate.client_context_takeover,
                server_window_bits: deflate.server_max_window_bits,
                client_window_bits: deflate.client_max_window_bits,
            },
            compression: compression.unwrap_or_default(),
        }),
        signing: options.signing.map(Signatures::read).transpose()?,
        resume: options.tickets.resume,
        tickets: options.tickets.read()?,
        recovery,
        policies: Arc::new(policies),
        presence: options.presence.map(|presence| PresenceLimits {
            max_data_bytes: presence.max_data_bytes,
            max_members: presence.max_members,
        }),
        topics: options.topics.read(),
        authorize: options.authorize,
        subscribe_on_connect: options.subscribe_on_connect,
        max_subscriptions: options.max_subscriptions,
        max_globs: options.max_globs,
        envelope: options.envelope,
        mode: match options.mode {
            EngineMode::App => Mode::App,
            EngineMode::Echo => Mode::Echo,
        },
        shards: options.shards.unwrap_or_else(|| Config::default().shards),
        log: options.log_level.map(|level| match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        }),
    })
}
