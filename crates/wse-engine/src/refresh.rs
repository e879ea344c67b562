//! The token of a live connection: its end, and another one in its place (PROTOCOL §3).

use crate::auth::{Auth, Identity};
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::expiry::{self, Due, TokenExpiry};
use crate::jwt::TokenError;
use crate::log::{Event, Fault};
use crate::metrics::count;
use crate::resume::Pass;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use wse_protocol::codes::{Code, close};
use wse_protocol::envelope::{Dialect, Timestamp};
use wse_protocol::message::{AuthExpiring, AuthRefreshed, Error};

/// When a client may ask again whose token names a key that is being looked for.
const KEYS_AFTER: Duration = Duration::from_secs(1);

/// A client's wish to go on with another token.
#[derive(Deserialize)]
struct AuthRefresh {
    token: String,
}

impl Core {
    /// Takes over what is kept of the claims that an open connection has.
    pub(crate) fn take_claims<S>(&self, conn: &mut Connection<S>, identity: &Identity) {
        let leeway_ms = self.shared.config.auth.leeway_ms();
        let at = identity.expires.map(|expires| expiry::end(expires, leeway_ms, self.now.unix_ms));
        conn.is_debugger = identity.is_debugger();
        conn.expiry.renew(at);
        self.shared.desks[self.index].seats.set_expires(conn.key, at);
        self.take_grants(conn, identity);
    }

    /// What is due because of the connection's token.
    pub(crate) fn due_of_token<S>(&self, conn: &Connection<S>) -> Due {
        match self.shared.config.token_expiry {
            TokenExpiry::Off => Due::Never,
            TokenExpiry::Native if self.is_v1(conn) => Due::Never,
            TokenExpiry::Native | TokenExpiry::All => conn.expiry.due(self.now.unix_ms),
        }
    }

    /// Whether it speaks v1. A plain connection speaks neither dialect, whatever its request names.
    pub(crate) fn is_v1<S>(&self, conn: &Connection<S>) -> bool {
        self.shared.config.envelope && conn.speech.dialect() == Dialect::V1
    }

    /// Tells the client that the end is near, unless it speaks v1, which has no such message.
    pub(crate) fn tell_expiry<S>(&mut self, conn: &mut Connection<S>) {
        conn.expiry.tell();
        if let Some(at) = conn.expiry.at().filter(|_| !self.is_v1(conn)) {
            self.say(conn, &AuthExpiring { expires_at: Timestamp(at) });
        }
    }

    /// Ends a connection with its token.
    pub(crate) fn expire<S: Socket>(&mut self, conn: &mut Connection<S>) {
        count(&self.shared.metrics.expired_closed_total, 1);
        self.close_for(conn, (Code::AuthExpired, ""), close::UNAUTHENTICATED, Code::AuthExpired.as_str());
    }

    /// Answers `auth_refresh`: another token of the same user takes the place of the one before.
    pub(crate) fn refresh<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) {
        let shared = Arc::clone(&self.shared);
        let Auth::Jwt(tokens) = &shared.config.auth else {
            return self.say_error(conn, Code::InvalidMessage, "no tokens are checked here");
        };
        let Some(AuthRefresh { token }) = payload.and_then(|json| serde_json::from_str(json).ok()) else {
            return self.say_error(conn, Code::InvalidMessage, "p.token is the token, a text");
        };
        if !conn.expiry.may_try(self.now.millis) {
            return self.say_error(conn, Code::RateLimited, "too many tokens: try again in a second");
        }
        match tokens.verifier.verify(&token, self.now.unix_ms) {
            Ok(identity) if identity.user_id.as_deref() == conn.user().map(|user| &**user) => {
                self.take_claims(conn, &identity);
                self.take_pass(conn, &identity.claims, Pass::of_login(self.timestamp()));
                self.schedule(conn);
                let expires_at = Timestamp(conn.expiry.at().unwrap_or(Timestamp::LAST.0));
                self.say(conn, &AuthRefreshed { expires_at });
                self.review_claims(conn);
            }
            Err(TokenError::UnknownKey) if tokens.verifier.may_renew() => {
                shared.want_key();
                self.refuse_token(conn, KEYS_AFTER);
            }
            Ok(_) | Err(_) => {
                if conn.expiry.fail() {
                    count(&shared.metrics.auth_failed_total, 1);
                    let code = Code::AuthFailed;
                    self.close_for(conn, (code, ""), close::UNAUTHENTICATED, code.as_str());
                } else {
                    self.refuse_token(conn, Duration::ZERO);
                }
            }
        }
    }

    /// Says that a token was refused, and that the connection goes on with the one that it has.
    fn refuse_token<S>(&mut self, conn: &mut Connection<S>, retry_after: Duration) {
        count(&self.shared.metrics.auth_failed_total, 1);
        self.note(conn, Event::Fault(Fault::Wire(Code::AuthFailed)));
        let error = Error::new(Code::AuthFailed, "the token was not accepted", self.timestamp());
        self.say(conn, &error.with_recovery().with_retry_after(retry_after));
    }
}
