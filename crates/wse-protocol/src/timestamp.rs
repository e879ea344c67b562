//! Moments as they stand in messages.

use std::fmt;

use serde::{Serialize, Serializer};

/// A moment in milliseconds since 1970-01-01T00:00:00Z.
///
/// Written as RFC 3339 in UTC with three decimals and `Z`, always 24 characters. The end of the year
/// 9999 stands for everything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z.
    pub const LAST: Self = Self(253_402_300_799_999);

    /// Reads RFC 3339, and what databases make of it: a space for the `T`, an offset without its minutes or
    /// its colon. Without an offset it is UTC. Decimals beyond the third are dropped.
    ///
    /// `None` for any other text, and for what was before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let (moment, rest) = text.as_bytes().split_first_chunk::<19>()?;
        let is_shaped = [4, 7].iter().all(|&at| moment[at] == b'-')
            && [13, 16].iter().all(|&at| moment[at] == b':')
            && matches!(moment[10], b'T' | b't' | b' ');
        let (year, month, day) = (number(&moment[..4])?, number(&moment[5..7])?, number(&moment[8..10])?);
        let (hour, minute, second) =
            (number(&moment[11..13])?, number(&moment[14..16])?, number(&moment[17..])?);
        // A leap second is the first one of the next minute.
        if !is_shaped || year < 1970 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_before(year, month, day).filter(|&days| civil(days) == (year, month, day))?;
        let (ms, offset) = fraction(rest)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        (seconds * 1000 + ms).checked_add_signed(-offset_minutes(offset)? * 60_000).map(Self)
    }

    /// The text of the moment, all ASCII.
    pub fn to_ascii(self) -> [u8; 24] {
        let ms = self.0.min(Self::LAST.0);
        let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil(days);
        let (seconds, ms) = (ms / 1000, ms % 1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: usize, mut number: u64| {
            for digit in text[at..at + digits].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, seconds / 3600);
        put(14, 2, seconds / 60 % 60);
        put(17, 2, seconds % 60);
        put(20, 3, ms);
        text
    }
}

/// The date of a day counted from 1970-01-01: year, month and day.
///
/// Years are taken from March on, so that the leap day is the last of its year, and in eras of 400
/// years, which are all equally long.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The days from 1970-01-01 to a date since then, which need not exist: `None` when its month does not.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let march_month = match month {
        1 | 2 => month + 9,
        3..=12 => month - 3,
        _ => return None,
    };
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The number that all of `digits` are; they are few.
fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// The milliseconds of the decimals that `text` begins with, if it does, and what is behind them.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some((b'.', text)) = text.split_first() else { return Some((0, text)) };
    let (decimals, rest) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let mut ms = *b"000";
    for (digit, decimal) in ms.iter_mut().zip(decimals) {
        *digit = *decimal;
    }
    if decimals.is_empty() { None } else { Some((number(&ms)?, rest)) }
}

/// The minutes that a clock with this offset is ahead of UTC.
fn offset_minutes(offset: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match offset {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, hours @ ..] if hours.len() == 2 => (sign, hours, &b"00"[..]),
        [sign, a, b, b':', minutes @ ..] | [sign, a, b, minutes @ ..] if minutes.len() == 2 => {
            (sign, &[*a, *b][..], minutes)
        }
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let ahead = (hours * 60 + minutes) as i64;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _ => None,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_ascii()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_with_three_decimals() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_700_000_000_050, "2023-11-14T22:13:20.050Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (Timestamp::LAST.0, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
        }
    }

    #[test]
    fn moments_are_read_as_programs_and_databases_write_them() {
        let at = Some(Timestamp(1_700_000_000_050));
        for text in [
            "2023-11-14T22:13:20.050Z",
            "2023-11-14t22:13:20.05z",
            "2023-11-14T22:13:20.050",
            "2023-11-14T22:13:20.050999+00:00",
            "2023-11-15T01:43:20.050+03:30",
            "2023-11-15 01:43:20.050+0330",
            "2023-11-14 14:13:20.050-08",
        ] {
            assert_eq!(Timestamp::parse(text), at, "{text}");
        }
        assert_eq!(Timestamp::parse("1970-01-01T00:00:00Z"), Some(Timestamp(0)));
        assert_eq!(Timestamp::parse("2000-02-29T23:59:60Z"), Some(Timestamp(951_868_800_000)));
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59.999Z"), Some(Timestamp::LAST));
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13",
            "2023-11-14T22:13:20.",
            "2023-11-14T22:13:20.5x",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:60:00Z",
            "2023-11-14T22:13:61Z",
            "2023-02-29T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-11-14T22:13:20+24:00",
            "2023-11-14T22:13:20+1",
            "2023-11-14T22:13:20 00:00",
            "2023-11-14X22:13:20Z",
            "2023/11/14T22:13:20Z",
            "+023-11-14T22:13:20Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2023-11-14T22:13:2é0Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=Timestamp::LAST.0 / 86_400_000 {
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(days_before(year, month, day), Some(days));
            day += 1;
            if day > length(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
