//! The query of an opening request (PROTOCOL §2).
//!
//! Takes it apart and undoes its escapes; never decides what a parameter means.

/// `topics` of the query: split at commas and each decoded, or, with no raw comma, decoded and split.
pub fn topics(query: &str) -> Vec<String> {
    let raw = query.split('&').filter_map(|pair| pair.strip_prefix("topics="));
    let split = |value: &str| {
        if value.contains(',') {
            value.split(',').map(decode).collect::<Vec<_>>()
        } else {
            decode(value).split(',').map(str::to_owned).collect()
        }
    };
    raw.flat_map(split).filter(|topic| !topic.is_empty()).collect()
}

/// The values of the parameter `name`, decoded, in order.
pub fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    query
        .split('&')
        .filter_map(move |pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, v)| decode(v))
}

/// Percent-decoding of a query value; what is no escape, or no UTF-8, stays recognisably wrong.
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_split_either_way() {
        assert_eq!(topics("topics=a,b%2Cc"), ["a", "b,c"]);
        assert_eq!(topics("topics=a%2Cb"), ["a", "b"]);
        assert_eq!(topics("x=1&topics=user%3A1%3Aevents"), ["user:1:events"]);
        assert!(topics("topics=").is_empty());
    }

    #[test]
    fn values_are_those_of_the_whole_name() {
        let all = |query| values(query, "token").collect::<Vec<_>>();
        assert_eq!(all("token=a%2Bb&xtoken=c&token=d+e&token"), ["a+b", "d e"]);
        assert_eq!(all("token=%zz%"), ["%zz%"]);
    }
}
