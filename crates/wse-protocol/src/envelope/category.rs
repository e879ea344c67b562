//! The three kinds of messages that a client tells apart.

/// What a message means to the state that a client keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// The protocol's own messages.
    Wse,
    /// A whole state, which replaces what the client has.
    Snapshot,
    /// A change to it.
    Update,
}

impl Category {
    /// The letters on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wse => "WSE",
            Self::Snapshot => "S",
            Self::Update => "U",
        }
    }

    pub(crate) fn from_letters(letters: &str) -> Option<Self> {
        [Self::Wse, Self::Snapshot, Self::Update].into_iter().find(|category| category.as_str() == letters)
    }
}

/// The longest type that belongs to the protocol.
const MAX_OWN: usize = 32;

/// The category of a message type whose publisher named none. Case does not count.
pub fn category(kind: &str) -> Category {
    let mut lower = [0; MAX_OWN];
    let own = match lower.get_mut(..kind.len()) {
        Some(lower) => {
            lower.copy_from_slice(kind.as_bytes());
            lower.make_ascii_lowercase();
            &*lower
        }
        None => &[],
    };
    match own {
        b"server_ready"
        | b"server_hello"
        | b"client_hello_ack"
        | b"ping"
        | b"pong"
        | b"heartbeat"
        | b"error"
        | b"gap"
        | b"subscription_update"
        | b"rate_limit_warning"
        | b"presence_join"
        | b"presence_leave"
        | b"presence_update"
        | b"presence_delta"
        | b"presence_response"
        | b"snapshot_complete"
        | b"connection_state_change"
        | b"connection_state_response"
        | b"auth_expiring"
        | b"auth_refreshed"
        | b"server_draining"
        | b"health_check_response"
        | b"metrics_response"
        | b"config_response"
        | b"config_update_response"
        | b"batch_message_result"
        | b"system_status_response"
        | b"debug_response"
        | b"sequence_stats_response"
        | b"encryption_response"
        | b"key_rotation_response" => Category::Wse,
        // Requests of clients, not states.
        b"snapshot_request" | b"request_snapshot" => Category::Update,
        _ if is_snapshot(kind) => Category::Snapshot,
        _ => Category::Update,
    }
}

fn is_snapshot(kind: &str) -> bool {
    const WORD: &[u8] = b"snapshot";
    kind.as_bytes().windows(WORD.len()).any(|window| window.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_category_follows_from_the_type() {
        for (kind, expected) in [
            ("order_update", Category::Update),
            ("position_snapshot", Category::Snapshot),
            ("SNAPSHOT_OF_ALL", Category::Snapshot),
            ("a_type_that_is_longer_than_any_of_ours_and_a_snapshot", Category::Snapshot),
            ("a_type_that_is_longer_than_any_of_ours", Category::Update),
            ("snapshot_complete", Category::Wse),
            ("snapshot_request", Category::Update),
            ("request_snapshot", Category::Update),
            ("PONG", Category::Wse),
            ("Ping", Category::Wse),
            ("presence_join", Category::Wse),
            ("snapsho", Category::Update),
            ("", Category::Update),
        ] {
            assert_eq!(category(kind), expected, "{kind}");
        }
    }
}
