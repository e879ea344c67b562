//! What can go wrong between an application and its engine.

use crate::keys::KeyError;
use std::io;
use wse_protocol::envelope::EnvelopeError;

/// A failed call. Match on [`EngineError::code`]; wording may change in any release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A shard's thread or its poll could not be made.
    #[error("cannot start the engine: {0}")]
    Start(#[source] io::Error),
    /// A handed-over socket could not be taken.
    #[error("cannot adopt the socket: {0}")]
    Adopt(#[source] io::Error),
    /// A certificate or its key is of no use.
    #[error("{0}")]
    Tls(String),
    /// The engine was closed.
    #[error("the server is closed")]
    Closed,
    /// The message is larger than a frame may be.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size in the envelope.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The topic's name is not one.
    #[error("{0}")]
    Topic(#[from] wse_protocol::topic::TopicError),
    /// The message cannot become an envelope.
    #[error("{0}")]
    Envelope(#[from] EnvelopeError),
    /// A publication that is kept has no canonical form, so that it cannot be signed.
    #[error("the message cannot be signed: {0}")]
    Unsigned(#[source] wse_protocol::sign::SignError),
    /// Only a log remembers keys of publications.
    #[error(
        "only what has a place in a log has an idempotency key: an object, and a topic with a log (option recovery)"
    )]
    Unlogged,
    /// What is asked for cannot be together with a log.
    #[error(
        "the topic has a log: name others in the option recovery.topics, or it in topicPolicies with recovery: false"
    )]
    Logged,
    /// The keys that check tokens are of no use.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The key or the claims of a token are of no use.
    #[error("{0}")]
    Token(String),
}

impl EngineError {
    /// The stable name of the fault (`spec/codes.json`, section `api`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "WSE_LISTEN_FAILED",
            Self::Start(_) => "WSE_START_FAILED",
            Self::Adopt(_) => "WSE_ADOPT_FAILED",
            Self::Tls(_) => "WSE_TLS_INVALID",
            Self::Closed => "WSE_SERVER_CLOSED",
            Self::TooLarge { .. } => "WSE_MESSAGE_TOO_LARGE",
            Self::Topic(_) => "WSE_TOPIC_INVALID",
            Self::Envelope(EnvelopeError::ReservedMember(_) | EnvelopeError::ReservedType(_)) => {
                "WSE_RESERVED_MEMBER"
            }
            Self::Envelope(_) | Self::Unsigned(_) => "WSE_MESSAGE_INVALID",
            Self::Logged => "WSE_TOPIC_LOGGED",
            Self::Unlogged => "WSE_TOPIC_UNLOGGED",
            Self::Keys(_) => "WSE_JWKS_FAILED",
            Self::Token(_) => "WSE_TOKEN_INVALID",
        }
    }
}
