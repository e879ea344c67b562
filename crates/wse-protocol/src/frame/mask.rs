//! Unmasking of a client's payload (RFC 6455 section 5.3). Eight bytes a step.

/// Undoes `mask` on a piece of a payload in place.
///
/// `offset` is how much of the payload came before this piece: the mask repeats every four bytes.
pub(super) fn unmask(piece: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let word = u64::from(u32::from_ne_bytes(mask));
    let word = word << 32 | word;
    let (words, rest) = piece.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}
