//! The words of GRUB 2's script.
//!
//! GRUB manual, section 6.1 "Writing full configuration files directly": words between blanks, in
//! which quotes and backslashes protect characters, `$` stands for a variable, and `#` at the
//! beginning of a word begins a comment.

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Characters as they are; whether quotes protected them.
    Text(String, Quoting),
    /// A variable's value.
    Variable(String, Quoting),
}

/// Whether a piece stands in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// In quotes: it is one word, even an empty one.
    Quoted,
    /// Outside of them: a value is split at its blanks.
    Plain,
}

/// A token, and the line that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Word(Vec<Piece>),
    /// The end of a line.
    Newline,
    Semicolon,
    Open,
    Close,
}

impl Kind {
    /// The word as it stands, if nothing in it is quoted or a variable: as keywords are.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Kind::Word(pieces) => match pieces.as_slice() {
                [Piece::Text(text, Quoting::Plain)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Splits a script into tokens. Every text is some: a quote that does not end, ends with the text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next();
        if c == Some('\n') {
            self.line = self.line.saturating_add(1);
        }
        c
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.tokens.push(Token { kind, line });
    }

    /// One token, or blanks; false at the end.
    fn step(&mut self) -> bool {
        let line = self.line;
        let Some(c) = self.rest.peek().copied() else {
            return false;
        };
        match c {
            ' ' | '\t' => drop(self.next()),
            '\n' => {
                self.next();
                self.push(Kind::Newline, line);
            }
            ';' => {
                self.next();
                self.push(Kind::Semicolon, line);
            }
            '{' => {
                self.next();
                self.push(Kind::Open, line);
            }
            '}' => {
                self.next();
                self.push(Kind::Close, line);
            }
            '#' => while self.rest.next_if(|c| *c != '\n').is_some() {},
            _ => {
                let word = self.word();
                // A line that only goes on is no word.
                if !word.is_empty() {
                    self.push(Kind::Word(word), line);
                }
            }
        }
        true
    }

    fn word(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        while let Some(c) = self.rest.peek().copied() {
            match c {
                ' ' | '\t' | '\n' | ';' | '{' | '}' => break,
                '\\' => {
                    self.next();
                    match self.next() {
                        None | Some('\n') => {}
                        Some(c) => {
                            flush(&mut plain, &mut pieces);
                            pieces.push(Piece::Text(c.into(), Quoting::Quoted));
                        }
                    }
                }
                '\'' => {
                    flush(&mut plain, &mut pieces);
                    self.next();
                    pieces.push(self.single());
                }
                '"' => {
                    flush(&mut plain, &mut pieces);
                    self.next();
                    self.double(&mut pieces);
                }
                '$' => {
                    self.next();
                    match self.variable() {
                        Some(name) => {
                            flush(&mut plain, &mut pieces);
                            pieces.push(Piece::Variable(name, Quoting::Plain));
                        }
                        // `$"…"` is a text to be translated.
                        None if matches!(self.rest.peek(), Some('"' | '\'')) => {}
                        None => plain.push('$'),
                    }
                }
                c => {
                    self.next();
                    plain.push(c);
                }
            }
        }
        flush(&mut plain, &mut pieces);
        pieces
    }

    /// What stands in single quotes.
    fn single(&mut self) -> Piece {
        let mut text = String::new();
        while let Some(c) = self.next().filter(|c| *c != '\'') {
            text.push(c);
        }
        Piece::Text(text, Quoting::Quoted)
    }

    /// What stands in double quotes.
    fn double(&mut self, pieces: &mut Vec<Piece>) {
        let mut text = String::new();
        while let Some(c) = self.next().filter(|c| *c != '"') {
            match c {
                '\\' => match self.rest.peek().copied() {
                    Some(c @ ('$' | '"' | '\\')) => {
                        self.next();
                        text.push(c);
                    }
                    Some('\n') => drop(self.next()),
                    _ => text.push('\\'),
                },
                '$' => match self.variable() {
                    Some(name) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text), Quoting::Quoted));
                        }
                        pieces.push(Piece::Variable(name, Quoting::Quoted));
                    }
                    None => text.push('$'),
                },
                c => text.push(c),
            }
        }
        // Empty quotes are a word, too, unless the word is the parameters, of which there may be none.
        if !text.is_empty() || !matches!(pieces.last(), Some(Piece::Variable(_, Quoting::Quoted))) {
            pieces.push(Piece::Text(text, Quoting::Quoted));
        }
    }

    /// The name after a `$`.
    fn variable(&mut self) -> Option<String> {
        if self.rest.next_if_eq(&'{').is_some() {
            let mut name = String::new();
            while let Some(c) = self.rest.next_if(|c| *c != '\n' && *c != '}') {
                name.push(c);
            }
            self.rest.next_if_eq(&'}');
            return Some(name);
        }
        if let Some(c) = self.rest.next_if(|c| matches!(c, '@' | '*' | '#' | '?')) {
            return Some(c.into());
        }
        let digits = self.rest.peek()?.is_ascii_digit();
        let belongs = |c: &char| c.is_ascii_digit() || (!digits && (c.is_ascii_alphanumeric() || *c == '_'));
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(belongs) {
            name.push(c);
        }
        (!name.is_empty()).then_some(name)
    }
}

fn flush(plain: &mut String, pieces: &mut Vec<Piece>) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain), Quoting::Plain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Piece {
        Piece::Text(text.into(), Quoting::Plain)
    }

    fn quoted(text: &str) -> Piece {
        Piece::Text(text.into(), Quoting::Quoted)
    }

    fn words(text: &str) -> Vec<Vec<Piece>> {
        let kinds = tokens(text).into_iter().map(|token| token.kind);
        kinds
            .filter_map(|kind| match kind {
                Kind::Word(pieces) => Some(pieces),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn quotes_and_backslashes_protect_as_in_grub() {
        assert_eq!(words(r"'a b'\''c'"), [[quoted("a b"), quoted("'"), quoted("c")]]);
        assert_eq!(words(r#""a \"b\" \n""#), [[quoted(r#"a "b" \n"#)]]);
        assert_eq!(words("a\\\nb # c\n''"), [vec![plain("ab")], vec![quoted("")]]);
        assert_eq!(words("x#y $"), [[plain("x#y")], [plain("$")]]);
    }

    #[test]
    fn variables_are_known_in_all_their_spellings() {
        let variable = |name: &str, quoting| Piece::Variable(name.into(), quoting);
        assert_eq!(
            words(r#"$root${a-b}.c "x${y}" "$@" $1z $?"#),
            [
                vec![
                    variable("root", Quoting::Plain),
                    variable("a-b", Quoting::Plain),
                    plain(".c")
                ],
                vec![quoted("x"), variable("y", Quoting::Quoted)],
                vec![variable("@", Quoting::Quoted)],
                vec![variable("1", Quoting::Plain), plain("z")],
                vec![variable("?", Quoting::Plain)],
            ]
        );
    }

    #[test]
    fn braces_and_separators_are_tokens_and_lines_are_counted() {
        let found = tokens("a {\n}; b");
        let kinds: Vec<_> = found
            .iter()
            .map(|token| (token.kind.literal(), token.line))
            .collect();
        assert_eq!(
            kinds,
            [
                (Some("a"), 1),
                (None, 1),
                (None, 1),
                (None, 2),
                (None, 2),
                (Some("b"), 2)
            ]
        );
    }
}
