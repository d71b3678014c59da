//! `kiln check`, `kiln gc`.

use super::Context;
use crate::failure::Failure;
use crate::output::{self, Format, Table};
use kiln_control::{Bytes, Findings, Severity};

/// Status 1 if something is missing or damaged.
pub(crate) fn check(context: &Context) -> Result<u8, Failure> {
    let found = context.cloud()?.check()?;
    match context.format {
        Format::Json => output::document(&found)?,
        Format::Id => {}
        Format::Table => {
            output::bytes(table(&found).to_string().as_bytes())?;
            let verdict = if found.has_errors() { "damaged" } else { "whole" };
            output::line(&format!(
                "the store is {verdict}: {} checked",
                output::count(found.layers, "layer")
            ))?;
        }
    }
    Ok(u8::from(found.has_errors()))
}

/// A line for each finding.
pub(super) fn table(found: &Findings) -> Table {
    let mut table = Table::fields();
    for finding in &found.findings {
        let severity = match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        table.row([
            severity.to_owned(),
            finding.code.to_owned(),
            finding.message.clone(),
            finding.fix.clone(),
        ]);
    }
    table
}

pub(crate) fn collect(context: &Context) -> Result<u8, Failure> {
    let collected = context.cloud()?.collect()?;
    match context.format {
        Format::Json => output::document(&collected)?,
        Format::Id => {
            for layer in &collected.layers {
                output::line(layer)?;
            }
        }
        Format::Table => output::line(&format!(
            "{} removed, which nothing named: {} free again",
            output::count(collected.layers.len(), "layer"),
            Bytes(collected.bytes)
        ))?,
    }
    Ok(0)
}

/// The steps at which `KILN_CRASH_POINT` can have this program killed, where it was built for that.
#[cfg(any(debug_assertions, feature = "crash-points"))]
pub(crate) fn crash_points() -> Result<u8, Failure> {
    for point in kiln_control::CRASH_POINTS {
        output::line(point)?;
    }
    Ok(0)
}
