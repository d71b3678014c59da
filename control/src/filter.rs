//! Filters of the Describe actions: `NAME=VALUE`, where a value may hold `*` and `?`.
//!
//! Amazon EC2 User Guide, "Filter resources using the console and API": several values of one filter are joined by
//! *or*, several filters by *and*.

use crate::tag::Tag;
use crate::{Code, Error, Result};

/// A filter: what it looks at, and the patterns one of which must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The field's name, such as `state` or `tag:Name`.
    pub name: String,
    /// Patterns.
    pub values: Vec<String>,
}

impl Filter {
    /// Reads `NAME=VALUE[,VALUE…]`.
    pub fn parse(text: &str) -> Result<Filter> {
        let Some((name, values)) = text.split_once('=') else {
            return Err(Error::new(
                Code::InvalidParameterValue,
                format!("'{}' is no filter: expected NAME=VALUE", text.escape_debug()),
            ));
        };
        Ok(Filter {
            name: name.to_owned(),
            values: values.split(',').map(str::to_owned).collect(),
        })
    }

    /// Whether one of the patterns matches a value.
    pub fn accepts(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| matches(pattern, value))
    }

    /// Looks at tags, if this is a filter of tags (`tag:KEY`, `tag-key`).
    pub(crate) fn accepts_tags(&self, tags: &[Tag]) -> Option<bool> {
        if let Some(key) = self.name.strip_prefix("tag:") {
            return Some(tags.iter().any(|tag| tag.key == key && self.accepts(&tag.value)));
        }
        (self.name == "tag-key").then(|| tags.iter().any(|tag| self.accepts(&tag.key)))
    }

    /// The error for a filter that an action does not have.
    pub(crate) fn unknown(&self, known: &[&str]) -> Error {
        Error::new(
            Code::InvalidFilter,
            format!(
                "there is no filter '{}'; there are {}, tag:KEY and tag-key",
                self.name.escape_debug(),
                known.join(", ")
            ),
        )
    }
}

/// Keeps what passes all filters. `field` gives the values of a named field, or nothing for one it lacks.
pub(crate) fn keep<T>(
    things: Vec<T>,
    filters: &[Filter],
    known: &[&str],
    tags: impl Fn(&T) -> &[Tag],
    field: impl Fn(&T, &str) -> Vec<String>,
) -> Result<Vec<T>> {
    for filter in filters {
        let of_tags = filter.name.starts_with("tag:") || filter.name == "tag-key";
        if !of_tags && !known.contains(&filter.name.as_str()) {
            return Err(filter.unknown(known));
        }
    }
    let passes = |thing: &T| {
        filters.iter().all(|filter| {
            filter.accepts_tags(tags(thing)).unwrap_or_else(|| {
                field(thing, &filter.name)
                    .iter()
                    .any(|value| filter.accepts(value))
            })
        })
    };
    Ok(things.into_iter().filter(passes).collect())
}

/// Matches `*` and `?` without recursion: on a mismatch, the last star takes one character more.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || Some(&c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_ec2() {
        for (pattern, text, right) in [
            ("debian-*", "debian-12", true),
            ("*12*", "debian-12-pv", true),
            ("debian-??", "debian-12", true),
            ("debian-?", "debian-12", false),
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), right, "{pattern} {text}");
        }
    }

    #[test]
    fn an_unknown_filter_is_refused_with_the_known_ones() {
        let filter = Filter::parse("colour=red").unwrap();
        let error = keep(vec![()], &[filter], &["state"], |_| &[], |_, _| vec![]).unwrap_err();
        assert_eq!(error.code(), Code::InvalidFilter);
        assert!(error.to_string().contains("state"));
    }
}
