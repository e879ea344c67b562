//! How it is known who is connecting (PROTOCOL §3).

use crate::jwt::Verifier;
use wse_protocol::scan;

/// The claim of who may look for a fault.
const DEBUG_CLAIM: &str = "wse_debug";

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

impl Identity {
    /// Whether its claim `wse_debug` is true: it may ask how the server does inside (PROTOCOL §7).
    pub fn is_debugger(&self) -> bool {
        // Hardly any claims name it, and those that do not are not read for it.
        let mut is_true = false;
        let read = self.claims.contains(DEBUG_CLAIM).then(|| {
            scan::members(&self.claims, &mut |member| {
                if member.key == DEBUG_CLAIM {
                    is_true = member.value == "true";
                }
            })
        });
        is_true && read == Some(Ok(()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debugger_is_who_the_claim_says_and_nobody_else() {
        for (claims, expected) in [
            (r#"{"wse_debug":true}"#, true),
            (r#"{"sub":"ann", "wse_debug" : true }"#, true),
            (r#"{"wse_debug":true,"wse_debug":false}"#, false),
            (r#"{"wse_debug":"true"}"#, false),
            (r#"{"wse_debug":1}"#, false),
            (r#"{"a":{"wse_debug":true}}"#, false),
            (r#"{"a":"wse_debug"}"#, false),
            (r#"{"wse_debug":true"#, false),
            ("{}", false),
        ] {
            let identity = Identity { user_id: None, claims: claims.into() };
            assert_eq!(identity.is_debugger(), expected, "{claims}");
        }
    }
}
