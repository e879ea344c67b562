//! The two dialects: what an envelope says its version and its category with (PROTOCOL §1).

use super::Category;

/// How a connection's envelopes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// The native one: `"v":2` and `_msg_cat`.
    #[default]
    V2,
    /// That of clients that exist: `"v":1` and `c`.
    V1,
}

impl Dialect {
    /// The number on the wire.
    pub const fn version(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V1 => 1,
        }
    }

    /// The dialect of a number on the wire.
    pub const fn of_version(version: u64) -> Option<Self> {
        match version {
            2 => Some(Self::V2),
            1 => Some(Self::V1),
            _ => None,
        }
    }

    /// The members that say version and category. An envelope has them in one place, so that one dialect
    /// becomes the other without a look at the rest.
    pub const fn members(self, category: Category) -> &'static str {
        match (self, category) {
            (Self::V2, Category::Wse) => r#""v":2,"_msg_cat":"WSE","#,
            (Self::V2, Category::Snapshot) => r#""v":2,"_msg_cat":"S","#,
            (Self::V2, Category::Update) => r#""v":2,"_msg_cat":"U","#,
            (Self::V1, Category::Wse) => r#""c":"WSE","v":1,"#,
            (Self::V1, Category::Snapshot) => r#""c":"S","v":1,"#,
            (Self::V1, Category::Update) => r#""c":"U","v":1,"#,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_say_what_the_dialect_is() {
        for (dialect, category) in [(Dialect::V2, "_msg_cat"), (Dialect::V1, "c")] {
            assert_eq!(Dialect::of_version(dialect.version().into()), Some(dialect));
            for kind in [Category::Wse, Category::Snapshot, Category::Update] {
                let json = format!("{{{}\"t\":\"x\"}}", dialect.members(kind));
                let object: serde_json::Value = serde_json::from_str(&json).expect("JSON");
                assert_eq!(object[category], kind.as_str());
                assert_eq!(object["v"], dialect.version());
            }
        }
        assert_eq!(Dialect::of_version(3), None);
    }
}
