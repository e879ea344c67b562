//! Who is there: what is said of the members of a topic (PROTOCOL §10).
//!
//! All but the answer leaves like a publication, see [`super::write_publication`].

use serde::Serialize;
use serde_json::value::RawValue;

use super::ServerMessage;

server_messages! {
    PresenceResponse<'a> = "presence_response",
}

/// What happened to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceKind {
    /// The user's first connection came.
    Join,
    /// The user's last connection went.
    Leave,
    /// The user's data is another one.
    Update,
}

impl PresenceKind {
    /// The type of the message that says so.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "presence_join",
            Self::Leave => "presence_leave",
            Self::Update => "presence_update",
        }
    }
}

/// The payload of a message of a [`PresenceKind`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PresenceChange<'a> {
    /// Who.
    pub user_id: &'a str,
    /// What is known of the user; of one who left, what was known last.
    pub data: &'a RawValue,
    /// Where; version 1 does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<&'a str>,
}

/// One who is there.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PresenceMember<'a> {
    /// Who.
    pub user_id: &'a str,
    /// What is known of the user.
    pub data: &'a RawValue,
}

/// What happened to the members of a large topic within a second, each user named once.
#[derive(Debug, Clone, Serialize)]
pub struct PresenceDelta<'a> {
    /// Where.
    pub topic: &'a str,
    /// Who came.
    pub joined: Vec<PresenceMember<'a>>,
    /// Who went.
    pub left: Vec<&'a str>,
    /// Whose data is another one.
    pub updated: Vec<PresenceMember<'a>>,
    /// How many are there.
    pub total: usize,
}

impl PresenceDelta<'_> {
    /// The type of the message.
    pub const TYPE: &'static str = "presence_delta";
}

/// Messages in one, for clients of version 1: each is a whole envelope.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// The messages.
    pub messages: Vec<Box<RawValue>>,
}

impl Batch {
    /// The type of the message.
    pub const TYPE: &'static str = "batch";
}

/// The answer to `presence_request`: some of those who are there, in the order of their ids.
#[derive(Debug, Clone, Serialize)]
pub struct PresenceResponse<'a> {
    /// Where.
    pub topic: &'a str,
    /// Who.
    pub members: Vec<PresenceMember<'a>>,
    /// What the next request has as its `after`; `None`: that was all.
    pub next: Option<&'a str>,
    /// How many are there.
    pub total: usize,
}
