//! Columns for people: a head, no frames, nothing cut off.

use std::fmt;

/// A table, or fields of one thing below each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Fields of one thing: a name and a value a line, without a head.
    pub(crate) fn fields() -> Self {
        Self::new(&[])
    }

    /// Adds a row, or a field.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() && self.head.is_empty() {
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        // What is printed does not depend on where it is printed.
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.force_no_tty();
        if !self.head.is_empty() {
            table.set_header(&self.head);
        }
        // Control characters in names would rearrange the terminal.
        table.add_rows(self.rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
        let columns = table.column_count();
        for (at, column) in table.column_iter_mut().enumerate() {
            let right = if at + 1 == columns { 0 } else { 2 };
            column.set_padding((0, right));
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// With a mark in place of each control character.
pub(super) fn printable(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["ID", "NAME", "STATE"]);
        table.row(["i-1".into(), "web".into(), "running".into()]);
        table.row(["i-23".into(), String::new(), "stopped".into()]);
        assert_eq!(
            table.to_string(),
            "ID    NAME  STATE\ni-1   web   running\ni-23        stopped\n"
        );
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let mut table = Table::fields();
        table.row(["Name".into(), "a\x1b[2Jb".into()]);
        assert!(!table.to_string().contains('\x1b'));
    }
}
