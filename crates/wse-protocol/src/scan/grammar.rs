//! The grammar of RFC 8259 over a text: a position that moves past one construct at a time.
//!
//! Never looks at what a value means. Strings, which are most of any message, go eight bytes a step.

use super::{MAX_DEPTH, ScanError};

/// A position in a text.
///
/// Each method reads one construct and leaves the position behind it, or returns `None` with the
/// position where the grammar was broken.
pub(crate) struct Grammar<'a> {
    bytes: &'a [u8],
    at: usize,
    is_too_deep: bool,
    is_loose: bool,
}

/// The objects and arrays around a position: the innermost is the lowest bit, set for an object.
///
/// One bit for each level, so that depth costs no memory and no recursion.
#[derive(Default)]
struct Nesting {
    kinds: u128,
    depth: u32,
}

impl Nesting {
    /// Whether one level more is allowed; it is entered then.
    fn enter(&mut self, is_object: bool) -> bool {
        // The object around all members is not in here.
        if self.depth + 1 == MAX_DEPTH {
            return false;
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        true
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.kinds >>= 1;
    }

    fn is_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}

impl<'a> Grammar<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, is_too_deep: false, is_loose: false }
    }

    /// As some readers have it: `NaN`, `Infinity` and `-Infinity` are numbers too.
    pub(crate) fn loose(text: &'a str) -> Self {
        Self { is_loose: true, ..Self::new(text) }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte; zero at the end, which no construct outside of a string allows either.
    #[inline]
    pub(crate) fn next(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// What is wrong, after a method returned `None`.
    #[cold]
    pub(crate) fn error(&self) -> ScanError {
        if self.is_too_deep { ScanError::TooDeep } else { ScanError::Malformed { at: self.at } }
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while matches!(self.next(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Only whitespace may follow.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.skip_whitespace();
        (self.at == self.bytes.len()).then_some(())
    }

    /// The colon between name and value, and the whitespace around it.
    #[inline]
    pub(crate) fn colon(&mut self) -> Option<()> {
        self.skip_whitespace();
        if self.next() != b':' {
            return None;
        }
        self.step();
        self.skip_whitespace();
        Some(())
    }

    /// One value with all that it contains.
    pub(crate) fn value(&mut self) -> Option<()> {
        let mut nesting = Nesting::default();
        loop {
            match self.next() {
                b'"' => {
                    self.string()?;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'N' if self.is_loose => self.literal(b"NaN")?,
                b'I' if self.is_loose => self.literal(b"Infinity")?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    if !nesting.enter(is_object) {
                        self.is_too_deep = true;
                        return None;
                    }
                    self.step();
                    self.skip_whitespace();
                    if self.next() != if is_object { b'}' } else { b']' } {
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                    nesting.leave();
                    self.step();
                }
                _ => return None,
            }
            // A value is complete; so may be what contains it.
            loop {
                if nesting.depth == 0 {
                    return Some(());
                }
                self.skip_whitespace();
                match self.next() {
                    b',' => {
                        self.step();
                        self.skip_whitespace();
                        if nesting.is_object() {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if nesting.is_object() => nesting.leave(),
                    b']' if !nesting.is_object() => nesting.leave(),
                    _ => return None,
                }
                self.step();
            }
        }
    }

    /// The name of a nested member, with its colon.
    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.colon()
    }

    /// A string from its opening to its closing quote; says whether it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Option<bool> {
        if self.next() != b'"' {
            return None;
        }
        self.step();
        // Names, and most values, end in the first eight bytes.
        if let Some(bytes) = self.bytes[self.at..].first_chunk() {
            self.at += plain_len(*bytes);
            if self.next() == b'"' {
                self.step();
                return Some(false);
            }
        }
        self.string_rest()
    }

    /// What is left of a string, from anywhere inside.
    #[inline(never)]
    fn string_rest(&mut self) -> Option<bool> {
        let mut has_escapes = false;
        loop {
            self.skip_plain();
            match self.next() {
                b'"' => {
                    self.step();
                    return Some(has_escapes);
                }
                b'\\' => {
                    has_escapes = true;
                    self.escape()?;
                }
                // A control character, or the end of the text.
                _ => return None,
            }
        }
    }

    /// Skips what stands for itself in a string: all but quotes, backslashes and control characters.
    #[inline]
    fn skip_plain(&mut self) {
        // A loop without branches inside, which compilers turn into vector instructions.
        while let Some(block) = self.bytes[self.at..].first_chunk::<32>() {
            let found = block.iter().fold(0, |found, &byte| {
                found | u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
            });
            if found != 0 {
                break;
            }
            self.at += block.len();
        }
        while let Some(bytes) = self.bytes[self.at..].first_chunk() {
            let len = plain_len(*bytes);
            self.at += len;
            if len < bytes.len() {
                return;
            }
        }
        while !matches!(self.next(), ..0x20 | b'"' | b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.step();
        match self.next() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.step(),
            b'u' => {
                self.step();
                for _ in 0..4 {
                    if !self.next().is_ascii_hexdigit() {
                        return None;
                    }
                    self.step();
                }
            }
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn number(&mut self) -> Option<()> {
        if self.next() == b'-' {
            self.step();
        }
        match self.next() {
            b'I' if self.is_loose => return self.literal(b"Infinity"),
            b'0' => self.step(),
            _ => self.digits()?,
        }
        if self.next() == b'.' {
            self.step();
            self.digits()?;
        }
        if matches!(self.next(), b'e' | b'E') {
            self.step();
            if matches!(self.next(), b'+' | b'-') {
                self.step();
            }
            self.digits()?;
        }
        Some(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        if !self.next().is_ascii_digit() {
            return None;
        }
        while self.next().is_ascii_digit() {
            self.step();
        }
        Some(())
    }

    pub(crate) fn literal(&mut self, word: &[u8]) -> Option<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(())
    }
}

/// How many of the bytes, from the first on, stand for themselves in a string.
#[inline]
fn plain_len(bytes: [u8; 8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let word = u64::from_le_bytes(bytes);
    // Set the high bit of each byte that is below `bound` (at most 0x80), or equal to `byte`. Bytes
    // above the lowest such one may be wrong, because a subtraction borrows; only the lowest counts.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let special = below(word, 0x20) | equal(b'"') | equal(b'\\');
    special.trailing_zeros() as usize / 8
}
