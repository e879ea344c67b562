//! Verifies that what is deflated here is what another implementation inflates, that what is inflated
//! here was once deflated, and that no bytes do harm.

use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;
use wse_protocol::compress::{Deflater, Format, InflateError, InflateLimits, Inflater, is_zlib};

const UNLIMITED: InflateLimits = InflateLimits { max_bytes: 0, max_ratio: 0 };
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Messages that repeat themselves and each other, and some that do not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec!["{\"t\":\"tick\",\"p\":", "price", "12.5", "é😀", "}", "\0", " "]);
    prop_oneof![
        12 => prop::collection::vec(word, 0..400).prop_map(|words| words.concat().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..3000),
        4 => (any::<u8>(), 0..70_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => (prop::collection::vec(any::<u8>(), 1..40_000), 1..4_usize)
            .prop_map(|(bytes, times)| bytes.repeat(times)),
    ]
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Zlib),
        (9..=15_u8, any::<bool>())
            .prop_map(|(window_bits, keeps_window)| Format::Raw { window_bits, keeps_window }),
    ]
}

/// What a reader makes of a raw stream that never has more than its window of what it read.
fn read_with_window(stream: &[u8], window_bits: u8) -> Vec<u8> {
    let mut reader = Decompress::new_with_window_bits(false, window_bits);
    let mut text = Vec::new();
    let mut piece = Vec::with_capacity(64);
    loop {
        piece.clear();
        let read = usize::try_from(reader.total_in()).expect("a short stream");
        reader.decompress_vec(&stream[read..], &mut piece, FlushDecompress::None).expect("a good stream");
        text.extend_from_slice(&piece);
        if piece.len() < piece.capacity() {
            return text;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_deflated_is_inflated_here_and_elsewhere(
        format in format(),
        level in 0..=9_u32,
        messages in prop::collection::vec(message(), 1..4),
        capacity in 0..200_usize,
    ) {
        let mut deflater = Deflater::new(format, level);
        let mut inflater = Inflater::new(format);
        let mut stream = Vec::new();
        for message in &messages {
            let mut out = Vec::with_capacity(capacity);
            out.extend_from_slice(b"C:");
            deflater.deflate(message, &mut out);
            let deflated = out.strip_prefix(b"C:").expect("what was there stays");
            let mut inflated = Vec::with_capacity(capacity);
            prop_assert_eq!(inflater.inflate(deflated, &UNLIMITED, &mut inflated), Ok(()));
            prop_assert!(&inflated == message);

            match format {
                Format::Zlib => {
                    prop_assert!(is_zlib(deflated));
                    let read = miniz_oxide::inflate::decompress_to_vec_zlib(deflated);
                    prop_assert!(&read.expect("a stream that miniz reads") == message);
                }
                Format::Raw { keeps_window, .. } => {
                    if !keeps_window {
                        stream.clear();
                    }
                    stream.extend_from_slice(deflated);
                    stream.extend_from_slice(&TAIL);
                }
            }
            if let Format::Raw { window_bits, keeps_window } = format {
                let read = read_with_window(&stream, window_bits);
                prop_assert!(read.ends_with(message) && (keeps_window || read.len() == message.len()));
                // A last block, which miniz wants to see.
                let whole = [stream.as_slice(), &[0x03, 0x00]].concat();
                let elsewhere = miniz_oxide::inflate::decompress_to_vec(&whole);
                prop_assert!(elsewhere.expect("a stream that miniz reads") == read);
            }
        }
    }

    #[test]
    fn an_inflater_of_the_largest_window_reads_every_other(
        window_bits in 0..=20_u8,
        keeps_window in any::<bool>(),
        messages in prop::collection::vec(message(), 1..3),
    ) {
        let mut deflater = Deflater::new(Format::Raw { window_bits, keeps_window }, 6);
        let mut inflater = Inflater::new(Format::Raw { window_bits: 15, keeps_window });
        for message in &messages {
            let (mut deflated, mut inflated) = (Vec::new(), Vec::new());
            deflater.deflate(message, &mut deflated);
            prop_assert_eq!(inflater.inflate(&deflated, &UNLIMITED, &mut inflated), Ok(()));
            prop_assert!(&inflated == message);
        }
    }

    #[test]
    fn no_part_of_a_message_is_taken_for_a_whole_one(
        is_zlib in any::<bool>(),
        message in message(),
        cut in any::<prop::sample::Index>(),
    ) {
        let format = if is_zlib { Format::Zlib } else { Format::RAW };
        let mut deflated = Vec::new();
        Deflater::new(format, 6).deflate(&message, &mut deflated);
        let part = &deflated[..cut.index(deflated.len())];
        // Nothing at all is an empty message, as some clients send it.
        prop_assume!(is_zlib || !part.is_empty());
        let mut inflater = Inflater::new(format);
        let mut out = Vec::new();
        let end = inflater.inflate(part, &UNLIMITED, &mut out);
        // Without a checksum, a cut behind a whole block cannot be seen.
        let is_unseen = !is_zlib && end.is_ok() && out.len() < message.len() && message.starts_with(&out);
        prop_assert!(is_unseen || (end == Err(InflateError::Truncated) && out.is_empty()), "{:?}", end);
        out.clear();
        // It reads the next one as if nothing had been.
        prop_assert_eq!(inflater.inflate(&deflated, &UNLIMITED, &mut out), Ok(()));
        prop_assert!(out == message);
    }

    #[test]
    fn no_limit_is_exceeded_by_a_byte_of_memory(
        format in format(),
        message in message(),
        max_bytes in 1..5000_usize,
        max_ratio in 1..20_usize,
    ) {
        let mut deflated = Vec::new();
        Deflater::new(format, 9).deflate(&message, &mut deflated);
        let limits = InflateLimits { max_bytes, max_ratio };
        let allowance = max_bytes.min(max_ratio * deflated.len());
        let mut out = Vec::new();
        let end = Inflater::new(format).inflate(&deflated, &limits, &mut out);
        if message.len() > allowance {
            prop_assert_eq!(end, Err(InflateError::TooLarge));
            prop_assert!(out.is_empty());
        } else {
            prop_assert_eq!(end, Ok(()));
            prop_assert!(out == message);
        }
        // One byte tells that there is more.
        prop_assert!(out.capacity() <= allowance + 1);
    }

    #[test]
    fn changed_bytes_do_not_panic_and_zlib_notices_them(
        format in format(),
        message in message(),
        at in any::<prop::sample::Index>(),
        mask in 1..=u8::MAX,
    ) {
        let mut deflated = Vec::new();
        Deflater::new(format, 6).deflate(&message, &mut deflated);
        let at = at.index(deflated.len());
        deflated[at] ^= mask;
        let limits = InflateLimits::default();
        let mut out = Vec::new();
        let end = Inflater::new(format).inflate(&deflated, &limits, &mut out);
        prop_assert!(out.len() <= limits.max_bytes && (end.is_ok() || out.is_empty()));
        // Two bits of the header say nothing that matters, and a change of bits that are not used is none.
        prop_assert!(format != Format::Zlib || end.is_err() || out == message);
    }

    #[test]
    fn noise_does_not_panic(
        format in format(),
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
    ) {
        let mut inflater = Inflater::new(format);
        for message in &messages {
            let mut out = Vec::new();
            let end = inflater.inflate(message, &InflateLimits::default(), &mut out);
            prop_assert!(out.len() <= 200 * message.len() && (end.is_ok() || out.is_empty()));
            let _ = is_zlib(message);
        }
    }
}

#[test]
fn a_flush_is_complete_however_much_room_is_left_behind_it() {
    let format = Format::Raw { window_bits: 15, keeps_window: true };
    let (mut deflater, mut inflater) = (Deflater::new(format, 0), Inflater::new(format));
    // Stored, so that what comes out grows by a byte each time, past every size that a vector gets.
    for len in 0..4000 {
        let message = vec![b'x'; len];
        let (mut deflated, mut inflated) = (Vec::new(), Vec::new());
        deflater.deflate(&message, &mut deflated);
        assert_eq!(inflater.inflate(&deflated, &UNLIMITED, &mut inflated), Ok(()), "{len} bytes");
        assert!(inflated == message, "{len} bytes");
    }
}
