//! Names of topics: which are valid, what a glob matches, and who may have which.
//!
//! Never knows who subscribed to what; that is the engine's registry.

pub use crate::error::TopicError;

/// The longest topic, in bytes.
pub const MAX_LEN: usize = 255;

/// Checks that `topic` is 1 to 255 bytes without control characters. Case counts.
pub fn validate(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_LEN {
        return Err(TopicError::TooLong { len: topic.len() });
    }
    match topic.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, _)) => Err(TopicError::ControlCharacter { at }),
        None => Ok(()),
    }
}

/// Whether `topic` contains `*` (any run of characters) or `?` (one character).
pub fn is_glob(topic: &str) -> bool {
    topic.bytes().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Whether `glob` matches the whole of `topic`.
///
/// Time is bounded by the product of the two lengths whatever the number of stars: only the last star
/// that was met may take more, which is enough because an earlier one could not do better.
pub fn matches(glob: &str, topic: &str) -> bool {
    let (mut rest, mut text) = (glob, topic);
    // Where to go on when the attempt behind the last star fails: the glob behind it, and the topic
    // from which the next attempt begins.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut behind = rest.chars();
        match behind.next() {
            Some('*') => {
                rest = behind.as_str();
                if rest.is_empty() {
                    return true;
                }
                retry = Some((rest, text));
                continue;
            }
            None if text.is_empty() => return true,
            Some(expected) => {
                let mut following = text.chars();
                if following.next().is_some_and(|character| expected == '?' || expected == character) {
                    (rest, text) = (behind.as_str(), following.as_str());
                    continue;
                }
            }
            None => {}
        }
        let Some((behind_star, from)) = retry else { return false };
        let mut skipped = from.chars();
        if skipped.next().is_none() {
            return false;
        }
        (rest, text) = (behind_star, skipped.as_str());
        retry = Some((rest, text));
    }
}

/// Whether `topic` is the user's own: `user:{id}`, or `user:{id}:` and more.
///
/// An id that is empty or contains `:`, `*`, `?` or a control character has no own topics: it could
/// name another user's.
pub fn own_topic(user: &str, topic: &str) -> bool {
    let is_safe = |character: char| !matches!(character, ':' | '*' | '?') && !character.is_control();
    !user.is_empty()
        && user.chars().all(is_safe)
        && topic
            .strip_prefix("user:")
            .and_then(|rest| rest.strip_prefix(user))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
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
    /// Whether a connection of `user` (`None`: anonymous) may subscribe `topic` by its own request.
    pub fn client_may(&self, user: Option<&str>, topic: &str) -> bool {
        self.application_may(topic)
            && (user.is_some_and(|user| own_topic(user, topic))
                || self.allow.iter().any(|glob| matches(glob, topic)))
    }

    /// Whether the application may subscribe a connection to `topic`: it is bound by `deny` only.
    ///
    /// A glob is refused, to clients as well: what it can match has to be held against `deny`, and its
    /// text says nothing about that.
    pub fn application_may(&self, topic: &str) -> bool {
        validate(topic).is_ok() && !is_glob(topic) && !self.deny.iter().any(|glob| matches(glob, topic))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the two wildcards mean, in the plainest way and in exponential time.
    fn matches_plainly(glob: &[char], topic: &[char]) -> bool {
        match (glob, topic) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                matches_plainly(rest, topic) || (!topic.is_empty() && matches_plainly(glob, &topic[1..]))
            }
            (['?', rest @ ..], [_, others @ ..]) => matches_plainly(rest, others),
            ([expected, rest @ ..], [character, others @ ..]) => {
                expected == character && matches_plainly(rest, others)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_its_wildcards_mean(glob in "[ab:é*?]{0,8}", topic in "[ab:é*]{0,10}") {
            let plainly = matches_plainly(
                &glob.chars().collect::<Vec<_>>(),
                &topic.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(matches(&glob, &topic), plainly);
        }

        #[test]
        fn no_name_makes_a_check_panic(user in any::<String>(), topic in any::<String>(), glob in any::<String>()) {
            let rules = Rules { allow: vec![glob.clone()], deny: vec![] };
            let may = rules.client_may(Some(&user), &topic);
            prop_assert!(!may || validate(&topic).is_ok());
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let topic = "a".repeat(MAX_LEN);
        assert!(!matches(&"*a".repeat(100).replace("a*", "aa*"), &format!("{}b", &topic[1..])));
        assert!(!matches(&format!("{}b", "a*".repeat(127)), &topic));
    }

    #[test]
    fn deny_wins_over_everything() {
        let rules = Rules { allow: vec!["news:*".into()], deny: vec!["*:secret*".into()] };
        assert!(rules.client_may(None, "news:sport"));
        assert!(!rules.client_may(None, "news:secret"));
        assert!(!rules.client_may(Some("7"), "user:7:secrets"));
        assert!(!rules.application_may("news:secret"));
        assert!(rules.application_may("anything"));
        assert!(!rules.application_may("news:secre?"), "a glob would walk round the table");
    }

    #[test]
    fn nothing_but_own_topics_is_granted_without_a_table() {
        let rules = Rules::default();
        assert!(rules.client_may(Some("7"), "user:7"));
        assert!(rules.client_may(Some("7"), "user:7:orders"));
        for topic in
            ["user:70", "user:", "user:*", "user:7:*", "user:?", "*", "global", "role:7", "USER:7", ""]
        {
            assert!(!rules.client_may(Some("7"), topic), "{topic}");
        }
        assert!(!rules.client_may(None, "user:7"));
        for user in ["", "7:8", "*", "?", "a\n"] {
            assert!(!rules.client_may(Some(user), &format!("user:{user}")), "{user:?}");
        }
    }
}
