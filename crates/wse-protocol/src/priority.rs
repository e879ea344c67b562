//! How important a message is (PROTOCOL §13).
//!
//! Five steps, told by a number. Never decides what follows from it: that is the engine's queue.

/// The importance of a message, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// 1: telemetry.
    Background,
    /// 3: what the next one replaces.
    Low,
    /// 5: what says nothing else.
    #[default]
    Normal,
    /// 8: changes of state.
    High,
    /// 10: what must not be missed.
    Critical,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All, from the least.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Background, Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The nearest to `number`; halfway between two it is the higher one.
    pub fn nearest(number: f64) -> Self {
        match number {
            number if number >= 9.0 => Self::Critical,
            number if number >= 6.5 => Self::High,
            number if number >= 4.0 => Self::Normal,
            number if number >= 2.0 => Self::Low,
            _ => Self::Background,
        }
    }

    /// What the JSON value of `pri` means; `None`: it is no number.
    pub fn of_json(value: &str) -> Option<Self> {
        let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        value.parse().ok().filter(|_| is_number).map(Self::nearest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_the_nearest() {
        let nearest = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|number| Priority::nearest(number.into()));
        use Priority::{Background, Critical, High, Low, Normal};
        let expected = [Background, Low, Low, Normal, Normal, Normal, High, High, Critical, Critical];
        assert_eq!(nearest, expected);
        assert_eq!(Priority::of_json("-1e9"), Some(Background));
        assert_eq!(Priority::of_json("1e1"), Some(Critical));
        for none in ["\"10\"", "null", "inf", "[10]", "true"] {
            assert_eq!(Priority::of_json(none), None, "{none}");
        }
    }
}
