//! The statements of GRUB 2's script.
//!
//! GRUB manual, section 6.1: commands, `if`, `for`, `while`, `until`, `function`, and blocks in
//! braces as arguments. What is not understood is passed over to the end of its line and noted, as
//! GRUB goes on with the next line.

use std::rc::Rc;

use super::lexer::{Kind, Piece, Token, tokens};

/// The deepest nesting of statements. It bounds the stack that parsing and running take.
const DEPTH_LIMIT: usize = 24;

/// The most statements that are noted as not understood.
const NOTE_LIMIT: usize = 8;

/// A list of statements.
pub(super) type Script = Rc<[Statement]>;

/// A statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// A command: its words, and the block in braces after them.
    Command {
        words: Vec<Vec<Piece>>,
        block: Option<Script>,
    },
    /// Conditions with what is done where they hold, and what is done otherwise.
    If {
        branches: Vec<(Script, Script)>,
        otherwise: Script,
    },
    /// A loop that runs while its condition gives `wanted`.
    Loop {
        wanted: bool,
        condition: Script,
        body: Script,
    },
    /// A loop over words.
    For {
        name: String,
        words: Vec<Vec<Piece>>,
        body: Script,
    },
    /// A function.
    Function { name: String, body: Script },
}

/// Parses a script; the notes say what was not understood.
pub(super) fn parse(text: &str) -> (Script, Vec<String>) {
    let tokens = tokens(text);
    let mut parser = Parser {
        tokens: &tokens,
        depth: 0,
    };
    let mut statements = Vec::new();
    let mut notes = Vec::new();
    while let Some(token) = parser.tokens.first() {
        let before = parser.tokens;
        match parser.statement() {
            Ok(Some(statement)) => statements.push(statement),
            Ok(None) => parser.skip(),
            Err(()) => {
                parser.depth = 0;
                if notes.len() < NOTE_LIMIT {
                    notes.push(format!("line {} is not understood", token.line));
                }
                // From the statement's own line on, as GRUB, which has read no further than needed.
                parser.tokens = before;
                while parser
                    .tokens
                    .first()
                    .is_some_and(|next| next.kind != Kind::Newline)
                {
                    parser.skip();
                }
            }
        }
    }
    (statements.into(), notes)
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

/// What ends a list of statements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Brace,
    Words(&'static [&'static str]),
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Kind> {
        self.tokens.first().map(|token| &token.kind)
    }

    fn skip(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn skip_newlines(&mut self) {
        while matches!(self.peek(), Some(Kind::Newline)) {
            self.skip();
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), ()> {
        match self.peek().and_then(Kind::literal) {
            Some(found) if found == word => {
                self.skip();
                Ok(())
            }
            _ => Err(()),
        }
    }

    /// A name in letters, digits and underscores.
    fn name(&mut self) -> Result<String, ()> {
        let name = self.peek().and_then(Kind::literal).ok_or(())?;
        self.skip();
        Ok(name.into())
    }

    /// One statement; none where only a separator or a stray brace is.
    fn statement(&mut self) -> Result<Option<Statement>, ()> {
        self.depth = self
            .depth
            .checked_add(1)
            .filter(|depth| *depth <= DEPTH_LIMIT)
            .ok_or(())?;
        let statement = match self.peek() {
            Some(Kind::Word(_)) => match self.peek().and_then(Kind::literal) {
                Some("if") => self.condition().map(Some),
                Some("while") => self.repeat(true).map(Some),
                Some("until") => self.repeat(false).map(Some),
                Some("for") => self.each().map(Some),
                Some("function") => self.function().map(Some),
                Some("then" | "else" | "elif" | "fi" | "do" | "done") => Err(()),
                _ => self.command().map(Some),
            },
            Some(Kind::Open) => Err(()),
            Some(Kind::Close | Kind::Newline | Kind::Semicolon) | None => Ok(None),
        }?;
        self.depth = self.depth.saturating_sub(1);
        Ok(statement)
    }

    /// Statements up to their end, which is left for the caller.
    fn list(&mut self, end: End) -> Result<Script, ()> {
        let mut statements = Vec::new();
        loop {
            let ends = match (self.peek().ok_or(())?, end) {
                (Kind::Close, End::Brace) => true,
                (kind, End::Words(words)) => kind.literal().is_some_and(|word| words.contains(&word)),
                _ => false,
            };
            if ends {
                return Ok(statements.into());
            }
            match self.statement()? {
                Some(statement) => statements.push(statement),
                None if matches!(self.peek(), Some(Kind::Newline | Kind::Semicolon)) => self.skip(),
                None => return Err(()),
            }
        }
    }

    fn block(&mut self) -> Result<Script, ()> {
        self.skip();
        let list = self.list(End::Brace)?;
        self.skip();
        Ok(list)
    }

    fn command(&mut self) -> Result<Statement, ()> {
        let words = self.words();
        let block = match self.peek() {
            Some(Kind::Open) => Some(self.block()?),
            _ => None,
        };
        Ok(Statement::Command { words, block })
    }

    fn words(&mut self) -> Vec<Vec<Piece>> {
        let mut words = Vec::new();
        while let Some(Kind::Word(word)) = self.peek() {
            words.push(word.clone());
            self.skip();
        }
        words
    }

    fn condition(&mut self) -> Result<Statement, ()> {
        let mut branches = Vec::new();
        let empty = || Script::from(Vec::new());
        loop {
            self.skip();
            let condition = self.list(End::Words(&["then"]))?;
            self.skip();
            let body = self.list(End::Words(&["elif", "else", "fi"]))?;
            branches.push((condition, body));
            match self.peek().and_then(Kind::literal) {
                Some("elif") => {}
                Some("else") => {
                    self.skip();
                    let otherwise = self.list(End::Words(&["fi"]))?;
                    self.skip();
                    return Ok(Statement::If { branches, otherwise });
                }
                _ => {
                    self.skip();
                    return Ok(Statement::If {
                        branches,
                        otherwise: empty(),
                    });
                }
            }
        }
    }

    fn body(&mut self) -> Result<Script, ()> {
        self.expect("do")?;
        let body = self.list(End::Words(&["done"]))?;
        self.skip();
        Ok(body)
    }

    fn repeat(&mut self, wanted: bool) -> Result<Statement, ()> {
        self.skip();
        let condition = self.list(End::Words(&["do"]))?;
        let body = self.body()?;
        Ok(Statement::Loop {
            wanted,
            condition,
            body,
        })
    }

    fn each(&mut self) -> Result<Statement, ()> {
        self.skip();
        let name = self.name()?;
        self.expect("in")?;
        let words = self.words();
        while matches!(self.peek(), Some(Kind::Newline | Kind::Semicolon)) {
            self.skip();
        }
        let body = self.body()?;
        Ok(Statement::For { name, words, body })
    }

    fn function(&mut self) -> Result<Statement, ()> {
        self.skip();
        let name = self.name()?;
        self.skip_newlines();
        match self.peek() {
            Some(Kind::Open) => Ok(Statement::Function {
                name,
                body: self.block()?,
            }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        let (script, notes) = parse(text);
        assert_eq!(notes, [""; 0], "{text}");
        let kind = |statement: &Statement| match statement {
            Statement::Command { block: None, .. } => "command",
            Statement::Command { .. } => "block",
            Statement::If { .. } => "if",
            Statement::Loop { .. } => "loop",
            Statement::For { .. } => "for",
            Statement::Function { .. } => "function",
        };
        script.iter().map(kind).collect()
    }

    #[test]
    fn every_statement_of_the_manual_is_known() {
        assert_eq!(
            kinds(
                "set a=1; insmod x\nif [ a ]; then b; elif c\nthen d; else e; fi\nfor x in 1 2; do y; done\n\
                 while a; do b; done\nuntil a\ndo\nb\ndone\nfunction f {\n a\n}\nmenuentry 'x' --class y {\n if a; then b; fi\n}\n}\n"
            ),
            [
                "command", "command", "if", "for", "loop", "loop", "function", "block"
            ]
        );
    }

    #[test]
    fn a_line_that_is_not_understood_is_noted_and_the_next_ones_count() {
        let (script, notes) = parse("set a=1\nfi\nset b=2\nif true; then x\nset c=3\n");
        assert_eq!(notes, ["line 2 is not understood", "line 4 is not understood"]);
        assert_eq!(script.len(), 3);
    }

    #[test]
    fn hazard_deep_nesting_ends() {
        let (script, notes) = parse(&"if true; then ".repeat(10_000));
        assert_eq!((script.len(), notes.len()), (0, 1));
        parse(&"x {".repeat(10_000));
    }
}
