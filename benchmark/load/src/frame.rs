//! RFC 6455 frames as a load generator needs them: cut apart when read, built once when written.
//!
//! Never looks into a payload and keeps no buffer while whole frames arrive.

/// Opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// Opcode of a Close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a Ping frame.
pub const PING: u8 = 0x9;
/// Opcode of a Pong frame.
pub const PONG: u8 = 0xa;

/// Cuts the bytes that a server sent into frames.
#[derive(Default)]
pub struct FrameReader {
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
}

impl FrameReader {
    /// Calls `on_frame` with opcode and payload of each frame that `bytes` completes.
    pub fn read(&mut self, bytes: &[u8], mut on_frame: impl FnMut(u8, &[u8])) {
        if self.rest.is_empty() {
            let used = cut(bytes, &mut on_frame);
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let used = cut(&self.rest, &mut on_frame);
            self.rest.drain(..used);
        }
    }
}

/// Hands out the whole frames at the front of `bytes` and returns how many bytes they take.
fn cut(bytes: &[u8], on_frame: &mut impl FnMut(u8, &[u8])) -> usize {
    let mut used = 0;
    while let Some((head, length)) = measure(&bytes[used..]) {
        let start = used + head;
        let Some(payload) = bytes.get(start..start + length) else { break };
        on_frame(bytes[used] & 0x0f, payload);
        used = start + length;
    }
    used
}

/// Lengths of head and payload of the frame at the front, once its head is whole.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize)),
        short => Some((2, short.into())),
    }
}

/// Builds a whole frame of a client: final, masked.
pub fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_split_anywhere_gives_the_same_frames() {
        let mut stream = vec![0x81, 2, b'h', b'i', 0x89, 0];
        stream.extend([0x82, 126, 0, 200]);
        stream.extend([7; 200]);
        for split in 0..=stream.len() {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                reader.read(part, |opcode, payload| seen.push((opcode, payload.to_vec())));
            }
            assert_eq!(seen, [(TEXT, b"hi".to_vec()), (PING, vec![]), (2, vec![7; 200])]);
        }
    }

    #[test]
    fn a_built_frame_is_masked_and_measured() {
        let frame = masked(TEXT, &[1; 128], [3, 5, 7, 9]);
        assert_eq!(frame[..8], [0x81, 0xfe, 0, 128, 3, 5, 7, 9]);
        assert_eq!(frame[8..12], [2, 4, 6, 8]);
        assert_eq!(frame.len(), 136);
    }
}
