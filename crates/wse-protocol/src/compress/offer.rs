//! What a client's `Sec-WebSocket-Extensions` offers of permessage-deflate, and the answer to it.
//!
//! Owns the parameters of RFC 7692 section 7.1, and nothing of any other extension.

use std::fmt::Write;

use super::Format;

const NAME: &str = "permessage-deflate";

/// The largest window, which holds where nobody names one.
const MAX_WINDOW_BITS: u8 = 15;

/// The smallest window that can be written with.
const MIN_WINDOW_BITS: u8 = 9;

/// How the server wants permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether the server's messages may refer to earlier ones, which takes a deflater for each
    /// connection. Default: no.
    pub server_keeps_window: bool,
    /// The same of the client's messages, and an inflater. Default: no.
    pub client_keeps_window: bool,
    /// The window that the server writes with, 9 to 15. Default: 15.
    pub server_window_bits: u8,
    /// The window that the client may write with, 9 to 15. Default: 15. A client that does not offer to
    /// use less uses 15.
    pub client_window_bits: u8,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            server_keeps_window: false,
            client_keeps_window: false,
            server_window_bits: MAX_WINDOW_BITS,
            client_window_bits: MAX_WINDOW_BITS,
        }
    }
}

/// How a connection has permessage-deflate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The format of what the server sends: for a deflater.
    pub server: Format,
    /// The format of what the client sends: for an inflater.
    pub client: Format,
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    pub response: String,
}

/// The answer to the first offer in `extensions` that can be met; `None` when there is no such offer.
///
/// `extensions` is the value of the header, of several ones all values with commas between. An offer
/// that this server does not understand is no reason to refuse the connection.
pub fn agree(extensions: &str, terms: &Terms) -> Option<Agreement> {
    split(extensions, ',').find_map(|offer| Offer::parse(offer)?.meet(terms))
}

/// The parts of `text` between `separator`s outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    })
    .map(str::trim_ascii)
}

/// One offer of a client.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: Option<()>,
    client_no_context_takeover: Option<()>,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// `None` when it is another extension, or has a parameter that is unknown, malformed or there twice.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';');
        if parts.next() != Some(NAME) {
            return None;
        }
        let mut offer = Self::default();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_ascii(), Some(unquoted(value.trim_ascii()))),
                None => (part, None),
            };
            match (name, value) {
                ("server_no_context_takeover", None) => set(&mut offer.server_no_context_takeover, ())?,
                ("client_no_context_takeover", None) => set(&mut offer.client_no_context_takeover, ())?,
                ("server_max_window_bits", Some(bits)) => {
                    set(&mut offer.server_max_window_bits, window_bits(bits)?)?;
                }
                ("client_max_window_bits", bits) => {
                    let bits = bits.map_or(Some(MAX_WINDOW_BITS), window_bits)?;
                    set(&mut offer.client_max_window_bits, bits)?;
                }
                _ => return None,
            }
        }
        Some(offer)
    }

    /// `None` when it asks for a window that nobody here can write with.
    fn meet(&self, terms: &Terms) -> Option<Agreement> {
        let server_keeps_window = terms.server_keeps_window && self.server_no_context_takeover.is_none();
        let client_keeps_window = terms.client_keeps_window && self.client_no_context_takeover.is_none();
        let server_bits = self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        let server_bits = server_bits.min(terms.server_window_bits);
        if server_bits < MIN_WINDOW_BITS {
            return None;
        }
        let client_bits =
            self.client_max_window_bits.map_or(MAX_WINDOW_BITS, |bits| bits.min(terms.client_window_bits));

        let mut response = NAME.to_owned();
        if !server_keeps_window {
            response.push_str("; server_no_context_takeover");
        }
        if !client_keeps_window {
            response.push_str("; client_no_context_takeover");
        }
        if self.server_max_window_bits.is_some() || server_bits < MAX_WINDOW_BITS {
            let _ = write!(response, "; server_max_window_bits={server_bits}");
        }
        if client_bits < MAX_WINDOW_BITS {
            let _ = write!(response, "; client_max_window_bits={client_bits}");
        }
        Some(Agreement {
            server: Format::Raw { window_bits: server_bits, keeps_window: server_keeps_window },
            client: Format::Raw { window_bits: client_bits, keeps_window: client_keeps_window },
            response,
        })
    }
}

/// Sets a parameter that may be there once.
fn set<T>(parameter: &mut Option<T>, value: T) -> Option<()> {
    parameter.replace(value).is_none().then_some(())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// A number from 8 to 15, as RFC 7692 writes it.
fn window_bits(digits: &str) -> Option<u8> {
    (8..=MAX_WINDOW_BITS).find(|bits| digits == bits.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(extensions: &str, terms: &Terms) -> Option<String> {
        agree(extensions, terms).map(|agreement| agreement.response)
    }

    const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn a_plain_offer_is_met_without_context_takeover() {
        // What Chromium, Firefox, and Safari's older extension beside it send.
        for offer in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "x-webkit-deflate-frame, permessage-deflate;client_max_window_bits",
            "permessage-deflate ; client_max_window_bits = 15 ; client_no_context_takeover",
        ] {
            let agreement = agree(offer, &Terms::default()).expect(offer);
            assert_eq!(agreement.response, BARE, "{offer}");
            assert_eq!((agreement.server, agreement.client), (Format::RAW, Format::RAW));
        }
    }

    #[test]
    fn windows_are_the_smaller_ones_of_both_sides() {
        let small = Terms { server_window_bits: 11, client_window_bits: 10, ..Terms::default() };
        for (offer, expected) in [
            ("permessage-deflate", "; server_max_window_bits=11"),
            (
                "permessage-deflate; client_max_window_bits",
                "; server_max_window_bits=11; client_max_window_bits=10",
            ),
            (
                "permessage-deflate; client_max_window_bits=9; server_max_window_bits=15",
                "; server_max_window_bits=11; client_max_window_bits=9",
            ),
            ("permessage-deflate; server_max_window_bits=\"10\"", "; server_max_window_bits=10"),
        ] {
            assert_eq!(response(offer, &small), Some(format!("{BARE}{expected}")), "{offer}");
        }
        let agreement = agree("permessage-deflate; client_max_window_bits=8", &Terms::default()).expect("8");
        assert_eq!(agreement.response, format!("{BARE}; client_max_window_bits=8"));
        let offered = response("permessage-deflate; server_max_window_bits=15", &Terms::default());
        assert_eq!(offered, Some(format!("{BARE}; server_max_window_bits=15")));
    }

    #[test]
    fn windows_are_kept_where_both_sides_want_it() {
        let keep = Terms { server_keeps_window: true, client_keeps_window: true, ..Terms::default() };
        for (offer, server, client, expected) in [
            ("permessage-deflate", true, true, ""),
            ("permessage-deflate; server_no_context_takeover", false, true, "; server_no_context_takeover"),
            ("permessage-deflate; client_no_context_takeover", true, false, "; client_no_context_takeover"),
        ] {
            let agreement = agree(offer, &keep).expect(offer);
            assert_eq!(agreement.response, format!("permessage-deflate{expected}"));
            assert_eq!(agreement.server, Format::Raw { window_bits: 15, keeps_window: server });
            assert_eq!(agreement.client, Format::Raw { window_bits: 15, keeps_window: client });
        }
    }

    #[test]
    fn the_first_offer_that_can_be_met_is() {
        let offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12, \
                      permessage-deflate";
        assert_eq!(response(offers, &Terms::default()), Some(format!("{BARE}; server_max_window_bits=12")));
        let behind = "a; b=\"x, permessage-deflate; \", permessage-deflate";
        assert_eq!(response(behind, &Terms::default()).as_deref(), Some(BARE));
    }

    #[test]
    fn an_offer_that_is_not_understood_is_not_met() {
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate2",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; unknown",
            "permessage-deflate;",
        ] {
            assert_eq!(response(offer, &Terms::default()), None, "{offer}");
        }
    }
}
