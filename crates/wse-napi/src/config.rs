//! The settings of an engine as the facade sends them: validated there, one JSON text.

use crate::error::{coded, from_engine};
use napi::bindgen_prelude::Result;
use serde::Deserialize;
use wse_engine::auth::{Auth, JwtConfig, Verifier};
use wse_engine::config::{Config, ConnectionLimitPolicy, InboundLimits, OutboundLimits};
use wse_engine::heartbeat::Heartbeat;
use wse_engine::log::Level;
use wse_engine::rate_limit::Rate;
use wse_protocol::frame::FrameLimits;
use wse_protocol::topic::Rules;

/// Options with all defaults filled in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    path: String,
    jwt: Option<Jwt>,
    authenticate: bool,
    allowed_origins: Vec<String>,
    trust_proxy: usize,
    max_connections: usize,
    max_connections_per_user: usize,
    connection_limit_policy: Policy,
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
    topics: Topics,
    envelope: bool,
    shards: Option<usize>,
    log_level: Option<LogLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jwt {
    secret: String,
    issuer: Option<String>,
    audience: Option<String>,
    cookie_name: String,
    leeway_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Policy {
    Replace,
    Refuse,
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
struct Topics {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// Reads the options.
pub fn read(json: &str) -> Result<Config> {
    let options: Options =
        serde_json::from_str(json).map_err(|error| coded("WSE_OPTION_INVALID", &error.to_string()))?;
    let auth = match (options.jwt, options.authenticate) {
        (Some(jwt), _) => {
            let config = JwtConfig {
                secret: jwt.secret.into_bytes(),
                issuer: jwt.issuer,
                audience: jwt.audience,
                cookie_name: jwt.cookie_name,
                leeway_seconds: jwt.leeway_seconds,
            };
            Auth::Jwt(Box::new(Verifier::new(&config).map_err(from_engine)?))
        }
        (None, true) => Auth::Hook,
        (None, false) => Auth::Anonymous,
    };
    Ok(Config {
        path: options.path,
        auth,
        allowed_origins: options.allowed_origins,
        trusted_proxies: options.trust_proxy,
        max_connections: options.max_connections,
        max_connections_per_user: options.max_connections_per_user,
        connection_limit_policy: match options.connection_limit_policy {
            Policy::Replace => ConnectionLimitPolicy::Replace,
            Policy::Refuse => ConnectionLimitPolicy::Refuse,
        },
        handshake_timeout_ms: options.handshake_timeout_ms,
        max_handshakes: options.max_handshakes,
        max_handshakes_per_address: options.max_handshakes_per_address,
        heartbeat: Heartbeat {
            interval_ms: options.heartbeat_interval_ms,
            idle_timeout_ms: options.idle_timeout_ms,
        },
        rate: options.rate_limit.map(|rate| Rate { per_second: rate.per_second, burst: rate.burst }),
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
        topics: Rules { allow: options.topics.allow, deny: options.topics.deny },
        envelope: options.envelope,
        shards: options.shards.unwrap_or_else(|| Config::default().shards),
        log: options.log_level.map(|level| match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        }),
    })
}
