//! The forms that a binary message of a client can have (PROTOCOL §5).
//!
//! Tells them apart by their first bytes. Never opens one.

use crate::{compress, crypto, msgpack};

/// What a client's binary message carries an envelope in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A zlib stream of JSON.
    Compressed,
    /// A MessagePack map.
    Msgpack,
    /// A nonce, a ciphertext and a tag, with JSON inside.
    Encrypted,
    /// JSON as it is, perhaps behind one of the old prefixes.
    Json,
}

/// A binary message whose form is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary<'a> {
    /// Its form.
    pub form: Form,
    /// What is in that form: the message without its prefix, except that an encrypted one is opened with it.
    pub body: &'a [u8],
    /// A prefix named the form. Without one the message only looks like it: what cannot be read then is
    /// the application's own bytes, and no fault of the client.
    pub is_named: bool,
}

/// The form of a client's binary `message`; `None` for bytes of the application's own.
///
/// MessagePack without a prefix is looked for only where `speaks_msgpack`. No message looks like two
/// forms: no first byte of a map is one of text, of a prefix or of a zlib stream.
pub fn of(message: &[u8], speaks_msgpack: bool) -> Option<Binary<'_>> {
    let prefixes = [
        (compress::PREFIX, Form::Compressed),
        (msgpack::PREFIX, Form::Msgpack),
        (crypto::PREFIX, Form::Encrypted),
    ];
    if let Some((prefix, form)) = prefixes.into_iter().find(|(prefix, _)| message.starts_with(*prefix)) {
        let body = if form == Form::Encrypted { message } else { &message[prefix.len()..] };
        return Some(Binary { form, body, is_named: true });
    }
    let form = if compress::is_zlib(message) {
        Form::Compressed
    } else if speaks_msgpack && msgpack::is_map(message) {
        Form::Msgpack
    } else if is_object(message) {
        Form::Json
    } else {
        return None;
    };
    Some(Binary { form, body: message, is_named: false })
}

/// Whether `message` begins like a JSON object, or like one behind an old prefix.
fn is_object(message: &[u8]) -> bool {
    message.trim_ascii_start().starts_with(b"{")
        || [&b"WSE{"[..], b"S{", b"U{"].into_iter().any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_the_form_whatever_follows() {
        let named = |message, speaks_msgpack| {
            of(message, speaks_msgpack).map(|binary| {
                assert!(binary.is_named);
                (binary.form, binary.body)
            })
        };
        for speaks_msgpack in [false, true] {
            assert_eq!(named(b"C:{}", speaks_msgpack), Some((Form::Compressed, &b"{}"[..])));
            assert_eq!(named(b"M:{}", speaks_msgpack), Some((Form::Msgpack, &b"{}"[..])));
            assert_eq!(named(b"E:{}", speaks_msgpack), Some((Form::Encrypted, &b"E:{}"[..])));
        }
    }

    #[test]
    fn other_forms_are_known_by_how_they_begin() {
        let form = |message, speaks_msgpack| {
            of(message, speaks_msgpack).map(|binary| {
                assert!(!binary.is_named && binary.body == message);
                binary.form
            })
        };
        for stream in [b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"] {
            assert_eq!(form(stream, true), Some(Form::Compressed));
        }
        for text in ["{}", " \n{", "WSE{}", "S{", "U{"] {
            assert_eq!(form(text.as_bytes(), true), Some(Form::Json), "{text}");
        }
        for map in [&[0x80][..], &[0x8f], &[0xde, 0, 0], &[0xdf]] {
            assert_eq!(form(map, true), Some(Form::Msgpack));
            assert_eq!(form(map, false), None);
        }
    }

    #[test]
    fn all_else_is_the_applications_own() {
        for bytes in
            [&b""[..], b"C", b"hello", b"[1]", b" S{}", b"SU{}", b"\x78\x9d", b"\x90", b"\xff{", b"c:"]
        {
            assert_eq!(of(bytes, true), None, "{bytes:?}");
        }
    }

    #[test]
    fn no_first_byte_belongs_to_two_forms() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let bytes = [first, second];
                let forms = [compress::is_zlib(&bytes), msgpack::is_map(&bytes), is_object(&bytes)];
                assert!(forms.into_iter().filter(|is_form| *is_form).count() <= 1, "{bytes:?}");
            }
        }
    }
}
