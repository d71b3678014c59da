//! The schema, and how an older one becomes today's.
//!
//! `user_version` counts the migrations that a catalogue has seen. Each step runs in one transaction together with
//! the new count. A step that has been released is never edited: a change is a new step. A catalogue that has seen
//! more steps than this program knows was made by a newer Kiln and is left alone.

use crate::{Code, Error, Result};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// The steps, oldest first.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
];

/// Runs the steps that a catalogue lacks.
pub(super) fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<()> {
    if seen(connection)? == STEPS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody else may have done it while this process waited for the lock: count again.
    let from = seen(&transaction)?;
    let Some(missing) = STEPS.get(from..) else {
        return Err(Error::new(
            Code::Unavailable,
            format!(
                "{} was written by a newer Kiln (schema {from}; this one knows {}): use that Kiln, or another home",
                path.display(),
                STEPS.len()
            ),
        ));
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(STEPS.len()).unwrap_or(i64::MAX),
    )?;
    transaction.commit()?;
    Ok(())
}

fn seen(connection: &Connection) -> Result<usize> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    usize::try_from(version).map_err(|_| {
        Error::new(
            Code::Unavailable,
            format!("the catalogue's schema is {version}: damaged"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
            .unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(|sql| sql.unwrap())
            .collect()
    }

    #[test]
    fn a_migrated_schema_equals_a_fresh_one() {
        let mut fresh = Connection::open_in_memory().unwrap();
        bring_up_to_date(&mut fresh, Path::new("fresh")).unwrap();
        for from in 0..STEPS.len() {
            let mut old = Connection::open_in_memory().unwrap();
            for step in &STEPS[..from] {
                old.execute_batch(step).unwrap();
            }
            old.pragma_update(None, "user_version", i64::try_from(from).unwrap())
                .unwrap();
            bring_up_to_date(&mut old, Path::new("old")).unwrap();
            assert_eq!(schema(&old), schema(&fresh), "from {from}");
            assert_eq!(seen(&old).unwrap(), STEPS.len());
        }
    }

    #[test]
    fn an_instance_of_an_older_catalogue_has_the_pages_that_the_kernel_finds() {
        let mut old = Connection::open_in_memory().unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        old.execute_batch(
            r#"PRAGMA user_version = 1;
               PRAGMA foreign_keys = off;
               INSERT INTO instances (id, region, host, owner, reservation, launch_index, image, type, vcpus, memory,
                                      state, virtualization, root_device, boot, on_shutdown, launched)
               VALUES ('i-0123456789abcdef0', 'us-east-1', 'h', '000000000001', 'r-0123456789abcdef0', 0,
                       'ami-0123456789abcdef0', 't3.micro', 2, 1073741824, 'stopped', 'paravirtual', '/dev/sda1',
                       '{"kind": "disk", "append": null}', 'stop', 0);"#,
        )
        .unwrap();
        bring_up_to_date(&mut old, Path::new("old")).unwrap();
        let id = crate::InstanceId::parse("i-0123456789abcdef0").unwrap();
        let row = super::super::instances::get(&old, &id).unwrap();
        assert_eq!(row.huge_pages, crate::HugePages::Transparent);
    }

    #[test]
    fn an_image_of_an_older_catalogue_has_no_contents_that_are_known() {
        let mut old = Connection::open_in_memory().unwrap();
        for step in &STEPS[..3] {
            old.execute_batch(step).unwrap();
        }
        old.execute_batch(
            "PRAGMA user_version = 3;
             PRAGMA foreign_keys = off;
             INSERT INTO images (id, region, location, owner, name, state, architecture, virtualization, root_device,
                                 created)
             VALUES ('ami-0123456789abcdef0', 'us-east-1', 'h', '000000000001', 'old', 'available', 'x86_64',
                     'paravirtual', '/dev/sda1', 0);",
        )
        .unwrap();
        bring_up_to_date(&mut old, Path::new("old")).unwrap();
        let id = crate::ImageId::parse("ami-0123456789abcdef0").unwrap();
        let row = super::super::images::find(&old, &id).unwrap().unwrap();
        assert_eq!(row.contents, crate::image::Contents::default());
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_as_it_is() {
        let mut newer = Connection::open_in_memory().unwrap();
        newer.pragma_update(None, "user_version", 1000).unwrap();
        let error = bring_up_to_date(&mut newer, Path::new("/home/kiln.db")).unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.to_string().contains("newer Kiln"), "{error}");
        assert!(schema(&newer).is_empty());
    }
}
