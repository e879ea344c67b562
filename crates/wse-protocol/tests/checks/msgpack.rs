//! What holds for any bytes that a client may send as MessagePack, and for any text that may become it.

use wse_protocol::msgpack::{MsgpackError, decode, encode};
use wse_protocol::scan;

const LIMIT: usize = 4096;

/// Verifies that what is read of `input` is a JSON object within its limit which comes back unchanged from
/// MessagePack, that nothing is left behind of what is refused, and that every object can be written.
pub fn check(input: &[u8]) {
    let mut out = b"before".to_vec();
    let end = decode(input, LIMIT, &mut out);
    let json = out.strip_prefix(b"before").expect("what was there stays");
    match end {
        Err(_) => assert!(json.is_empty()),
        Ok(()) => {
            assert!(json.len() <= LIMIT);
            let json = std::str::from_utf8(json).expect("JSON is UTF-8");
            assert_eq!(scan::members(json, &mut |_| {}), Ok(()), "{json}");
            assert_eq!(there_and_back(json).as_deref(), Ok(json));
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let mut packed = Vec::new();
        assert_eq!(encode(text, &mut packed), scan::members(text, &mut |_| {}));
        assert!(4 * packed.len() <= 9 * text.len());
        if !packed.is_empty() {
            // Reading goes less deep than writing.
            let back = there_and_back(text);
            assert!(back.is_ok() || back == Err(MsgpackError::TooDeep), "{text}");
        }
    }
}

fn there_and_back(json: &str) -> Result<String, MsgpackError> {
    let (mut packed, mut back) = (Vec::new(), Vec::new());
    encode(json, &mut packed).expect("it is an object");
    decode(&packed, 0, &mut back)?;
    Ok(String::from_utf8(back).expect("JSON is UTF-8"))
}
