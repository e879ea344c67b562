//! How it is known who is connecting (PROTOCOL §3).

use crate::jwt::Verifier;

/// How connections are told apart.
#[derive(Debug)]
pub enum Auth {
    /// Everyone may connect, and nobody has a user id.
    Anonymous,
    /// A JSON Web Token.
    Jwt(Box<Tokens>),
    /// The application decides, see [`crate::Reply::Authenticate`].
    Hook,
}

impl Auth {
    /// Whether it can be told yet: tokens cannot be checked before there are keys.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Jwt(tokens) => tokens.verifier.has_keys(),
            Self::Anonymous | Self::Hook => true,
        }
    }
}

/// Where a request carries its token beside header and subprotocol, and what checks it.
#[derive(Debug)]
pub struct Tokens {
    /// The cookie that carries the token.
    pub cookie_name: String,
    /// Whether the query parameter `token` carries one too. It ends up in logs.
    pub is_in_query: bool,
    /// What checks it.
    pub verifier: Verifier,
}

/// Who a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user; `None`: anonymous.
    pub user_id: Option<String>,
    /// Claims as a JSON object.
    pub claims: String,
}

/// What is decided about a connection before its request is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing.
    #[default]
    Open,
    /// The host knows who it is.
    Granted(Identity),
    /// The host does not let it in.
    Refused,
}
