//! What can be wrong with bytes from a connection or with text from a publisher.
//!
//! One enum for each stage whose failures a caller tells apart; each answers its wire code.

use std::fmt;

use crate::codes::{Code, close};

/// A peer that broke RFC 6455, or a limit. The connection cannot go on after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A client MUST mask every frame.
    Unmasked,
    /// RSV bits without an extension that gives them a meaning.
    ReservedBits,
    /// An opcode that RFC 6455 keeps for later: its four bits.
    ReservedOpcode(u8),
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    ControlTooLong,
    /// A length written in more bytes than it needs.
    LengthNotMinimal,
    /// A 64-bit length whose highest bit is set.
    LengthOutOfRange,
    /// A continuation with nothing to continue.
    UnexpectedContinuation,
    /// A new message inside an unfinished one.
    ExpectedContinuation,
    /// Text, or the reason of a Close, that is not UTF-8.
    InvalidUtf8,
    /// A message over the limit, known from the header, before its payload is kept.
    MessageTooLarge,
    /// A message in more frames than the limit, empty ones counted.
    TooManyFragments,
    /// A Close payload of one byte, which is half a code.
    TruncatedCloseCode,
    /// A Close code that no endpoint may send.
    InvalidCloseCode(u16),
}

impl FrameError {
    /// The number for our Close frame: 1002, 1007 or 1009.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 => close::INVALID_DATA,
            Self::MessageTooLarge | Self::TooManyFragments => close::TOO_LARGE,
            _ => close::PROTOCOL,
        }
    }

    /// The wire code that belongs to it, for counters and logs; the peer gets a Close and no `error`.
    pub const fn code(self) -> Code {
        match self {
            Self::InvalidUtf8 => Code::InvalidMessage,
            Self::MessageTooLarge | Self::TooManyFragments => Code::MessageTooLarge,
            _ => Code::ProtocolError,
        }
    }

    /// The words for our Close frame, short enough for any of them.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unmasked => "frame is not masked",
            Self::ReservedBits => "reserved bits are set",
            Self::ReservedOpcode(_) => "reserved opcode",
            Self::FragmentedControl => "control frame is fragmented",
            Self::ControlTooLong => "control frame is too long",
            Self::LengthNotMinimal => "length is not minimal",
            Self::LengthOutOfRange => "length is out of range",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::ExpectedContinuation => "message inside another message",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::MessageTooLarge => "message is too large",
            Self::TooManyFragments => "too many fragments",
            Self::TruncatedCloseCode => "close code is truncated",
            Self::InvalidCloseCode(_) => "close code is not allowed",
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for FrameError {}

/// Text that is not a JSON object, or one that we do not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The text does not begin like an object, whatever else it is.
    #[error("text is not a JSON object")]
    NotAnObject,
    /// The text begins like an object, and breaks the grammar of RFC 8259 at the byte `at`.
    #[error("JSON is malformed at byte {at}")]
    Malformed {
        /// Where the grammar was broken; the text's length when it ends too early.
        at: usize,
    },
    /// More than 128 objects and arrays inside each other.
    #[error("JSON is nested too deeply")]
    TooDeep,
}

impl ScanError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::InvalidMessage
    }
}

/// A request whose payload does not say what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A batch without a list of messages.
    #[error("messages is a list of messages")]
    NoBatch,
    /// A batch of more than 1000 messages.
    #[error("a batch has at most 1000 messages")]
    BatchTooLong,
    /// A priority message without a message.
    #[error("message is an object, or type a text")]
    NoMessage,
    /// A `config_update` whose payload is no object.
    #[error("a config_update is an object of settings")]
    NoSettings,
    /// A `presence_request` that names no topic, or not how to go on.
    #[error("topic is a topic, limit a number from 1 to 1000, after a user id")]
    NoPresence,
    /// A message that has others inside, inside of another one.
    #[error("a batch or priority_message stands in no other one")]
    Nested,
    /// Inside of a message stands something that is none.
    #[error("a message is an object")]
    NotAnObject,
    /// The client may not ask this.
    #[error("this connection may not ask for it")]
    NotAllowed,
}

impl RequestError {
    /// The wire code that belongs to it. What a client may not ask is no different from what nobody understands:
    /// the codes that speak of rights are about the connection as a whole, which goes on.
    pub const fn code(self) -> Code {
        Code::InvalidMessage
    }
}

/// Compressed bytes that were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// What comes out is over a limit. Nothing of it was kept.
    #[error("inflated message is too large")]
    TooLarge,
    /// The bytes are no DEFLATE stream, their checksum is wrong, or they need a dictionary.
    #[error("compressed data is corrupt")]
    Corrupt,
    /// The bytes end before the stream does.
    #[error("compressed data is truncated")]
    Truncated,
    /// Bytes follow the stream.
    #[error("bytes follow the compressed data")]
    TrailingData,
}

impl InflateError {
    /// The number for our Close frame, where the connection ends with it: always under RFC 7692, and for
    /// what is over the limit.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => close::TOO_LARGE,
            _ => close::INVALID_DATA,
        }
    }

    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::TooLarge => Code::MessageTooLarge,
            _ => Code::InvalidMessage,
        }
    }
}

/// MessagePack that has no JSON, or is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MsgpackError {
    /// The message is another value than a map.
    #[error("the message is not a map")]
    NotAMap,
    /// The bytes end before the map does, or cannot hold what a length promises.
    #[error("MessagePack is truncated")]
    Truncated,
    /// Bytes follow the map.
    #[error("bytes follow the map")]
    TrailingData,
    /// More than 64 maps and arrays inside each other.
    #[error("MessagePack is nested too deeply")]
    TooDeep,
    /// The JSON would be over its limit. Nothing of it was kept.
    #[error("the message is too large as JSON")]
    TooLarge,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    InvalidUtf8,
    /// A member whose name is another value than a string.
    #[error("a name is not a string")]
    NameNotText,
    /// A value of an extension type, whose meaning nobody told us.
    #[error("extension type {kind} has no JSON")]
    Extension {
        /// The number of the type.
        kind: i8,
    },
    /// The byte that MessagePack never uses.
    #[error("byte 0xc1 is no value")]
    Reserved,
}

impl MsgpackError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::TooLarge => Code::MessageTooLarge,
            _ => Code::InvalidMessage,
        }
    }
}

/// A name that no topic can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is empty.
    #[error("topic is empty")]
    Empty,
    /// The name has this many bytes; 255 are the most.
    #[error("topic has {len} bytes, over the limit of 255")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The name contains a control character.
    #[error("topic contains a control character at byte {at}")]
    ControlCharacter {
        /// Where it stands.
        at: usize,
    },
    /// It is a glob, which connections may hold and nobody publishes to.
    #[error("topic contains * or ?, which only those who subscribe may use")]
    Glob,
}

impl TopicError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::SubscriptionFailed
    }
}

/// A publisher's object that may not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The object has a member, at its top level, that clients read as the server's stamp.
    #[error("member {0:?} is the server's to set")]
    ReservedMember(&'static str),
    /// The object has a type by which clients take orders from the server alone.
    #[error("a message of type {0:?} is the server's to send")]
    ReservedType(&'static str),
    /// The object is nested too deeply to be read, so it cannot be vouched for.
    #[error("JSON is nested too deeply")]
    TooDeep,
}

impl EnvelopeError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::ReservedMember(_) | Self::ReservedType(_) => Code::ReservedMember,
            Self::TooDeep => Code::InvalidMessage,
        }
    }
}

/// Why two sides have no key in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyExchangeError {
    /// The peer's key is not the padded base64 of 65 bytes.
    #[error("the public key is not the padded base64 of 65 bytes")]
    Encoding,
    /// The peer's key is no uncompressed point of the curve.
    #[error("the public key is not an uncompressed point of P-256")]
    Point,
    /// The source of randomness failed, so there is no key of our own.
    #[error("the source of randomness failed")]
    Randomness,
}

impl KeyExchangeError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::KeyExchangeFailed
    }
}

/// An encrypted message that stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It does not begin with `E:`, or is too short for nonce and tag.
    #[error("the message is no encrypted one")]
    Form,
    /// It was sealed with another key, or changed on its way.
    #[error("the message was sealed with another key, or changed")]
    Tag,
    /// It was opened, and what was inside is not UTF-8.
    #[error("the message does not contain text")]
    NotText,
}

impl OpenError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::Form | Self::Tag => Code::DecryptionFailed,
            Self::NotText => Code::InvalidMessage,
        }
    }
}

/// JSON that has no canonical form, because readers could take it for different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The text is not JSON, or nested too deeply.
    #[error(transparent)]
    Json(#[from] ScanError),
    /// Two members of the object that ends at the byte `at` have one name.
    #[error("a name stands twice in the object that ends at byte {at}")]
    DuplicateName {
        /// The first byte after the object.
        at: usize,
    },
    /// The string at the byte `at` contains half a surrogate pair.
    #[error("the string at byte {at} is not Unicode")]
    NotUnicode {
        /// Where the string begins.
        at: usize,
    },
    /// The number at the byte `at` is beyond a double, or an integer that would lose digits in one.
    #[error("the number at byte {at} does not fit a double")]
    Number {
        /// Where the number begins.
        at: usize,
    },
}

impl CanonicalError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::InvalidMessage
    }
}

/// A key that may not be used to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret has this many bytes; 32 are the least.
    #[error("the secret has {len} bytes, at least 32 are needed")]
    SecretTooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The key's id has this many bytes; 1 to 64 are allowed.
    #[error("the key id has {len} bytes, 1 to 64 are allowed")]
    KeyId {
        /// Its length in bytes.
        len: usize,
    },
}

impl KeyError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::InitError
    }
}

/// An envelope that cannot be signed, or whose signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The envelope has this many bytes; 1 MiB is the most.
    #[error("the envelope has {len} bytes, over the limit of 1 MiB")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The envelope has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// What should be signed already has a `sig`, ours or another's.
    #[error("the envelope has a signature already")]
    Signed,
    /// There is no `sig`, or one of another kind, as existing clients send it.
    #[error("the envelope has no signature of this kind")]
    Unsigned,
    /// The members of `sig` are not what they must be.
    #[error("the signature is malformed")]
    Malformed,
    /// Nobody here has the key that `kid` names.
    #[error("the signature's key is unknown")]
    UnknownKey,
    /// The signature's time is further from ours than the tolerance.
    #[error("the signature's time is {off_by_ms} ms off")]
    Stale {
        /// The distance of the two clocks.
        off_by_ms: u64,
    },
    /// The envelope was changed, or signed with another key of the same id.
    #[error("the signature does not belong to the envelope")]
    Forged,
    /// The nonce was seen before.
    #[error("the signature was seen before")]
    Replayed,
    /// As many nonces are remembered as may be, so this one could not be.
    #[error("too many signatures within their tolerance")]
    WindowFull,
}

impl SignError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::TooLong { .. } => Code::MessageTooLarge,
            Self::WindowFull => Code::Overloaded,
            _ => Code::InvalidMessage,
        }
    }
}

/// A ticket that is worth nothing, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The ticket has, or would have, this many bytes; 8192 are the most.
    #[error("the ticket has {len} bytes, over the limit of 8192")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It is not two parts of base64url with the members of a ticket inside.
    #[error("the ticket is malformed")]
    Malformed,
    /// It was changed, or made with another secret.
    #[error("the ticket was not made with this secret")]
    Forged,
    /// It is good for something else.
    #[error("the ticket is of another type")]
    WrongKind,
    /// The tickets of its user were taken back after it was made.
    #[error("the ticket was revoked")]
    Revoked,
    /// It was good once.
    #[error("the ticket expired {ago_ms} ms ago")]
    Expired {
        /// How long ago.
        ago_ms: u64,
    },
}

impl TicketError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        match self {
            Self::Expired { .. } => Code::AuthExpired,
            _ => Code::AuthFailed,
        }
    }
}

/// A domain event that cannot become an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The event is not a JSON object, or nested too deeply to be read.
    #[error(transparent)]
    Json(#[from] ScanError),
    /// The event has no type to be mapped, or one without a letter or a digit to make a name of.
    #[error("event has no type")]
    NoType,
    /// The type has this many bytes; 255 are the most.
    #[error("type of the event has {len} bytes, over the limit of 255")]
    TypeTooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl TransformError {
    /// The wire code that belongs to it.
    pub const fn code(self) -> Code {
        Code::InvalidMessage
    }
}
