//! GRUB 2's variables, functions and parameters, and how words become arguments.

use std::collections::BTreeMap;

use super::budget::{Budget, Exhausted};
use super::lexer::{Piece, Quoting};
use super::parser::Script;

/// The most variables and the most functions.
const NAME_LIMIT: usize = 1024;

/// The longest value, in bytes. It stops a script from doubling one without end.
const VALUE_LIMIT: usize = 16 << 10;

/// What a script knows while it runs.
#[derive(Clone, Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Script>,
    /// `$1` and those that follow.
    pub(super) parameters: Vec<String>,
    /// `$?`: 0 is true.
    pub(super) status: u32,
}

impl Environment {
    /// A variable's value; empty if it is not set.
    pub(super) fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// A variable's value, if it is set.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Sets a variable. One that is too long or one too many is an error.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Exhausted> {
        let one_more = self.variables.len() >= NAME_LIMIT && !self.variables.contains_key(name);
        if one_more || value.len() > VALUE_LIMIT || name.len() > VALUE_LIMIT {
            return Err(Exhausted);
        }
        self.variables.insert(name.into(), value.into());
        Ok(())
    }

    /// How many bytes its variables hold.
    pub(super) fn len(&self) -> usize {
        let variables = self.variables.iter();
        let lengths = variables.map(|(name, value)| name.len().saturating_add(value.len()));
        lengths.fold(0, usize::saturating_add)
    }

    /// Forgets a variable.
    pub(super) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Defines a function.
    pub(super) fn define(&mut self, name: &str, body: &Script) -> Result<(), Exhausted> {
        if self.functions.len() >= NAME_LIMIT {
            return Err(Exhausted);
        }
        self.functions.insert(name.into(), Script::clone(body));
        Ok(())
    }

    /// A function's body.
    pub(super) fn function(&self, name: &str) -> Option<Script> {
        self.functions.get(name).cloned()
    }

    /// What stands for `$name`.
    fn expansion(&self, name: &str) -> String {
        match name {
            "?" => self.status.to_string(),
            "#" => self.parameters.len().to_string(),
            "@" | "*" => self.parameters.join(" "),
            _ => match name.parse::<usize>() {
                Ok(0) => String::new(),
                Ok(number) => {
                    let parameter = self.parameters.get(number.saturating_sub(1));
                    parameter.cloned().unwrap_or_default()
                }
                Err(_) => self.get(name).into(),
            },
        }
    }

    /// The arguments that `words` stand for: values outside of quotes are split at their blanks.
    pub(super) fn expand(&self, words: &[Vec<Piece>], budget: &Budget) -> Result<Vec<String>, Exhausted> {
        let mut arguments = Vec::new();
        for word in words {
            let mut open: Option<String> = None;
            for piece in word {
                let (text, quoting) = match piece {
                    Piece::Text(text, _) => (text.clone(), Quoting::Quoted),
                    Piece::Variable(name, Quoting::Quoted) if name == "@" => {
                        budget.spend_bytes(self.parameters.iter().map(String::len).sum())?;
                        let mut parameters = self.parameters.iter().cloned();
                        if let Some(first) = parameters.next() {
                            open.get_or_insert_default().push_str(&first);
                            for parameter in parameters {
                                arguments.extend(open.replace(parameter));
                            }
                        }
                        continue;
                    }
                    Piece::Variable(name, quoting) => (self.expansion(name), *quoting),
                };
                budget.spend_bytes(text.len())?;
                if quoting == Quoting::Quoted {
                    open.get_or_insert_default().push_str(&text);
                    continue;
                }
                if text.starts_with(char::is_whitespace) {
                    arguments.extend(open.take());
                }
                let mut parts = text.split_whitespace();
                if let Some(first) = parts.next() {
                    open.get_or_insert_default().push_str(first);
                }
                for part in parts {
                    arguments.extend(open.replace(part.into()));
                }
                if text.ends_with(char::is_whitespace) {
                    arguments.extend(open.take());
                }
            }
            arguments.extend(open);
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::{Kind, tokens};
    use super::*;

    fn expanded(environment: &Environment, text: &str) -> Vec<String> {
        let kinds = tokens(text).into_iter().map(|token| token.kind);
        let words: Vec<_> = kinds
            .filter_map(|kind| match kind {
                Kind::Word(pieces) => Some(pieces),
                _ => None,
            })
            .collect();
        environment.expand(&words, &Budget::default()).unwrap()
    }

    #[test]
    fn values_are_split_outside_of_quotes_only() {
        let mut environment = Environment::default();
        environment.set("a", "x y ").unwrap();
        environment.parameters = vec!["1 1".into(), "2".into()];
        for (text, wanted) in [
            ("p${a}q", &["px", "y", "q"][..]),
            ("\"p${a}q\"", &["px y q"]),
            ("$none '' \"$none\"", &["", ""]),
            ("\"$@\" $# $2", &["1 1", "2", "2", "2"]),
            ("x\"$@\"y", &["x1 1", "2y"]),
            ("$*", &["1", "1", "2"]),
        ] {
            assert_eq!(expanded(&environment, text), wanted, "{text}");
        }
    }

    #[test]
    fn hazard_values_and_variables_have_limits() {
        let mut environment = Environment::default();
        let longest = "x".repeat(VALUE_LIMIT);
        assert!(environment.set("a", &format!("{longest}x")).is_err());
        assert!(environment.set(&format!("{longest}x"), "a").is_err());
        assert!(environment.set(&longest, &longest).is_ok());
        assert_eq!(environment.len(), 2 * VALUE_LIMIT);
        environment.unset(&longest);
        let set = (0..NAME_LIMIT + 10).filter(|n| environment.set(&n.to_string(), "").is_ok());
        assert_eq!(set.count(), NAME_LIMIT);
        assert!(environment.set("5", "again").is_ok());
        let (body, _) = super::super::parser::parse("true");
        let defined = (0..NAME_LIMIT + 10).filter(|n| environment.define(&n.to_string(), &body).is_ok());
        assert_eq!(defined.count(), NAME_LIMIT);
    }
}
