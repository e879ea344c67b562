//! Names of topics: which are valid, and whose they are.
//!
//! Never knows who subscribed to what, which is the engine's registry, nor who may, which is the rules'.

pub use crate::error::TopicError;
use crate::glob::is_glob;

/// The longest topic, in bytes.
pub const MAX_LEN: usize = 255;

/// Checks that `topic` is 1 to 255 bytes without control characters. Case counts.
pub fn validate(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_LEN {
        return Err(TopicError::TooLong { len: topic.len() });
    }
    match topic.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, _)) => Err(TopicError::ControlCharacter { at }),
        None => Ok(()),
    }
}

/// Checks that something can be published to `topic`: a valid name, and no glob.
pub fn validate_name(topic: &str) -> Result<(), TopicError> {
    validate(topic)?;
    if is_glob(topic) { Err(TopicError::Glob) } else { Ok(()) }
}

/// Whether `id` can be a part of a topic: it is not empty and has no `:`, `*`, `?` or control character, with which
/// it could name somebody else's.
pub fn is_safe_id(id: &str) -> bool {
    let is_safe = |character: char| !matches!(character, ':' | '*' | '?') && !character.is_control();
    !id.is_empty() && id.chars().all(is_safe)
}

/// Whether `topic` is the user's own: `user:{id}`, or `user:{id}:` and more, and everything that it matches when it is
/// a glob. Only a safe id has any (see [`is_safe_id`]).
pub fn own_topic(user: &str, topic: &str) -> bool {
    is_safe_id(user)
        && topic
            .strip_prefix("user:")
            .and_then(|rest| rest.strip_prefix(user))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}
