//! What an opening request carries to say who it comes from (PROTOCOL §2).
//!
//! Knows where a token and a resume ticket may stand. Never looks into either.

use crate::auth::Auth;
use crate::fields::Fields;
use crate::query;

/// What a subprotocol that carries a token begins with.
const TOKEN_PROTOCOL: &str = "wse.token.";
/// The same of a resume ticket.
const TICKET_PROTOCOL: &str = "wse.ticket.";

/// The secrets of a request.
pub(super) struct Credentials {
    /// The token, from cookie, header, subprotocol or query, in this order.
    pub token: Option<String>,
    /// The resume ticket, from subprotocol, or from the query where a token may be there.
    pub ticket: Option<String>,
    /// A cookie speaks for it, which a browser adds whatever page asks.
    pub has_cookie: bool,
    /// A subprotocol carries one of them.
    pub is_offered: bool,
}

impl Credentials {
    /// `wishes` is the part of the `query` that is not the application's own.
    pub fn of_request(fields: &Fields<'_>, query: &str, wishes: &str, auth: &Auth) -> Self {
        let tokens = match auth {
            Auth::Jwt(tokens) => Some(tokens),
            Auth::Hook | Auth::Anonymous => None,
        };
        let cookie = tokens.and_then(|tokens| fields.cookie(&tokens.cookie_name));
        let carried = |prefix| fields.subprotocols().find_map(|protocol| protocol.strip_prefix(prefix));
        let (from_protocol, ticket) = (carried(TOKEN_PROTOCOL), carried(TICKET_PROTOCOL));
        let bearer = || fields.get("authorization").and_then(bearer);
        let in_head = cookie.or_else(bearer).or(from_protocol).map(str::to_owned);
        let is_in_query = tokens.is_some_and(|tokens| tokens.is_in_query);
        let in_query =
            |query, name| query::values(query, name).find(|value| is_in_query && !value.is_empty());
        Self {
            token: in_head.or_else(|| in_query(query, "token")).filter(|_| tokens.is_some()),
            ticket: ticket.map(str::to_owned).or_else(|| in_query(wishes, "ticket")),
            has_cookie: cookie.is_some() || tokens.is_none() && fields.has("cookie"),
            is_offered: from_protocol.is_some() || ticket.is_some(),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}
