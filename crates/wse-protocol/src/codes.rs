//! The codes that a client sees: names in `error` messages, and numbers in Close frames.
//!
//! Owns what each one means for the connection and for trying again. Never the wording of a message.
//! `spec/codes.json` is the list; a test holds the two together.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $close:expr, $retryable:literal;)*) => {
        /// A code of an `error` message.
        ///
        /// Wording may change in any release, codes do not: clients match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The number in the Close frame that follows, or `None` when the connection goes on.
            pub const fn close_code(self) -> Option<u16> {
                match self {
                    $(Self::$variant => $close,)*
                }
            }

            /// Whether the same request can succeed later without a change by its author.
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$variant => $retryable,)*
                }
            }
        }
    };
}

codes! {
    /// The connection brought no token.
    AuthRequired = "AUTH_REQUIRED", Some(close::UNAUTHENTICATED), false;
    /// The token was refused; never says why.
    AuthFailed = "AUTH_FAILED", Some(close::UNAUTHENTICATED), false;
    /// The token was good once; the client should fetch another and reconnect.
    AuthExpired = "AUTH_EXPIRED", Some(close::UNAUTHENTICATED), true;
    /// The user has as many connections as one may have.
    ConnectionLimit = "CONNECTION_LIMIT", Some(close::RATE), true;
    /// A newer connection of the same user took this one's place.
    ConnectionReplaced = "CONNECTION_REPLACED", Some(close::NOT_ALLOWED), false;
    /// A publisher's object names a member that only the server may say.
    ReservedMember = "RESERVED_MEMBER", None, false;
    /// The server is over its memory budget or its connection limit.
    Overloaded = "OVERLOADED", Some(close::OVERLOAD), true;
    /// The client's public key could not be used; the connection goes on in plaintext.
    KeyExchangeFailed = "KEY_EXCHANGE_FAILED", None, true;
    /// An encrypted frame could not be opened.
    DecryptionFailed = "DECRYPTION_FAILED", Some(close::PROTOCOL), true;
    /// The connection sends faster than it may; it is closed only when that goes on.
    RateLimited = "RATE_LIMITED", Some(close::RATE), true;
    /// As above, from the application.
    RateLimitExceeded = "RATE_LIMIT_EXCEEDED", Some(close::RATE), true;
    /// A message over the size that the receiver accepts.
    MessageTooLarge = "MESSAGE_TOO_LARGE", Some(close::TOO_LARGE), false;
    /// A message that could not be understood.
    InvalidMessage = "INVALID_MESSAGE", None, false;
    /// A subscription request without topics.
    InvalidSubscription = "INVALID_SUBSCRIPTION", None, false;
    /// Some topics of a request were refused; `details.topics` names them.
    SubscriptionFailed = "SUBSCRIPTION_FAILED", None, false;
    /// A subscription request with another action than subscribe or unsubscribe.
    InvalidAction = "INVALID_ACTION", None, false;
    /// Presence data over its limit; the member is not tracked.
    PresenceTooLarge = "PRESENCE_TOO_LARGE", None, false;
    /// A handler of the application failed.
    HandlerError = "HANDLER_ERROR", None, true;
    /// A service behind the application is not asked for the moment.
    CircuitBreakerOpen = "CIRCUIT_BREAKER_OPEN", None, true;
    /// The application takes this message only on an encrypted connection.
    EncryptionRequired = "ENCRYPTION_REQUIRED", None, false;
    /// A snapshot could not be loaded.
    SnapshotFailed = "SNAPSHOT_FAILED", None, true;
    /// A message that breaks the protocol.
    ProtocolError = "PROTOCOL_ERROR", Some(close::PROTOCOL), false;
    /// A fault of the server.
    ServerError = "SERVER_ERROR", Some(close::FAULT), true;
    /// The server could not set the connection up.
    InitError = "INIT_ERROR", Some(close::FAULT), true;
}

/// Close codes that the server sends. 1000 and 1001 only when the client should not come back:
/// existing clients stop for good on them, as they do on 4401 and 4403.
pub mod close {
    /// The connection did what it was made for.
    pub const NORMAL: u16 = 1000;
    /// The server goes away for good.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke RFC 6455.
    pub const PROTOCOL: u16 = 1002;
    /// A kind of data that the endpoint does not take.
    pub const UNSUPPORTED: u16 = 1003;
    /// Data that is not what its frame says: text that is not UTF-8.
    pub const INVALID_DATA: u16 = 1007;
    /// A policy of the server, where no code below says it better.
    pub const POLICY: u16 = 1008;
    /// A message over the limit.
    pub const TOO_LARGE: u16 = 1009;
    /// A fault of the server.
    pub const FAULT: u16 = 1011;
    /// The server restarts; come back.
    pub const RESTART: u16 = 1012;
    /// The server is overloaded; come back later.
    pub const OVERLOAD: u16 = 1013;
    /// The connection was drained: the same service is reachable elsewhere, at once.
    pub const DRAINED: u16 = 4300;
    /// Authentication; clients give up.
    pub const UNAUTHENTICATED: u16 = 4401;
    /// Not allowed, or replaced; clients give up.
    pub const NOT_ALLOWED: u16 = 4403;
    /// The connection was silent for longer than the idle limit.
    pub const IDLE: u16 = 4408;
    /// Too fast, or too many connections.
    pub const RATE: u16 = 4429;
    /// The connection did not take what was sent to it.
    pub const SLOW: u16 = 4503;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wire section of the catalogue as (name, close code, retryable).
    fn catalogue() -> Vec<(String, Option<u64>, bool)> {
        let json: serde_json::Value =
            serde_json::from_str(include_str!("../../../spec/codes.json")).expect("the catalogue is JSON");
        let entries = json["wire"].as_array().expect("it has a wire section");
        entries
            .iter()
            .map(|entry| {
                assert!(matches!(entry["sent_by"].as_str(), Some("server" | "application" | "later")));
                (
                    entry["code"].as_str().expect("a name").to_owned(),
                    entry["close"].as_u64(),
                    entry["retryable"].as_bool().expect("a verdict"),
                )
            })
            .collect()
    }

    #[test]
    fn every_wire_code_of_the_catalogue_exists_here_with_the_same_meaning_and_no_other_does() {
        let here: Vec<_> = Code::ALL
            .iter()
            .map(|code| (code.as_str().to_owned(), code.close_code().map(u64::from), code.is_retryable()))
            .collect();
        assert_eq!(here, catalogue());
    }
}
