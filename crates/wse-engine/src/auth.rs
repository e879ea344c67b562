//! How it is known who is connecting (PROTOCOL §3).

use crate::expiry;
use crate::jwt::Verifier;
use serde_json::Value;
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

/// Clock skew that the claims of the application are forgiven, in milliseconds: the default of tokens.
const LEEWAY_MS: u64 = 30_000;

impl Auth {
    /// Clock skew that the end of a token is forgiven, in milliseconds.
    pub fn leeway_ms(&self) -> u64 {
        match self {
            Self::Jwt(tokens) => tokens.verifier.leeway_ms(),
            Self::Anonymous | Self::Hook => LEEWAY_MS,
        }
    }

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
    /// What `exp` of the claims says, in Unix milliseconds; `None`: for ever.
    pub expires: Option<u64>,
}

impl Identity {
    /// Nobody that is known.
    pub fn anonymous() -> Self {
        Self { user_id: None, claims: "{}".into(), expires: None }
    }

    /// Who the application says it is. `exp` of its claims counts as that of a token.
    pub fn decided(user_id: Option<String>, claims: String) -> Self {
        let exp = serde_json::from_str::<Value>(&claims).ok().and_then(|claims| claims["exp"].as_f64());
        Self { user_id, claims, expires: exp.map(expiry::moment) }
    }

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
            let identity = Identity::decided(None, claims.into());
            assert_eq!(identity.is_debugger(), expected, "{claims}");
        }
    }
}
