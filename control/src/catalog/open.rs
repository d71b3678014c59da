//! Opening the catalogue: where it may lie, and which schema it may have.

use super::{BUSY_TIMEOUT, Catalog, migrations};
use crate::{Code, Error, Result};
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// File systems on which SQLite's locks or its shared memory do not work (magic numbers of statfs(2)).
const NETWORK_FILE_SYSTEMS: &[(u64, &str)] = &[
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x7375_7245, "coda"),
    (0x0BD0_0BD0, "lustre"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
];

impl Catalog {
    /// Opens the catalogue of a home, makes it if it is not there, and brings its schema up to date.
    pub(crate) fn open(home: &Path) -> Result<Catalog> {
        refuse_network_file_system(home)?;
        // SQLite follows no link on the whole way, which may lead through links of the user's.
        let home = home
            .canonicalize()
            .map_err(|error| Error::internal(format!("find {}", home.display()), error))?;
        let path = home.join("kiln.db");
        if let Ok(is) = path.metadata() {
            refuse_anothers(&home, is.uid(), rustix::process::geteuid().as_raw())?;
        }
        let failed = |error: rusqlite::Error| {
            let doing = format!("open the catalogue {}", path.display());
            match error.sqlite_error() {
                // Its shared memory, a file beside it, cannot have its size: an error of which SQLite says no more.
                Some(cause) if cause.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                    Error::internal(doing, std::io::Error::from(std::io::ErrorKind::StorageFull))
                }
                _ => Error::caused(Code::Unavailable, doing, error),
            }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        configure(&connection).map_err(failed)?;
        migrations::bring_up_to_date(&mut connection, &path)?;
        Ok(Catalog {
            connection: Mutex::new(connection),
        })
    }
}

/// Root may open what another user owns, and would lock them out of it by files of its own. (Everybody else is told by
/// the host.)
fn refuse_anothers(home: &Path, owner: u32, me: u32) -> Result<()> {
    if me != 0 || owner == 0 {
        return Ok(());
    }
    Err(Error::new(
        Code::Unavailable,
        format!(
            "the store in {} belongs to the user of id {owner}, whom files of root's would lock out: work as that user \
             (sudo -u '#{owner}'), or choose another folder by --home or KILN_HOME",
            home.display()
        ),
    ))
}

/// How often is looked whether another process has made the catalogue that this one is to open.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    let began = Instant::now();
    // SQLite waits for others with everything but this.
    while let Err(error) = connection.pragma_update(None, "journal_mode", "wal") {
        let is_busy = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy);
        if !is_busy || began.elapsed() >= BUSY_TIMEOUT {
            return Err(error);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    connection.pragma_update(None, "trusted_schema", "off")
}

fn refuse_network_file_system(home: &Path) -> Result<()> {
    let found = rustix::fs::statfs(home)
        .map_err(|error| Error::internal(format!("look at {}", home.display()), error))?;
    // The field's type differs between architectures; the magic numbers fit 32 bits everywhere.
    let magic = found.f_type as u64 & 0xFFFF_FFFF;
    match network_file_system(magic) {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Code::Unavailable,
            format!(
                "{} lies on a network file system ({name}), where the catalogue's locks do not hold: set KILN_HOME to a \
                 folder on a local disk",
                home.display()
            ),
        )),
    }
}

fn network_file_system(magic: u64) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_catalogue_is_durable_and_made_whole() {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(home.path()).unwrap();
        let (mode, synchronous): (String, i64) = catalog
            .read(|tx| {
                Ok((
                    tx.query_row("PRAGMA journal_mode", [], |row| row.get(0))?,
                    tx.query_row("PRAGMA synchronous", [], |row| row.get(0))?,
                ))
            })
            .unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[test]
    fn commands_that_find_no_catalogue_at_the_same_time_make_one_together() {
        for _ in 0..20 {
            let home = tempfile::tempdir().unwrap();
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                let open = || {
                    together.wait();
                    Catalog::open(home.path())
                };
                let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                for one in all {
                    one.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn a_home_may_be_reached_through_links_of_which_the_catalogue_itself_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir_all(real.join("home")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Catalog::open(&link.join("home")).unwrap();
        assert!(real.join("home/kiln.db").exists());
        let other = real.join("other");
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(real.join("home/kiln.db"), other.join("kiln.db")).unwrap();
        assert_eq!(Catalog::open(&other).unwrap_err().code(), Code::Unavailable);
    }

    #[test]
    fn root_opens_no_store_of_another_user() {
        let home = Path::new("/home/me/store");
        let refused = refuse_anothers(home, 1000, 0).unwrap_err().to_string();
        let words = ["/home/me/store", "1000", "KILN_HOME"];
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
        for (owner, me) in [(0, 0), (1000, 1000)] {
            refuse_anothers(home, owner, me).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_no_catalogue_is_refused_and_named() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("kiln.db"), vec![b'x'; 8192]).unwrap();
        let error = Catalog::open(home.path()).unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.to_string().contains("kiln.db"), "{error}");
    }

    #[test]
    fn network_file_systems_are_known_by_name() {
        assert_eq!(network_file_system(0x6969), Some("nfs"));
        assert_eq!(network_file_system(0xEF53), None);
    }
}
