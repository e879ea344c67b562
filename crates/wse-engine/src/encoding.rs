//! An envelope in the dialects and encodings that connections speak (PROTOCOL §1, §5).
//!
//! Owns the state of the codecs, one set for all connections of a shard. Never decides who speaks what.

use crate::config::Compression;
use crate::frame::{Payload, ROOM};
use crate::speech::{Encoding, Speech};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wse_protocol::compress::{self, Deflater, Format};
use wse_protocol::envelope::{Category, Dialect};
use wse_protocol::frame::OpCode;
use wse_protocol::{msgpack, scan, sign};

/// Memory that a large message leaves behind for the next one, in bytes.
const SPARE: usize = 64 << 10;

/// A publication as it is made: JSON in v2.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The text.
    pub text: &'a str,
    /// Its category.
    pub category: Category,
    /// Where it says version and category, in bytes (see [`Dialect::members`]).
    pub at: usize,
}

impl<'a> Envelope<'a> {
    /// The same with more members behind those that it has; `None`: `text` is none.
    pub fn with_text(self, text: &'a [u8]) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(text).ok()?, ..self })
    }
}

/// What encodes, for one thread.
#[derive(Debug)]
pub struct Codecs {
    compression: Compression,
    max_bytes: usize,
    /// 371 KiB, made for the first message that is compressed.
    deflater: Option<Box<Deflater>>,
    /// A message in v1 on its way into another encoding, or a payload.
    scratch: Vec<u8>,
}

impl Codecs {
    /// Codecs without any state yet. Nothing that they make is larger than `max_bytes`; zero: no limit.
    pub fn new(compression: Compression, max_bytes: usize) -> Self {
        Self { compression, max_bytes, deflater: None, scratch: Vec::new() }
    }

    /// The envelope as `speech` wants it, behind [`ROOM`] free bytes; `None`: as JSON of its dialect, because it is
    /// too small to compress, or would become larger than JSON or than a message may be.
    pub fn encode(&mut self, envelope: Envelope<'_>, speech: Speech) -> Option<(OpCode, Vec<u8>)> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = match speech.dialect() {
            Dialect::V2 => envelope.text,
            Dialect::V1 => {
                push_v1(envelope, &mut scratch);
                std::str::from_utf8(&scratch).expect("text with other text in it is text")
            }
        };
        let encoded = match speech.encoding() {
            Encoding::Json => None,
            Encoding::Zlib => self.zlib(text),
            Encoding::ZlibPayload => self.zlib_payload(text),
            Encoding::Msgpack => self.msgpack(text),
        };
        scratch.clear();
        scratch.shrink_to(SPARE);
        self.scratch = scratch;
        encoded
    }

    /// The envelope as JSON of v1, behind [`ROOM`] free bytes.
    pub fn json_v1(envelope: Envelope<'_>) -> (OpCode, Vec<u8>) {
        let mut bytes = Payload::room(envelope.text.len());
        push_v1(envelope, &mut bytes);
        (OpCode::Text, bytes)
    }

    fn zlib(&mut self, text: &str) -> Option<(OpCode, Vec<u8>)> {
        if text.len() <= self.compression.threshold_bytes {
            return None;
        }
        let mut bytes = Payload::room(0);
        bytes.extend_from_slice(compress::PREFIX);
        self.deflater().deflate(text.as_bytes(), &mut bytes);
        // It may wait for long, and was given room for much more.
        bytes.shrink_to_fit();
        (bytes.len() - ROOM < text.len()).then_some((OpCode::Binary, bytes))
    }

    /// `"p":"…","cmp":true`: the payload as a zlib stream in base64.
    fn zlib_payload(&mut self, text: &str) -> Option<(OpCode, Vec<u8>)> {
        let (mut payload, mut is_plain) = (None, true);
        scan::members(text, &mut |member| match member.name().as_deref() {
            // Of duplicates a reader takes one, and nobody knows which.
            Some("p") => is_plain &= payload.replace(member.end - member.value.len()..member.end).is_none(),
            Some("cmp" | "compressed" | "enc" | "encrypted") => is_plain = false,
            _ => {}
        })
        .ok()?;
        let payload =
            payload.filter(|payload| is_plain && payload.len() > self.compression.threshold_bytes)?;
        let mut deflated = Vec::new();
        self.deflater().deflate(&text.as_bytes()[payload.clone()], &mut deflated);
        let deflated = STANDARD.encode(deflated);
        let length = text.len() - payload.len() + deflated.len() + r#""","cmp":true"#.len();
        if length >= text.len() {
            return None;
        }
        let mut bytes = Payload::room(length);
        for part in [&text[..payload.start], "\"", &deflated, r#"","cmp":true"#, &text[payload.end..]] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Some((OpCode::Text, bytes))
    }

    fn msgpack(&mut self, text: &str) -> Option<(OpCode, Vec<u8>)> {
        let mut bytes = Payload::room(text.len());
        bytes.extend_from_slice(msgpack::PREFIX);
        msgpack::encode(text, &mut bytes).ok()?;
        // Numbers can be longer than their digits.
        let is_over = self.max_bytes != 0 && bytes.len() - ROOM > self.max_bytes;
        (!is_over).then_some((OpCode::Binary, bytes))
    }

    fn deflater(&mut self) -> &mut Deflater {
        let level = self.compression.level;
        self.deflater.get_or_insert_with(|| Box::new(Deflater::new(Format::Zlib, level)))
    }
}

fn push_v1(envelope: Envelope<'_>, out: &mut Vec<u8>) {
    let Envelope { text, category, at } = envelope;
    // In v1 a signature is a text. The server's own members stand before it, so their place is the same.
    let bare = if text.contains("\"sig\"") { sign::unsigned(text) } else { text.into() };
    let text = &*bare;
    let behind = at + Dialect::V2.members(category).len();
    for part in [&text[..at], Dialect::V1.members(category), &text[behind..]] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use wse_protocol::compress::{InflateLimits, Inflater};

    fn codecs() -> Codecs {
        Codecs::new(Compression::default(), 1 << 20)
    }

    fn speech(query: &str) -> Speech {
        Speech::of_request(query, [].into_iter()).expect("no refusal").0
    }

    fn envelope(payload: &str) -> String {
        format!(r#"{{"seq":7,"v":2,"_msg_cat":"U","t":"x","p":{payload},"id":"a"}}"#)
    }

    /// What `query` gets of an envelope with this payload: the text inside, and its opcode; `None`: plain JSON.
    fn encoded(query: &str, payload: &str) -> Option<(OpCode, Vec<u8>)> {
        let text = envelope(payload);
        let envelope = Envelope { text: &text, category: Category::Update, at: r#"{"seq":7,"#.len() };
        let (opcode, bytes) = codecs().encode(envelope, speech(query))?;
        Some((opcode, bytes[ROOM..].to_vec()))
    }

    fn inflated(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let limits = InflateLimits { max_bytes: 1 << 20, max_ratio: 0 };
        Inflater::new(Format::Zlib).inflate(bytes, &limits, &mut out).expect("a zlib stream");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_dialect_changes_two_members_and_nothing_else() {
        let text = envelope(r#"{"n":1.50}"#);
        let (opcode, bytes) = Codecs::json_v1(Envelope { text: &text, category: Category::Update, at: 9 });
        let expected = text.replace(r#""v":2,"_msg_cat":"U","#, r#""c":"U","v":1,"#);
        assert_eq!((opcode, &bytes[ROOM..]), (OpCode::Text, expected.as_bytes()));
    }

    #[test]
    fn a_signature_of_v2_does_not_reach_v1() {
        for (sig, kept) in [(r#"{"kid":"a"}"#, ""), ("\"text\"", r#","sig":"text""#)] {
            let text = format!(r#"{{"seq":7,"v":2,"_msg_cat":"U","t":"x","sig":{sig},"p":{{}}}}"#);
            let (_, bytes) = Codecs::json_v1(Envelope { text: &text, category: Category::Update, at: 9 });
            let expected = format!(r#"{{"seq":7,"c":"U","v":1,"t":"x"{kept},"p":{{}}}}"#);
            assert_eq!(str::from_utf8(&bytes[ROOM..]), Ok(&*expected));
        }
    }

    #[test]
    fn compresses_over_the_threshold_and_where_it_helps() {
        let payload = |length: usize| format!(r#"{{"text":"{}"}}"#, "ab".repeat(length / 2));
        let overhead = envelope("").len() + payload(0).len();
        assert_eq!(
            encoded("compression=true", &payload(1024 - overhead)),
            None,
            "1 024 bytes are not over it"
        );
        let (opcode, bytes) = encoded("compression=true", &payload(1026 - overhead)).expect("compressed");
        assert_eq!((opcode, &bytes[..2]), (OpCode::Binary, &b"C:"[..]));
        assert_eq!(inflated(&bytes[2..]), envelope(&payload(1026 - overhead)));
        let (_, old) = encoded("compression=true&protocol_version=1", &payload(4_000)).expect("compressed");
        let old: Value = serde_json::from_str(&inflated(&old[2..])).expect("JSON");
        assert_eq!((&old["v"], &old["c"], &old["seq"]), (&json!(1), &json!("U"), &json!(7)));
        let noise: String = (0..4_000).map(|_| fastrand::alphanumeric()).collect();
        let noise =
            format!("{{\"text\":\"{}\"}}", STANDARD.encode(fastrand::u128(..).to_be_bytes()) + &noise);
        assert!(
            encoded("compression=payload", &noise).is_none_or(|(_, bytes)| bytes.len() < noise.len() + 64)
        );
    }

    #[test]
    fn a_compressed_payload_stands_in_base64_beside_its_mark() {
        let payload = format!(r#"{{"text":"{}","n":1.50}}"#, "ab".repeat(2_000));
        let (opcode, bytes) = encoded("compression=payload", &payload).expect("compressed");
        let json: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(
            (opcode, &json["cmp"], &json["id"], &json["v"]),
            (OpCode::Text, &json!(true), &json!("a"), &json!(2))
        );
        let stream = STANDARD.decode(json["p"].as_str().expect("base64")).expect("base64");
        assert_eq!(inflated(&stream), payload);
        for untouched in
            [r#"{"n":1}"#.to_owned(), format!("{payload},\"cmp\":true"), format!("{payload},\"p\":{payload}")]
        {
            assert_eq!(encoded("compression=payload", &untouched), None);
        }
    }

    #[test]
    fn msgpack_is_never_compressed_and_never_over_the_limit() {
        let (opcode, bytes) = encoded("format=msgpack&compression=true", r#"{"n":1}"#).expect("MessagePack");
        assert_eq!((opcode, &bytes[..2]), (OpCode::Binary, &b"M:"[..]));
        let mut json = Vec::new();
        msgpack::decode(&bytes[2..], 1 << 20, &mut json).expect("MessagePack");
        assert_eq!(json, envelope(r#"{"n":1}"#).into_bytes());
        let numbers = format!("[{}1]", "1e5,".repeat(1_000));
        let text = envelope(&numbers);
        let envelope = Envelope { text: &text, category: Category::Update, at: 9 };
        let mut codecs = Codecs::new(Compression::default(), text.len());
        assert!(codecs.encode(envelope, speech("format=msgpack")).is_none(), "JSON is shorter");
    }
}
