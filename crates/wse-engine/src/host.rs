//! What an engine needs from the program that it lives in, and what it answers to it.

use crate::id::{ConnectionId, ConnectionKey};
use crate::recovery::Position;
use std::sync::Arc;
use wse_protocol::sign::SignError;

/// The program around an engine.
pub trait Host: Send + Sync {
    /// Something waits: replies, or events that were waited for. Called from a shard, once for each
    /// [`crate::Engine::wait`] and each [`crate::Engine::take_replies`]; it must not block.
    fn wake(&self);

    /// Most connections of a shard have left: now the allocator may return what it held for them.
    ///
    /// Called from the shard, once for each quarter that its connections shrink to; it may take milliseconds.
    fn trim_memory(&self) {}
}

/// Where a connection stands in a topic that it has come to hold (PROTOCOL §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The topic.
    pub topic: String,
    /// The last publication that it has got, or will not get; `None`: the topic has no log.
    pub position: Option<Position>,
    /// Whether it has everything behind the position that was named; `None`: none was.
    pub recovered: Option<bool>,
    /// Publications that were sent again; `None`: none were asked for.
    pub count: Option<u64>,
}

/// An answer or a question for the host, taken with [`crate::Engine::take_replies`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A subscription was worked on.
    Subscribed {
        /// The request's number.
        request: u32,
        /// Topics that were refused; the connection holds all others that were asked for.
        refused: Vec<String>,
        /// Where it stands in those that have a log, or of which it asked for more than what comes.
        stands: Vec<Stand>,
    },
    /// The data of a connection's user was set.
    PresenceUpdated {
        /// The request's number.
        request: u32,
        /// In how many topics the connection is present.
        topics: usize,
    },
    /// There is room for those who were told that there was none, see [`crate::publishing::Publishing::waits`].
    Room,
    /// Who is this? To be answered with [`crate::Engine::decide`] within the handshake time.
    Authenticate {
        /// The connection that waits.
        key: ConnectionKey,
        /// Its request as JSON: `headers`, `url`, `remoteAddress`.
        request: String,
    },
    /// May this connection have these topics, which the rules neither grant nor deny? To be answered, always, with
    /// [`crate::Engine::authorized`]: its requests for topics wait.
    Authorize {
        /// The connection that waits.
        key: ConnectionKey,
        /// Its id.
        id: ConnectionId,
        /// The number of the question.
        number: u32,
        /// Its user; `None`: anonymous.
        user: Option<Arc<str>>,
        /// Its claims as JSON.
        claims: Arc<str>,
        /// Topics and globs, each once.
        topics: Vec<String>,
    },
    /// A connection of `user` has other claims: answers to [`Reply::Authorize`] may be different from now on.
    ClaimsChanged {
        /// The user.
        user: Arc<str>,
    },
    /// Tokens ask for keys that the verifier does not have: a newer set may have them, see
    /// [`crate::Engine::set_keys`]. To be answered with [`crate::Engine::looked`]. Once for each time that the replies
    /// are taken, however many tokens there were.
    UnknownKey {
        /// The number of the look that they wait for.
        look: u32,
    },
    /// A publication of a type that is signed has no canonical form, so that nobody who speaks v2 got it; why. The
    /// latest since the replies were taken, however many there were.
    Unsigned(SignError),
    /// A shard has sent its connections away; the engine is drained when all have.
    Drained,
    /// A shard has ended; the engine is closed when all have.
    Closed,
}
