//! Globs as sets of names: `*` is any run of characters, an empty one too, `?` is exactly one.
//!
//! Compares what globs match, never how they are written. Knows nothing of who may have what.

/// Words that [`covers`] tries at most; beyond, it says no.
const MOST_WORDS: usize = 1_024;

/// Whether `name` contains `*` or `?`.
pub fn is_glob(name: &str) -> bool {
    name.bytes().any(|byte| matches!(byte, b'*' | b'?'))
}

/// What every name begins with that `glob` matches.
pub fn prefix(glob: &str) -> &str {
    glob.find(['*', '?']).map_or(glob, |end| &glob[..end])
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

/// Whether `rule` matches every topic that `glob` matches; a glob without wildcards is that topic.
///
/// The wildcards of `glob` are filled with a character that `rule` does not name, so that only wildcards of `rule` can
/// take it: what they take of it they take of any other. A run longer than `rule` has `?` has some of it taken by a `*`,
/// which takes more as well, so no longer runs need to be tried. That is exact; a `glob` and a `rule` for which it would
/// take over a thousand words (four `*`, and four `?` in the rule) are not covered.
pub fn covers(rule: &str, glob: &str) -> bool {
    if !is_glob(glob) {
        return matches(rule, glob);
    }
    let Some(other) = ('\u{e000}'..='\u{f8ff}').find(|other| !rule.contains(*other)) else { return false };
    let runs = rule.matches('?').count() + 2;
    let stars = glob.matches('*').count() as u32;
    let Some(words) = runs.checked_pow(stars).filter(|words| *words <= MOST_WORDS) else { return false };
    (0..words).all(|number| {
        let (mut number, mut word) = (number, String::with_capacity(glob.len()));
        for character in glob.chars() {
            match character {
                '*' => {
                    word.extend(std::iter::repeat_n(other, number % runs));
                    number /= runs;
                }
                '?' => word.push(other),
                _ => word.push(character),
            }
        }
        // No topic is empty.
        word.is_empty() || matches(rule, &word)
    })
}

/// Whether there is a name that both globs match. Time is bounded by the product of their lengths.
pub fn intersects(one: &str, other: &str) -> bool {
    if !is_glob(other) {
        return matches(one, other);
    }
    let other = other.chars().collect::<Vec<_>>();
    // Whether what was read of `one` and the first so many characters of `other` match a common beginning.
    let mut common = vec![false; other.len() + 1];
    common[0] = true;
    for left in one.chars() {
        let mut next = vec![false; common.len()];
        for at in 0..common.len() {
            if !common[at] {
                continue;
            }
            match other.get(at) {
                // A star takes what the other has there, or nothing.
                Some(&right) if left == '*' || right == '*' => {
                    next[at] = true;
                    common[at + 1] = true;
                }
                Some(&right) => next[at + 1] |= left == '?' || right == '?' || left == right,
                None => next[at] |= left == '*',
            }
        }
        if !next.contains(&true) {
            return false;
        }
        common = next;
    }
    // Of the other, stars alone may be left.
    let ends = |(at, is_common): (usize, &bool)| *is_common && other[at..].iter().all(|rest| *rest == '*');
    common.iter().enumerate().any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// Every name of 1 to `most` characters over three, one of which no glob of these tests names.
    fn names(most: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..most {
            last = last.iter().flat_map(|name| ["a", "b", "c"].map(|end| format!("{name}{end}"))).collect();
            all.extend_from_slice(&last);
        }
        all.split_off(1)
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
        fn a_rule_covers_a_glob_when_it_matches_all_that_the_glob_matches(
            rule in "[ab*?]{1,5}",
            glob in "[ab*?]{1,5}",
        ) {
            // Whatever tells the two apart has a name of at most as many characters as both have.
            let all = names(8).into_iter().filter(|name| matches(&glob, name)).all(|name| matches(&rule, &name));
            if rule.len() + glob.len() <= 8 {
                prop_assert_eq!(covers(&rule, &glob), all);
            } else {
                prop_assert!(!covers(&rule, &glob) || all);
            }
        }

        #[test]
        fn globs_intersect_when_a_name_matches_both(one in "[ab*?]{1,4}", other in "[ab*?]{1,4}") {
            let any = names(8).iter().any(|name| matches(&one, name) && matches(&other, name));
            prop_assert_eq!(intersects(&one, &other), any);
        }

        #[test]
        fn no_globs_make_a_comparison_panic(one in any::<String>(), other in any::<String>()) {
            let is_covered = covers(&one, &other);
            prop_assert!(!is_covered || other.is_empty() || intersects(&one, &other));
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let topic = "a".repeat(255);
        assert!(!matches(&"*a".repeat(100).replace("a*", "aa*"), &format!("{}b", &topic[1..])));
        let hostile = format!("{}b", "a*".repeat(127));
        assert!(!matches(&hostile, &topic));
        assert!(intersects(&hostile, &hostile) && !intersects(&hostile, &format!("{hostile}c")));
        assert!(!covers(&"?*".repeat(127), &hostile), "it would take too many words, so it says no");
    }

    #[test]
    fn the_way_in_which_a_glob_is_written_says_nothing() {
        for (rule, glob) in [
            ("*", "a*"),
            ("?*", "*"),
            ("*?", "?*"),
            ("?*a", "*ba"),
            ("user:7:*", "user:7:*:?"),
            ("a*", "a?"),
            ("a**", "a*"),
            ("*:*", "news:*"),
            ("a?*", "a*?"),
            ("a*b", "a*?*b"),
        ] {
            assert!(covers(rule, glob), "{rule} covers {glob}");
        }
        for (rule, glob) in
            [("a?", "a*"), ("a*b", "a*"), ("?", "*"), ("news:*", "news*"), ("*a", "*"), ("a", "?")]
        {
            assert!(!covers(rule, glob), "{rule} does not cover {glob}");
        }
        assert!(intersects("*:secret", "news:*") && intersects("a?", "?b") && intersects("a*", "*b"));
        assert!(!intersects("a?", "b*") && !intersects("a?", "a") && !intersects("a*b", "a*c"));
    }
}
