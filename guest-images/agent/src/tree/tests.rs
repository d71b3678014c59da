use super::*;
use proptest::prelude::*;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tar::{Builder, EntryType, Header};

/// What is at a path: kind and permissions, content or target, time.
type Seen = (PathBuf, u32, Vec<u8>, i64);

fn seen(root: &Path) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let is = fs::symlink_metadata(&path).expect("it is there");
        let content = if is.is_dir() {
            rest.extend(
                fs::read_dir(&path)
                    .expect("read")
                    .map(|e| e.expect("read").path()),
            );
            Vec::new()
        } else if is.is_symlink() {
            fs::read_link(&path)
                .expect("read")
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            fs::read(&path).expect("read")
        };
        let time = if is.is_symlink() { 0 } else { is.mtime() };
        let below = path.strip_prefix(root).expect("below it").to_owned();
        all.push((below, is.mode(), content, time));
    }
    all.sort();
    all
}

/// A folder with something of each kind, names that are long or no text, and a folder that may not be changed.
fn make(root: &Path) {
    let long = "long".repeat(50);
    fs::create_dir_all(root.join(&long).join(&long)).expect("folders");
    fs::write(root.join(&long).join(&long).join("deep"), vec![7; 70_000]).expect("a file");
    fs::write(root.join(OsStr::from_bytes(b"no \xff text")), b"").expect("a file");
    fs::write(root.join("script"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(root.join("script"), Permissions::from_mode(0o755)).expect("set");
    symlink("../nowhere", root.join("link")).expect("a link");
    symlink(long.repeat(3), root.join("long link")).expect("a link");
    fs::create_dir(root.join("shut")).expect("a folder");
    fs::write(root.join("shut/in"), "it").expect("a file");
    fs::set_permissions(root.join("shut"), Permissions::from_mode(0o555)).expect("set");
}

/// Has folders that may not be changed go with their test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("chmod")
            .arg("-R")
            .arg("u+w")
            .arg(self.path())
            .status();
    }
}

fn packed(root: &Path, name: &str) -> (Vec<u8>, Moved) {
    let mut out = Vec::new();
    let moved = pack(root, Some(OsStr::new(name)), &mut out, |_| ()).expect("packed");
    (out, moved)
}

#[test]
fn a_folder_comes_as_it_went() {
    let place = Place::new();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    fs::create_dir(&from).expect("a folder");
    make(&from);
    let mut told = Vec::new();
    let mut stream = Vec::new();
    let went = pack(&from, Some(OsStr::new(".")), &mut stream, |bytes| {
        told.push(bytes)
    })
    .expect("packed");
    assert_eq!(told.last(), Some(&went.bytes));
    assert_eq!(measure(&from).expect("measured"), went.bytes);
    let came = unpack(&stream[..], &to, |_| ()).expect("unpacked");
    assert_eq!(came, went);
    assert_eq!(seen(&to), seen(&from));
}

#[test]
fn one_file_comes_whatever_it_is_called_there_and_a_link_to_it_is_it() {
    let place = Place::new();
    let (from, link, to) = (
        place.path().join("a"),
        place.path().join("b"),
        place.path().join("c"),
    );
    fs::write(&from, "content").expect("a file");
    symlink(&from, &link).expect("a link");
    let (stream, moved) = packed(&link, "other");
    assert_eq!((moved.entries, moved.bytes), (1, 7));
    unpack(&stream[..], &to, |_| ()).expect("unpacked");
    assert_eq!(seen(&to), seen(&from));
}

#[test]
fn streams_are_those_of_tar_itself() {
    let place = Place::new();
    let (from, to, theirs) = (
        place.path().join("from"),
        place.path().join("to"),
        place.path().join("theirs"),
    );
    fs::create_dir(&from).expect("a folder");
    make(&from);
    fs::hard_link(from.join("script"), from.join("second name")).expect("a link");
    for format in ["gnu", "posix"] {
        let made = Command::new("tar")
            .args(["-c", "-f", "-", "--format", format, "-C"])
            .arg(&from)
            .arg(".")
            .output()
            .expect("tar runs");
        assert!(made.status.success(), "{made:?}");
        // Halves of a second are in records of their own.
        unpack(&made.stdout[..], &to, |_| ()).expect(format);
        assert_eq!(seen(&to), seen(&from), "{format}");
        settle(&to, &place.path().join(format)).expect("moved");
    }
    let (stream, _) = packed(&from, "theirs");
    let file = place.path().join("stream");
    fs::write(&file, stream).expect("a file");
    let took = Command::new("tar")
        .args(["-x", "-p", "-f"])
        .args([&file, Path::new("-C"), place.path()])
        .output()
        .expect("tar runs");
    assert!(took.status.success(), "{took:?}");
    assert_eq!(seen(&theirs), seen(&from));
}

#[test]
fn a_folder_s_content_leaves_the_folder_it_goes_to_as_it_is() {
    let place = Place::new();
    let from = place.path().join("from");
    fs::create_dir(&from).expect("a folder");
    fs::write(from.join("a"), "x").expect("a file");
    let mut stream = Vec::new();
    let moved = pack(&from, None, &mut stream, |_| ()).expect("packed");
    assert_eq!(moved.entries, 1);
    let mut archive = tar::Archive::new(&stream[..]);
    let names = archive.entries().expect("entries").map(|entry| {
        let entry = entry.expect("an entry");
        entry.path().expect("a name").into_owned()
    });
    assert_eq!(names.collect::<Vec<_>>(), [Path::new("a")]);
}

#[test]
fn what_is_no_file_is_left_out_and_told() {
    let place = Place::new();
    let from = place.path().join("from");
    fs::create_dir(&from).expect("a folder");
    let socket = std::os::unix::net::UnixListener::bind(from.join("socket")).expect("a socket");
    assert!(
        fs::metadata(from.join("socket"))
            .expect("there")
            .file_type()
            .is_socket()
    );
    let (_, moved) = packed(&from, ".");
    assert_eq!((moved.entries, moved.left_out), (1, vec![from.join("socket")]));
    drop(socket);
    let mut tar = archive();
    entry(&mut tar, "./", EntryType::Directory, "", b"");
    entry(&mut tar, "./fifo", EntryType::Fifo, "", b"");
    let to = place.path().join("to");
    let moved = unpack(&finish(tar)[..], &to, |_| ()).expect("unpacked");
    assert_eq!((moved.entries, moved.left_out), (1, vec!["./fifo".into()]));
    assert_eq!(fs::read_dir(&to).expect("read").count(), 0);
}

#[test]
fn a_file_that_lends_its_owner_does_not_do_so_elsewhere() {
    let place = Place::new();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    fs::write(&from, "x").expect("a file");
    fs::set_permissions(&from, Permissions::from_mode(0o4755)).expect("set");
    let (stream, _) = packed(&from, "x");
    let header = Header::from_byte_slice(&stream[..512]);
    assert_eq!(
        (header.mode().expect("a mode"), header.uid().expect("a user")),
        (0o755, 0)
    );
    let mut tar = archive();
    let mut header = Header::new_gnu();
    header.set_mode(0o6755);
    header.set_size(0);
    tar.append_data(&mut header, "x", &b""[..]).expect("appended");
    unpack(&finish(tar)[..], &to, |_| ()).expect("unpacked");
    assert_eq!(fs::metadata(&to).expect("there").mode() & 0o7777, 0o755);
}

fn archive() -> Builder<Vec<u8>> {
    Builder::new(Vec::new())
}

fn finish(tar: Builder<Vec<u8>>) -> Vec<u8> {
    tar.into_inner().expect("finished")
}

/// An entry as nobody's tar would write it: the name is put into the header as it is.
fn entry(tar: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_mtime(1);
    header.set_cksum();
    tar.append(&header, content).expect("appended");
}

#[test]
fn hazard_a_guest_writes_nothing_but_what_was_asked_for() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let folder = ("./", Directory, "");
    type Sent = (&'static str, EntryType, &'static str);
    let cases: &[(&[Sent], &str)] = &[
        (&[folder, ("../outside/new", Regular, "")], "not asked for"),
        (&[folder, ("/tmp/kiln-outside", Regular, "")], "not asked for"),
        (&[folder, ("./a/../../outside/new", Regular, "")], "not asked for"),
        (
            &[folder, ("./a", Symlink, "../outside"), ("./a/new", Regular, "")],
            "in no folder that it sent",
        ),
        (
            &[folder, ("./a", Symlink, "../outside"), ("./a", Directory, "")],
            "File exists",
        ),
        (
            &[folder, ("./a", Symlink, "../outside/old"), ("./a", Regular, "")],
            "File exists",
        ),
        (
            &[folder, ("./a", Link, "../outside/old"), ("./a", Regular, "")],
            "not asked for",
        ),
        (
            &[folder, ("./l", Symlink, "../outside"), ("./a", Link, "./l/old")],
            "did not send before",
        ),
        (&[folder, ("./a", Link, "./b")], "did not send before"),
        (&[folder, folder], "not asked for"),
        (&[("x", Regular, ""), ("y", Regular, "")], "not asked for"),
        (
            &[("x", Symlink, "outside"), ("x/new", Regular, "")],
            "not asked for",
        ),
        (&[("a/x", Regular, "")], "not asked for"),
        (&[("a", Directory, "")], "not asked for"),
        (&[("..", Directory, "")], "not asked for"),
        (&[folder, ("./a", EntryType::GNUSparse, "")], "unknown kind"),
        (&[], "nothing"),
    ];
    for (entries, why) in cases {
        let place = Place::new();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).expect("a folder");
        fs::write(outside.join("old"), "old").expect("a file");
        let before = seen(&outside);
        let mut tar = archive();
        for (name, kind, link) in *entries {
            entry(&mut tar, name, *kind, link, b"");
        }
        let failed = unpack(&finish(tar)[..], &place.path().join("to"), |_| ()).expect_err(why);
        assert!(failed.to_string().contains(why), "{entries:?}: {failed}");
        assert_eq!(seen(&outside), before, "{entries:?}");
    }
    assert!(!Path::new("/tmp/kiln-outside").exists());
}

#[test]
fn hazard_a_guest_cannot_fill_memory_by_a_name() {
    let place = Place::new();
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let stream = header.as_bytes().chain(std::io::repeat(b'x'));
        let failed = unpack(stream, &place.path().join("to"), |_| ()).expect_err("too long");
        assert!(failed.to_string().contains("are the most"), "{failed}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_told() {
    let place = Place::new();
    let from = place.path().join("from");
    fs::write(&from, vec![1; 2000]).expect("a file");
    let (stream, _) = packed(&from, "x");
    for len in [100, 512, 513, 1500] {
        let to = place.path().join(len.to_string());
        let failed = unpack(&stream[..len], &to, |_| ()).expect_err("it is not whole");
        assert!(matches!(failed, UnpackError::Stream(_)), "{len}: {failed:?}");
    }
}

#[test]
fn what_came_is_settled_in_a_folder_that_is_there() {
    let place = Place::new();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    for (path, content) in [
        ("from/a", "new"),
        ("from/sub/b", "new"),
        ("to/a", "old"),
        ("to/sub/c", "stays"),
    ] {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, content).expect("a file");
    }
    fs::create_dir(from.join("shut")).expect("a folder");
    fs::set_permissions(from.join("shut"), Permissions::from_mode(0o555)).expect("set");
    symlink("/", to.join("l")).expect("a link");
    fs::write(from.join("l"), "new").expect("a file");
    settle(&from, &to).expect("settled");
    assert!(!from.exists());
    let read = |name: &str| fs::read_to_string(to.join(name)).expect(name);
    let all = ["a", "sub/b", "sub/c", "l"].map(read);
    assert_eq!(all, ["new", "new", "stays", "new"]);
    assert_eq!(
        fs::metadata(to.join("shut")).expect("there").mode() & 0o777,
        0o555
    );

    let socket = std::os::unix::net::UnixListener::bind(to.join("socket")).expect("a socket");
    fs::write(&from, "new").expect("a file");
    let (path, error) = settle(&from, &to.join("socket")).expect_err("no file is there");
    assert!(path == to.join("socket") && error.to_string().contains("a socket is there"));
    fs::remove_file(&from).expect("it is there still");
    drop(socket);

    fs::create_dir(&from).expect("a folder");
    fs::create_dir(from.join("a")).expect("a folder");
    let (path, error) = settle(&from, &to).expect_err("a file is there");
    assert_eq!(
        (path, error.kind()),
        (to.join("a"), std::io::ErrorKind::NotADirectory)
    );
}

fn any_entry() -> impl Strategy<Value = (OsString, u8, OsString, Vec<u8>)> {
    let part = prop_oneof![
        Just(b"a".to_vec()),
        Just(b"b".to_vec()),
        Just(b"..".to_vec()),
        Just(b".".to_vec()),
        Just(b"".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4)
    ];
    let path = || {
        proptest::collection::vec(part.clone(), 0..4)
            .prop_map(|parts| OsStr::from_bytes(&parts.join(&b'/')).to_owned())
    };
    let kind = prop_oneof![
        Just(b'0'),
        Just(b'1'),
        Just(b'2'),
        Just(b'5'),
        Just(b'L'),
        any::<u8>()
    ];
    (
        path(),
        kind,
        path(),
        proptest::collection::vec(any::<u8>(), 0..600),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_stream_reaches_beyond_its_place(
        entries in proptest::collection::vec(any_entry(), 0..12),
        spoiled in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let place = Place::new();
        let (beside, to) = (place.path().join("beside"), place.path().join("to"));
        fs::create_dir(&beside).expect("a folder");
        fs::write(beside.join("a"), "old").expect("a file");
        let before = seen(&beside);
        let mut tar = archive();
        entry(&mut tar, "./", EntryType::Directory, "", b"");
        for (name, kind, link, content) in &entries {
            let mut header = Header::new_gnu();
            let (name, link) = (name.as_bytes(), link.as_bytes());
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
            header.as_old_mut().linkflag = [*kind];
            header.set_mode(0o700);
            header.set_mtime(1);
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, &content[..]).expect("appended");
        }
        let mut stream = finish(tar);
        if let Some((at, byte)) = spoiled {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let _ = unpack(&stream[..], &to, |_| ());
        prop_assert_eq!(seen(&beside), before);
        let mut names: Vec<OsString> = fs::read_dir(place.path())
            .expect("read")
            .map(|e| e.expect("read").file_name())
            .collect();
        names.retain(|name| name != "to");
        prop_assert_eq!(names, ["beside"]);
    }
}
