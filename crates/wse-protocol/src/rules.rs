//! Who may have which topics (PROTOCOL §8): the server's table, and what the claims of a connection say.
//!
//! Decides about names and globs alike, by what they match. Never asks anybody: what is nobody's to say here is open.

use crate::glob::{covers, intersects};
use crate::topic::{is_safe_id, own_topic, validate};
use serde_json::{Map, Value};

/// Stars of a glob that a connection holds, at most.
pub const MAX_STARS: usize = 4;

/// The claim that restricts topics.
const TOPICS: &str = "wse_topics";
/// Claims that name groups, and what their topics begin with.
const GROUPS: [(&str, &str); 2] = [("roles", "role:"), ("teams", "team:")];

/// What the rules say of a topic that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may have it.
    Granted,
    /// It may not, whoever grants it.
    Refused,
    /// They do not say: it may have it only where somebody else grants it.
    Open,
}

/// The server's table of topics, as globs. Default: clients get their own topics and no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What clients may subscribe beside their own topics.
    pub allow: Vec<String>,
    /// What nobody gets, the application included. Always wins.
    pub deny: Vec<String>,
}

impl Rules {
    /// What is to be said of a request of `user` (`None`: anonymous) for a topic or glob, with these claims.
    ///
    /// A glob is granted where one entry covers all that it can match.
    pub fn judge(&self, user: Option<&str>, grants: Option<&Grants>, name: &str) -> Verdict {
        if !self.application_may(grants, name) {
            return Verdict::Refused;
        }
        let covered = |globs: &[String]| globs.iter().any(|glob| covers(glob, name));
        match grants.and_then(|grants| grants.allow.as_deref()) {
            Some(allow) if covered(allow) => Verdict::Granted,
            Some(_) => Verdict::Refused,
            None if user.is_some_and(|user| own_topic(user, name)) || covered(&self.allow) => {
                Verdict::Granted
            }
            None if grants.is_some_and(|grants| grants.groups.iter().any(|group| group == name)) => {
                Verdict::Granted
            }
            None => Verdict::Open,
        }
    }

    /// Whether the application may have a connection with these claims hold a topic or glob: it is bound by `deny` only.
    ///
    /// A glob is refused that can match anything that is denied, so that nothing is left to be looked at when it does.
    pub fn application_may(&self, grants: Option<&Grants>, name: &str) -> bool {
        let mut deny = self.deny.iter().chain(grants.into_iter().flat_map(|grants| &grants.deny));
        validate(name).is_ok()
            && name.matches('*').count() <= MAX_STARS
            && !deny.any(|glob| intersects(glob, name))
    }
}

/// What the claims of a connection say of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// All that it may ask for, in place of its own topics, the table and the groups; `None`: it has those.
    allow: Option<Vec<String>>,
    /// What it does not get by any way.
    deny: Vec<String>,
    /// The topics of its roles and teams.
    groups: Vec<String>,
}

impl Grants {
    /// Reads claims, a JSON object; `None`: they say nothing of topics.
    ///
    /// A `wse_topics` that cannot be read denies everything: what it forbids is not known.
    pub fn read(claims: &str) -> Option<Self> {
        // Hardly any claims name one of these, and those that do not are not read for it.
        let is_named = |name: &str| claims.contains(name);
        if !is_named(TOPICS) && !GROUPS.iter().any(|(claim, _)| is_named(claim)) && !is_named("\\u") {
            return None;
        }
        let claims = serde_json::from_str::<Map<String, Value>>(claims);
        let grants = claims.map_or_else(|_| Self::nothing(), |claims| Self::of(&claims));
        (grants != Self::default()).then_some(grants)
    }

    fn of(claims: &Map<String, Value>) -> Self {
        let restriction = match claims.get(TOPICS) {
            Some(restriction) => Self::restricting(restriction).unwrap_or_else(Self::nothing),
            None => Self::default(),
        };
        let groups = GROUPS.iter().filter_map(|(claim, prefix)| Some((claims.get(*claim)?, prefix)));
        let groups = groups.flat_map(|(ids, prefix)| ids_of(ids).map(move |id| format!("{prefix}{id}")));
        Self { groups: groups.collect(), ..restriction }
    }

    /// Nothing at all.
    fn nothing() -> Self {
        Self { allow: Some(Vec::new()), deny: vec!["*".into()], groups: Vec::new() }
    }

    /// `{"allow": [glob], "deny": [glob]}`, either of which may be absent.
    fn restricting(restriction: &Value) -> Option<Self> {
        let lists = restriction.as_object()?;
        if lists.keys().any(|name| name != "allow" && name != "deny") {
            return None;
        }
        let globs = |list: &Value| {
            let globs =
                list.as_array()?.iter().map(|glob| glob.as_str().filter(|glob| validate(glob).is_ok()));
            globs.map(|glob| glob.map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let allow = match lists.get("allow") {
            Some(allow) => Some(globs(allow)?),
            None => None,
        };
        let deny = lists.get("deny").map_or_else(|| Some(Vec::new()), globs)?;
        Some(Self { allow, deny, groups: Vec::new() })
    }
}

/// Ids of groups: a list of texts and whole numbers, or one of them. Others grant nothing.
fn ids_of(ids: &Value) -> impl Iterator<Item = String> + '_ {
    let ids = ids.as_array().map_or_else(|| std::slice::from_ref(ids), Vec::as_slice);
    let id = |id: &Value| match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) if !id.is_f64() => Some(id.to_string()),
        _ => None,
    };
    ids.iter().filter_map(id).filter(|id| is_safe_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::matches;
    use proptest::prelude::*;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.into()).collect();
        Rules { allow: texts(allow), deny: texts(deny) }
    }

    proptest! {
        #[test]
        fn whatever_a_granted_glob_matches_is_granted_by_itself_and_never_denied(
            allow in prop::collection::vec("[ab*?]{1,3}", 0..3),
            deny in prop::collection::vec("[ab*?]{1,3}", 0..3),
            glob in "[ab*?]{1,4}",
            names in prop::collection::vec("[abc]{1,6}", 1..40),
        ) {
            let rules = Rules { allow, deny };
            let verdict = rules.judge(None, None, &glob);
            for name in names.iter().filter(|name| matches(&glob, name)) {
                prop_assert!(verdict != Verdict::Granted || rules.judge(None, None, name) == Verdict::Granted);
                prop_assert!(!rules.application_may(None, &glob) || rules.application_may(None, name));
            }
        }

        #[test]
        fn no_claims_and_no_name_make_a_check_panic(claims in any::<String>(), user in any::<String>(), name in any::<String>()) {
            let grants = Grants::read(&format!(r#"{{"wse_topics":{claims}"#));
            prop_assert_eq!(Rules::default().judge(Some(&user), grants.as_ref(), &name), Verdict::Refused);
        }
    }

    #[test]
    fn deny_wins_over_everything() {
        let rules = rules(&["news:*"], &["*:secret*"]);
        assert_eq!(rules.judge(None, None, "news:sport"), Verdict::Granted);
        assert_eq!(rules.judge(None, None, "news:secret"), Verdict::Refused);
        assert_eq!(rules.judge(Some("7"), None, "user:7:secrets"), Verdict::Refused);
        assert!(!rules.application_may(None, "news:secret") && rules.application_may(None, "anything"));
        for glob in ["news:secre?", "news:*", "news:?ecret", "*", "news:??????*"] {
            assert_eq!(rules.judge(None, None, glob), Verdict::Refused, "{glob} would walk round the table");
            assert!(!rules.application_may(None, glob), "{glob}");
        }
        assert_eq!(rules.judge(None, None, "news:???"), Verdict::Granted);
    }

    #[test]
    fn nothing_but_own_topics_is_granted_without_a_table() {
        let rules = Rules::default();
        for topic in ["user:7", "user:7:orders", "user:7:*", "user:7:?"] {
            assert_eq!(rules.judge(Some("7"), None, topic), Verdict::Granted, "{topic}");
        }
        for topic in ["user:70", "user:", "user:*", "user:7*", "user:?", "*", "global", "role:7", "USER:7"] {
            assert_eq!(rules.judge(Some("7"), None, topic), Verdict::Open, "{topic}");
        }
        assert_eq!(rules.judge(Some("7"), None, ""), Verdict::Refused);
        assert_eq!(rules.judge(None, None, "user:7"), Verdict::Open);
        for user in ["", "7:8", "*", "?", "a\n"] {
            assert_ne!(rules.judge(Some(user), None, &format!("user:{user}")), Verdict::Granted, "{user:?}");
        }
    }

    #[test]
    fn a_glob_has_four_stars_at_most() {
        let rules = rules(&["*"], &[]);
        assert_eq!(rules.judge(None, None, "a*b*c*d*"), Verdict::Granted);
        assert_eq!(rules.judge(None, None, "a*b*c*d*e*"), Verdict::Refused);
        assert!(!rules.application_may(None, "a*b*c*d*e*"));
    }
}
