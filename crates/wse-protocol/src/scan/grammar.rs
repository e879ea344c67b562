//! The grammar of RFC 8259 over a text: a position that moves past one construct at a time.
//!
//! Never looks at what a value means. Strings, which are most of any message, go eight bytes a step.

use super::{MAX_DEPTH, ScanError};

/// A position in a text. Every method that succeeds leaves it behind what it read.
pub(super) struct Grammar<'a> {
    bytes: &'a [u8],
    at: usize,
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
    fn enter(&mut self, is_object: bool) -> Result<(), ScanError> {
        // The object around all members is not in here.
        if self.depth + 1 == MAX_DEPTH {
            return Err(ScanError::TooDeep);
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        Ok(())
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
    pub(super) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte; zero at the end, which no construct outside of a string allows either.
    #[inline]
    pub(super) fn next(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    pub(super) fn malformed(&self) -> ScanError {
        ScanError::Malformed { at: self.at }
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while matches!(self.next(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// Only whitespace may follow.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        self.skip_whitespace();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    /// The colon between name and value, and the whitespace around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), ScanError> {
        self.skip_whitespace();
        if self.next() != b':' {
            return Err(self.malformed());
        }
        self.step();
        self.skip_whitespace();
        Ok(())
    }

    /// One value with all that it contains.
    pub(super) fn value(&mut self) -> Result<(), ScanError> {
        let mut nesting = Nesting::default();
        loop {
            match self.next() {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    nesting.enter(is_object)?;
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
                _ => return Err(self.malformed()),
            }
            // A value is complete; so may be what contains it.
            loop {
                if nesting.depth == 0 {
                    return Ok(());
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
                    _ => return Err(self.malformed()),
                }
                self.step();
            }
        }
    }

    /// The name of a nested member, with its colon.
    fn name(&mut self) -> Result<(), ScanError> {
        self.string()?;
        self.colon()
    }

    /// A string from its opening to its closing quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<(), ScanError> {
        if self.next() != b'"' {
            return Err(self.malformed());
        }
        self.step();
        loop {
            self.skip_plain();
            match self.next() {
                b'"' => {
                    self.step();
                    return Ok(());
                }
                b'\\' => self.escape()?,
                // A control character, or the end of the text.
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Skips what stands for itself in a string: all but quotes, backslashes and control characters.
    #[inline]
    fn skip_plain(&mut self) {
        const ONES: u64 = u64::MAX / 255;
        const HIGHS: u64 = ONES << 7;
        // Set the high bit of each byte that is below `bound` (at most 0x80), or equal to `byte`. Bytes
        // above the lowest such one may be wrong, because a subtraction borrows; only the lowest counts.
        let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGHS;
        let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        while let Some(bytes) = self.bytes[self.at..].first_chunk() {
            let word = u64::from_le_bytes(*bytes);
            let special = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += bytes.len();
        }
        while !matches!(self.next(), ..0x20 | b'"' | b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        self.step();
        match self.next() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.step(),
            b'u' => {
                self.step();
                for _ in 0..4 {
                    if !self.next().is_ascii_hexdigit() {
                        return Err(self.malformed());
                    }
                    self.step();
                }
            }
            _ => return Err(self.malformed()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.next() == b'-' {
            self.step();
        }
        match self.next() {
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
        Ok(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Result<(), ScanError> {
        if !self.next().is_ascii_digit() {
            return Err(self.malformed());
        }
        while self.next().is_ascii_digit() {
            self.step();
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }
}
