//! The header fields of an opening request.
//!
//! Looks them up; never decides what one means.

use std::net::IpAddr;

/// Header fields, looked up without regard to case.
pub(crate) struct Fields<'a>(pub(crate) &'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of a field that can be read, in order.
    pub(crate) fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let matching = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        matching.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    }

    /// Whether the field is there, readable or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// The first of them.
    pub(crate) fn get(&self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// Whether a field that is a list has this item, in any case.
    pub(crate) fn has_token(&self, name: &'a str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// The subprotocols that are offered, in order.
    pub(crate) fn subprotocols(&self) -> impl Iterator<Item = &'a str> + 'a {
        self.values("sec-websocket-protocol").flat_map(|line| line.split(',')).map(str::trim)
    }

    /// A cookie's value; what scripts write for "none" counts as absent.
    pub(crate) fn cookie(&self, name: &str) -> Option<&'a str> {
        let pairs = self
            .values("cookie")
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next()?;
        (!matches!(value, "" | "undefined" | "null")).then_some(value)
    }

    /// The address that the last trusted proxy saw.
    pub(crate) fn forwarded(&self, trusted_proxies: usize) -> Option<IpAddr> {
        let hop = trusted_proxies.checked_sub(1)?;
        let hops = self.values("x-forwarded-for").flat_map(|line| line.split(',')).collect::<Vec<_>>();
        hops.iter().rev().nth(hop)?.trim().parse().ok()
    }
}
