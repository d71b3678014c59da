//! `loader.conf`: which entry is the default.
//!
//! systemd, loader.conf(5): `default` is a pattern of an entry's file name, with `*`, `?` and `[…]`;
//! the first entry in the menu's order that matches is taken.

use super::super::menu::readable;

/// The pattern of `default`, if there is one.
pub(super) fn default(bytes: &[u8]) -> Option<String> {
    let text = readable(bytes);
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once([' ', '\t'])?;
        (key == "default").then(|| value.trim().to_owned())
    });
    // `@saved` names a variable of the firmware, which is none here.
    values.next_back().filter(|pattern| !pattern.starts_with('@'))
}

/// Whether `pattern` is the entry `id`, whose file has one of two endings or is named without.
pub(super) fn matches(pattern: &str, id: &str) -> bool {
    ["", ".conf", ".efi"]
        .iter()
        .any(|ending| fits(&lowered(pattern), &lowered(&format!("{id}{ending}"))))
}

fn lowered(text: &str) -> Vec<char> {
    text.to_lowercase().chars().collect()
}

/// Whether `text` fits `pattern`. Going back to the last `*` only, it takes no more than the product
/// of both lengths.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut back: Option<(&[char], &[char])> = None;
    loop {
        if let [star, rest @ ..] = pattern
            && *star == '*'
        {
            back = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (one(pattern, text.first().copied()), text.split_first()) {
            (Some(rest), Some((_, after))) => (pattern, text) = (rest, after),
            _ if pattern.is_empty() && text.is_empty() => return true,
            _ => match back {
                Some((rest, [_, after @ ..])) => {
                    back = Some((rest, after));
                    (pattern, text) = (rest, after);
                }
                _ => return false,
            },
        }
    }
}

/// The pattern after its first element, if that fits `c`.
fn one(pattern: &[char], c: Option<char>) -> Option<&[char]> {
    let c = c?;
    match pattern {
        ['?', rest @ ..] => Some(rest),
        ['[', set @ ..] => {
            let end = set.iter().skip(1).position(|c| *c == ']')?.checked_add(1)?;
            let (members, rest) = (set.get(..end)?, set.get(end.checked_add(1)?..)?);
            let (negated, members) = match members {
                ['!' | '^', members @ ..] => (true, members),
                members => (false, members),
            };
            (contains(members, c) != negated).then_some(rest)
        }
        [own, rest @ ..] if *own == c => Some(rest),
        _ => None,
    }
}

fn contains(members: &[char], c: char) -> bool {
    match members {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&c) || contains(rest, c),
        [own, rest @ ..] => *own == c || contains(rest, c),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_last_that_is_given() {
        assert_eq!(
            default(b"timeout 3\ndefault  a*\n#default x\ndefault b.conf\n").as_deref(),
            Some("b.conf")
        );
        assert_eq!(default(b"timeout 3\n"), None);
        assert_eq!(default(b"default @saved\n"), None);
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, id, wanted) in [
            ("debian-*", "debian-6.1", true),
            ("*-6.1*", "Debian-6.1-amd64", true),
            ("a.conf", "a", true),
            ("a", "a", true),
            ("a?c", "abc", true),
            ("a[0-9x]c", "a5c", true),
            ("a[0-9x]c", "axc", true),
            ("a[0-9x]c", "ayc", false),
            ("a[!0-9]c", "a5c", false),
            ("a[]c", "a]c", false),
            ("*", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*d", "aXbYbZc", false),
        ] {
            assert_eq!(matches(pattern, id), wanted, "{pattern} {id}");
        }
    }

    #[test]
    fn hazard_patterns_of_many_stars_end() {
        assert!(!matches(
            &"a*".repeat(2500),
            &"a".repeat(3000).replace("aaaa", "aaab")
        ));
    }
}
