//! How versions are compared.
//!
//! UAPI group, Version Format Specification (UAPI.10): pieces of digits are compared as numbers,
//! pieces of letters as text; `~` is older than the end, then come `-`, `^` and `.`.

use std::cmp::Ordering;

/// Compares two versions, the older one less.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        left = skip_others(left);
        right = skip_others(right);
        for mark in *b"~" {
            match marked(&mut left, &mut right, mark) {
                Some(Ordering::Equal) | None => {}
                Some(order) => return order,
            }
        }
        match (left.is_empty(), right.is_empty()) {
            (true, true) => return Ordering::Equal,
            // The other may still begin with what is older than an end: that was looked at above.
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        for mark in *b"-^." {
            match marked(&mut left, &mut right, mark) {
                Some(Ordering::Equal) | None => {}
                Some(order) => return order,
            }
        }
        let order = if is_digit(left) || is_digit(right) {
            let (one, two) = (
                piece(&mut left, u8::is_ascii_digit),
                piece(&mut right, u8::is_ascii_digit),
            );
            let (one, two) = (trim_zeros(one), trim_zeros(two));
            one.len().cmp(&two.len()).then(one.cmp(two))
        } else {
            piece(&mut left, u8::is_ascii_alphabetic).cmp(piece(&mut right, u8::is_ascii_alphabetic))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Whether one of both begins with `mark`, and is older by that; where both do, it is taken off.
fn marked(left: &mut &[u8], right: &mut &[u8], mark: u8) -> Option<Ordering> {
    match (left.first() == Some(&mark), right.first() == Some(&mark)) {
        (true, true) => {
            *left = left.get(1..).unwrap_or_default();
            *right = right.get(1..).unwrap_or_default();
            Some(Ordering::Equal)
        }
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => None,
    }
}

fn is_digit(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_digit)
}

/// Takes off what belongs to the set at the beginning.
fn piece<'a>(bytes: &mut &'a [u8], belongs: fn(&u8) -> bool) -> &'a [u8] {
    let end = bytes
        .iter()
        .position(|byte| !belongs(byte))
        .unwrap_or(bytes.len());
    let (piece, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    *bytes = rest;
    piece
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits
        .iter()
        .position(|byte| *byte != b'0')
        .unwrap_or(digits.len());
    digits.get(zeros..).unwrap_or_default()
}

fn skip_others(bytes: &[u8]) -> &[u8] {
    let meant = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let others = bytes.iter().position(meant).unwrap_or(bytes.len());
    bytes.get(others..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_the_specification() {
        let ascending = [
            "",
            "1~rc1",
            "1",
            "1-1",
            "1-2",
            "1^post",
            "1.1",
            "1.2",
            "1.10",
            "1a",
            "2",
            "10",
            "010.1",
            "123~rc1-1",
            "123",
            "123.1",
        ];
        for (nth, left) in ascending.iter().enumerate() {
            for (mth, right) in ascending.iter().enumerate() {
                assert_eq!(compare(left, right), nth.cmp(&mth), "{left} {right}");
            }
        }
        assert_eq!(compare("1_0", "1+0"), Ordering::Equal);
        assert_eq!(compare("6.1.0-9-amd64", "6.1.0-10-amd64"), Ordering::Less);
        assert_eq!(
            compare("x-5.14.0-70.el9.x86_64", "x-5.14.0-362.8.1.el9.x86_64"),
            Ordering::Less
        );
        assert_eq!(compare("id-0-rescue", "id-6.5.6-300.fc39.x86_64"), Ordering::Less);
    }

    proptest::proptest! {
        #[test]
        fn hazard_any_two_texts_are_in_an_order_that_holds_both_ways(
            left in "[0-9a-cA-C~^._ä-]{0,12}", right in "[0-9a-cA-C~^._ä-]{0,12}",
        ) {
            proptest::prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            proptest::prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
