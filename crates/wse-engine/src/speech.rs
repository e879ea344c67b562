//! How a connection speaks: its dialect, and what carries the envelopes that are published to it (PROTOCOL §1, §5).
//!
//! Chosen by the opening request, and by `client_hello` where that left it open. Never encodes anything.

use crate::handshake::Refusal;
use crate::query;
use wse_protocol::envelope::Dialect;

/// The subprotocols that name a dialect, the one of the default first.
const PROTOCOLS: [(&str, Dialect); 2] = [("wse.v2", Dialect::V2), ("wse.v1", Dialect::V1)];

/// What carries an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, as text.
    Json,
    /// A `C:` message where that is over the threshold and shorter, else JSON.
    Zlib,
    /// JSON whose payload is compressed, in base64, where that is over the threshold and shorter.
    ZlibPayload,
    /// An `M:` message.
    Msgpack,
}

/// In how many forms a publication may be wanted: each dialect in each encoding.
pub const FORMS: usize = 8;

/// How a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Speech {
    dialect: Dialect,
    /// The request or a hello has named the dialect: another hello changes nothing.
    is_settled: bool,
    is_msgpack: bool,
    /// Publications over the threshold are compressed.
    is_compressed: bool,
    /// Of those the payload alone, and the envelope is not (v2 only).
    has_payloads: bool,
}

impl Speech {
    /// What the query of a request and the subprotocols that it offers ask for; and which of those is answered.
    ///
    /// The query comes first, then the subprotocol, then the default: v2 until a `client_hello` says otherwise.
    /// A version that is none is refused, because nobody could read what would come.
    pub fn of_request<'a>(
        query: &str,
        mut offered: impl Iterator<Item = &'a str>,
    ) -> Result<(Self, Option<&'static str>), Refusal> {
        let named = query::values(query, "protocol_version").next();
        let named =
            named.map(|version| version.parse().ok().and_then(Dialect::of_version).ok_or(Refusal::Dialect));
        let named = named.transpose()?;
        let mut is_offered = [false; PROTOCOLS.len()];
        for name in &mut offered {
            if let Some(place) = PROTOCOLS.iter().position(|(protocol, _)| *protocol == name) {
                is_offered[place] = true;
            }
        }
        let mut protocols = PROTOCOLS.iter().zip(is_offered).filter(|(_, is_offered)| *is_offered);
        let fitting = |(protocol, _): &(&'static (&'static str, Dialect), bool)| Some(protocol.1) == named;
        // A browser wants one of those that it offered, whatever the query says.
        let answered =
            protocols.clone().find(fitting).or_else(|| protocols.next()).map(|(protocol, _)| protocol);
        let dialect = named.or(answered.map(|(_, dialect)| *dialect));
        let compression = query::values(query, "compression").next();
        let speech = Self {
            dialect: dialect.unwrap_or_default(),
            is_settled: dialect.is_some(),
            is_msgpack: query::values(query, "format").next().as_deref() == Some("msgpack"),
            is_compressed: matches!(compression.as_deref(), Some("true" | "payload")),
            has_payloads: compression.as_deref() == Some("payload"),
        };
        Ok((speech, answered.map(|(protocol, _)| *protocol)))
    }

    /// Takes over what a `client_hello` says: its dialect, where nothing has named one, and whether it wants compression.
    pub fn greet(&mut self, version: Option<u64>, wants_compression: bool) {
        if let Some(dialect) = version.and_then(Dialect::of_version).filter(|_| !self.is_settled) {
            self.dialect = dialect;
            self.is_settled = true;
        }
        self.is_compressed |= wants_compression;
    }

    /// Switches compression on or off, in the form that the request asked for.
    pub fn set_compressed(&mut self, is_compressed: bool) {
        self.is_compressed = is_compressed;
    }

    /// The dialect.
    pub fn dialect(self) -> Dialect {
        self.dialect
    }

    /// Whether its binary messages are MessagePack.
    pub fn is_msgpack(self) -> bool {
        self.is_msgpack
    }

    /// What carries its publications.
    pub fn encoding(self) -> Encoding {
        match (self.has_payloads, self.dialect) {
            _ if self.is_msgpack => Encoding::Msgpack,
            _ if !self.is_compressed => Encoding::Json,
            (true, Dialect::V2) => Encoding::ZlibPayload,
            (true, Dialect::V1) | (false, _) => Encoding::Zlib,
        }
    }

    /// The same dialect in JSON.
    #[must_use]
    pub fn as_json(self) -> Self {
        Self { dialect: self.dialect, ..Self::default() }
    }

    /// The number of the form that it wants publications in, below [`FORMS`]; zero is what most want: JSON in v2, as a
    /// publication is made.
    pub fn form(self) -> usize {
        (self.encoding() as usize) << 1 | self.dialect as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, offered: &[&str]) -> (Dialect, Encoding, Option<&'static str>) {
        let (speech, answered) = Speech::of_request(query, offered.iter().copied()).expect("no refusal");
        (speech.dialect(), speech.encoding(), answered)
    }

    #[test]
    fn the_query_names_the_dialect_before_the_subprotocol() {
        use Dialect::{V1, V2};
        for (query, offered, dialect, answered) in [
            ("", &[][..], V2, None),
            ("", &["wse.v1"], V1, Some("wse.v1")),
            ("", &["wse.v1", "wse.v2"], V2, Some("wse.v2")),
            ("protocol_version=1", &["wse.v1", "wse.v2"], V1, Some("wse.v1")),
            ("protocol_version=1", &["wse.v2"], V1, Some("wse.v2")),
            ("protocol_version=2&x=1", &["wse.v1", "mqtt"], V2, Some("wse.v1")),
            ("a=protocol_version=1", &["mqtt"], V2, None),
        ] {
            assert_eq!(asked(query, offered), (dialect, Encoding::Json, answered), "{query} {offered:?}");
        }
        for query in ["protocol_version=3", "protocol_version=", "protocol_version=one"] {
            assert_eq!(Speech::of_request(query, [].into_iter()), Err(Refusal::Dialect), "{query}");
        }
    }

    #[test]
    fn a_hello_names_the_dialect_where_the_request_left_it_open_and_once() {
        let (mut open, _) = Speech::of_request("", [].into_iter()).expect("no refusal");
        open.greet(Some(7), false);
        assert_eq!(open.dialect(), Dialect::V2);
        open.greet(Some(1), true);
        open.greet(Some(2), false);
        assert_eq!((open.dialect(), open.encoding()), (Dialect::V1, Encoding::Zlib));
        let (mut named, _) = Speech::of_request("protocol_version=2", [].into_iter()).expect("no refusal");
        named.greet(Some(1), false);
        assert_eq!(named.dialect(), Dialect::V2);
    }

    #[test]
    fn the_parameters_decide_the_encoding_and_no_substring_of_them() {
        for (query, encoding) in [
            ("compression=true", Encoding::Zlib),
            ("compression=false", Encoding::Json),
            ("compression=payload", Encoding::ZlibPayload),
            ("compression=payload&protocol_version=1", Encoding::Zlib),
            ("format=msgpack&compression=true", Encoding::Msgpack),
            ("format=msgpackx", Encoding::Json),
            ("xformat=msgpack", Encoding::Json),
            ("format=json", Encoding::Json),
        ] {
            assert_eq!(asked(query, &[]).1, encoding, "{query}");
        }
    }

    #[test]
    fn compression_comes_back_as_it_was_asked_for() {
        for (query, encoding) in [
            ("", Encoding::Zlib),
            ("compression=true", Encoding::Zlib),
            ("compression=payload", Encoding::ZlibPayload),
            ("format=msgpack", Encoding::Msgpack),
        ] {
            let (mut speech, _) = Speech::of_request(query, [].into_iter()).expect("no refusal");
            speech.set_compressed(false);
            assert_ne!(speech.encoding(), Encoding::Zlib, "{query}");
            speech.set_compressed(true);
            assert_eq!(speech.encoding(), encoding, "{query}");
        }
    }

    #[test]
    fn each_way_to_speak_has_its_form() {
        let queries = ["", "compression=true", "compression=payload", "format=msgpack"];
        let mut forms = Vec::new();
        for version in ["2", "1"] {
            for query in queries {
                let query = format!("{query}&protocol_version={version}");
                let (speech, _) = Speech::of_request(&query, [].into_iter()).expect("no refusal");
                forms.push(speech.form());
            }
        }
        forms.sort_unstable();
        forms.dedup();
        // Compressed payloads are of v2 alone.
        assert_eq!((forms.len(), forms[0]), (FORMS - 1, 0));
        assert!(forms.iter().all(|form| *form < FORMS));
    }
}
