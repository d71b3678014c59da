//! GRUB 2's `test`, also spelled `[ … ]`.
//!
//! GRUB manual, section 16.3 "test". `-a` binds closer than `-o`; what is asked of a file is asked
//! through `files`.

/// The deepest nesting of parentheses and negations.
const DEPTH_LIMIT: usize = 16;

/// What may be asked of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// `-e`
    Exists,
    /// `-f`
    IsFile,
    /// `-d`
    IsFolder,
    /// `-s`
    HasContent,
}

/// Whether `arguments` hold; what makes no sense does not.
pub(super) fn holds(arguments: &[String], files: &mut dyn FnMut(Asked, &str) -> bool) -> bool {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut test = Test {
        rest: &words,
        files,
        depth: 0,
    };
    test.either().unwrap_or(false)
}

struct Test<'a, 'f> {
    rest: &'a [&'a str],
    files: &'f mut dyn FnMut(Asked, &str) -> bool,
    depth: usize,
}

impl<'a> Test<'a, '_> {
    fn next_is(&mut self, word: &str) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == word => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn either(&mut self) -> Option<bool> {
        let mut value = self.both()?;
        while self.next_is("-o") {
            value |= self.both()?;
        }
        Some(value)
    }

    fn both(&mut self) -> Option<bool> {
        let mut value = self.single()?;
        while self.next_is("-a") {
            value &= self.single()?;
        }
        Some(value)
    }

    fn single(&mut self) -> Option<bool> {
        // Two words around an operator are compared, whatever they are.
        if let [left, operator, right, rest @ ..] = self.rest
            && let Some(value) = compare(left, operator, right)
        {
            self.rest = rest;
            return Some(value);
        }
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= DEPTH_LIMIT)?;
        let value = if self.next_is("!") {
            !self.single()?
        } else if self.next_is("(") {
            let value = self.either()?;
            self.next_is(")").then_some(value)?
        } else {
            self.unary()
        };
        self.depth = self.depth.saturating_sub(1);
        Some(value)
    }

    fn unary(&mut self) -> bool {
        let (value, rest): (bool, &'a [&'a str]) = match self.rest {
            [option, operand, rest @ ..] => {
                let asked = match *option {
                    "-e" => Some(Asked::Exists),
                    "-f" => Some(Asked::IsFile),
                    "-d" => Some(Asked::IsFolder),
                    "-s" => Some(Asked::HasContent),
                    _ => None,
                };
                match (*option, asked) {
                    (_, Some(asked)) => ((self.files)(asked, operand), rest),
                    ("-n", _) => (!operand.is_empty(), rest),
                    ("-z", _) => (operand.is_empty(), rest),
                    _ => (!option.is_empty(), self.rest.get(1..).unwrap_or_default()),
                }
            }
            [word] => (!word.is_empty(), &[]),
            [] => (false, &[]),
        };
        self.rest = rest;
        value
    }
}

fn compare(left: &str, operator: &str, right: &str) -> Option<bool> {
    let numbers = || (number(left), number(right));
    Some(match operator {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        "-eq" => numbers().0 == numbers().1,
        "-ne" => numbers().0 != numbers().1,
        "-lt" => numbers().0 < numbers().1,
        "-le" => numbers().0 <= numbers().1,
        "-gt" => numbers().0 > numbers().1,
        "-ge" => numbers().0 >= numbers().1,
        _ => return None,
    })
}

/// The number at the beginning of a word; 0 if there is none.
fn number(word: &str) -> i64 {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let value: i64 = digits
        .get(..end)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    value.saturating_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_grub_s_manual_says() {
        for (text, wanted) in [
            ("a = a", true),
            ("a != a", false),
            ("-z ''", true),
            ("-n x", true),
            ("x", true),
            ("''", false),
            ("", false),
            ("! x", false),
            ("! -z x -a 1 -lt 10", true),
            ("'' -o x -a ''", false),
            ("x -o x -a ''", true),
            ("( '' -o x ) -a x", true),
            ("-n = -n", true),
            ("-f /there", true),
            ("-s /absent", false),
            ("10 -gt 9x", true),
            ("-1 -lt 0", true),
            ("( x", false),
        ] {
            let words: Vec<String> = text
                .split_whitespace()
                .map(|word| word.replace("''", ""))
                .collect();
            assert_eq!(holds(&words, &mut |_, path| path == "/there"), wanted, "{text}");
        }
    }

    #[test]
    fn each_operator_compares_words_or_the_numbers_at_their_beginning() {
        let cases: [(&str, [bool; 3]); 13] = [
            // The first operand is less, the same, more.
            ("=", [false, true, false]),
            ("==", [false, true, false]),
            ("!=", [true, false, true]),
            ("<", [true, false, false]),
            ("<=", [true, true, false]),
            (">", [false, false, true]),
            (">=", [false, true, true]),
            ("-eq", [false, true, false]),
            ("-ne", [true, false, true]),
            ("-lt", [true, false, false]),
            ("-le", [true, true, false]),
            ("-gt", [false, false, true]),
            ("-ge", [false, true, true]),
        ];
        for (operator, wanted) in cases {
            // As words 10 comes before 9.
            let [less, more] = if operator.starts_with('-') {
                ["9", "10"]
            } else {
                ["10", "9"]
            };
            let found = [(less, more), (more, more), (more, less)].map(|(left, right)| {
                let words = [left, operator, right].map(String::from);
                holds(&words, &mut |_, _| false)
            });
            assert_eq!(found, wanted, "{operator}");
        }
    }

    #[test]
    fn each_question_about_a_file_is_asked_as_itself() {
        for (option, wanted) in [
            ("-e", Asked::Exists),
            ("-f", Asked::IsFile),
            ("-d", Asked::IsFolder),
            ("-s", Asked::HasContent),
        ] {
            let words = [option, "/x"].map(String::from);
            assert!(
                holds(&words, &mut |asked, path| asked == wanted && path == "/x"),
                "{option}"
            );
            assert!(!holds(&words, &mut |_, _| false), "{option}");
        }
    }

    #[test]
    fn conditions_may_be_sixteen_deep() {
        let negated = |times: usize| {
            let mut words = vec!["!".to_string(); times];
            words.push("x".into());
            holds(&words, &mut |_, _| false)
        };
        // An even number of negations, and the word itself.
        assert!(negated(14));
        assert!(!negated(16));
    }

    #[test]
    fn hazard_deep_conditions_end() {
        assert!(!holds(&vec!["!".to_string(); 100_000], &mut |_, _| true));
        assert!(!holds(&vec!["(".to_string(); 100_000], &mut |_, _| true));
    }
}
