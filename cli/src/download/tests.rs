use super::digest::Algorithm;
use super::server::{Answer, Request, Server, client};
use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Hears what is said.
#[derive(Debug, Default)]
struct Said(Mutex<Vec<String>>);

struct Silent;
impl Progress for Silent {
    fn at(&self, _: u64, _: u64) {}
}

impl Said {
    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Watcher for Said {
    fn begin(&self, _: &'static str) -> Box<dyn Progress + '_> {
        Box::new(Silent)
    }

    fn hint(&self, text: &str) {
        self.0.lock().expect("no panic").push(format!("hint: {text}"));
    }

    fn warn(&self, text: &str) {
        self.0.lock().expect("no panic").push(format!("warning: {text}"));
    }
}

/// Bytes that differ from place to place.
fn disk() -> Vec<u8> {
    let block = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    block.collect()
}

fn sum(bytes: &[u8]) -> Digest {
    Digest::of_bytes(Algorithm::Sha256, bytes)
}

fn wish(address: Address) -> Wish {
    Wish {
        address,
        digest: None,
        list: None,
    }
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn content(fetched: &Fetched) -> Vec<u8> {
    std::fs::read(fetched.path()).expect("it is there")
}

/// The folder's files, but for locks.
fn left(cache: &Path) -> usize {
    let all = std::fs::read_dir(cache.join("downloads"))
        .into_iter()
        .flatten()
        .flatten();
    all.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
        .count()
}

#[test]
fn a_disk_is_fetched_verified_by_the_file_beside_it_and_used_again() {
    for (list, form) in [
        ("/a/SHA256SUMS", "{}  disk.img\n"),
        ("/a/SHA512SUMS", "SHA256 (disk.img) = {}\n"),
        ("/a/CHECKSUM", "# disk.img: 7 bytes\nSHA256 (disk.img) = {}\n"),
        ("/a/disk.img.sha256", "{}\n"),
        ("/a/disk.img.SHA256", "{} *disk.img\n"),
        ("/a/disk.img.sha512", "{}"),
    ] {
        let text = form.replace("{}", sum(&disk()).hex());
        let server = Server::new(move |request| match request.path.as_str() {
            "/a/disk.img" => Answer::file(request, &disk(), "\"1\""),
            path if path == list => Answer::ok(text.as_bytes()),
            _ => Answer::missing(),
        });
        let (cache, said) = (cache(), Said::default());
        for _ in 0..2 {
            let fetched = fetch(
                &wish(server.address("/a/disk.img")),
                &client(),
                cache.path(),
                &said,
            );
            assert!(content(&fetched.expect(list)) == disk(), "{list}");
        }
        assert_eq!(server.asked("/a/disk.img").len(), 1, "{list}");
        assert_eq!(said.all(), [""; 0], "{list}");
    }
}

#[test]
fn a_disk_without_any_checksum_is_warned_of_and_used_again_while_the_server_has_no_other() {
    let version = std::sync::Arc::new(AtomicUsize::new(1));
    let shown = std::sync::Arc::clone(&version);
    let server = Server::new(move |request| match request.path.as_str() {
        "/disk.img" => {
            let version = shown.load(Ordering::SeqCst);
            Answer::file(
                request,
                format!("disk {version}").as_bytes(),
                &format!("\"{version}\""),
            )
        }
        // A server that answers whatever it is asked for.
        _ => Answer::ok(b"<html>disk.img is not here</html>").header("Content-Type: text/html"),
    });
    let (cache, said) = (cache(), Said::default());
    let get = || fetch(&wish(server.address("/disk.img")), &client(), cache.path(), &said).expect("fetched");
    for (number, expected) in [(1, "disk 1"), (1, "disk 1"), (2, "disk 2")] {
        version.store(number, Ordering::SeqCst);
        assert_eq!(content(&get()), expected.as_bytes());
    }
    assert!(
        said.all()
            .iter()
            .all(|line| line.starts_with("warning: ") && line.contains("not verified"))
    );
    assert_eq!(said.all().len(), 3);
    let asked = server.asked("/disk.img");
    assert_eq!(asked[0].header("if-none-match"), None);
    assert_eq!(asked[1].header("if-none-match"), Some("\"1\""));
    assert_eq!(
        asked.len(),
        4,
        "the first, not modified, modified, and the second"
    );
}

#[test]
fn a_download_that_was_cut_goes_on_from_there() {
    let tries = AtomicUsize::new(0);
    let server = Server::new(move |request| {
        let whole = Answer::file(request, &disk(), "\"1\"");
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => whole.cut_after(1_200_000),
            1 => whole.cut_after(1_100_000),
            _ => whole,
        }
    });
    let (cache, said) = (cache(), Said::default());
    let wish = Wish {
        digest: Some(sum(&disk())),
        ..wish(server.address("/disk.img"))
    };
    let fetched = fetch(&wish, &client(), cache.path(), &said).expect("fetched");
    assert!(content(&fetched) == disk());
    let asked = server.asked("/disk.img");
    let ranges: Vec<_> = asked.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=1200000-"), Some("bytes=2300000-")]);
    assert_eq!(asked[1].header("if-range"), Some("\"1\""));
}

#[test]
fn a_later_command_goes_on_where_an_earlier_one_was_ended_unless_the_file_has_changed() {
    for (second, changed) in [("\"1\"", false), ("\"2\"", true)] {
        let tries = AtomicUsize::new(0);
        let server = Server::new(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::file(request, &[7; 10_000], "\"1\"").cut_after(4000),
            1 | 2 => Answer::new("503 Service Unavailable", b""),
            _ => Answer::file(request, &[if changed { 9 } else { 7 }; 10_000], second),
        });
        let (cache, said) = (cache(), Said::default());
        let expected = vec![if changed { 9 } else { 7 }; 10_000];
        let wish = Wish {
            digest: Some(sum(&expected)),
            ..wish(server.address("/disk.img"))
        };
        let failure = fetch(&wish, &client(), cache.path(), &said).expect_err("it was cut");
        assert!(failure.message.contains("503"), "{failure:?}");
        let failure = fetch(&wish, &client(), cache.path(), &said).expect_err("not now");
        assert!(failure.has(Code::Unavailable), "{failure:?}");
        let fetched = fetch(&wish, &client(), cache.path(), &said).expect("fetched");
        assert_eq!(content(&fetched), expected);
        let asked = server.asked("/disk.img");
        assert_eq!(asked.last().expect("asked").header("range"), Some("bytes=4000-"));
    }
}

#[test]
fn a_part_of_another_version_is_not_joined_to_what_came_before() {
    let tries = AtomicUsize::new(0);
    let server = Server::new(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::file(request, &[7; 10_000], "\"1\"").cut_after(4000),
        // Whatever the request said of the version.
        1 => Answer::new("206 Partial Content", &[9; 6000])
            .header("ETag: \"2\"")
            .header("Content-Range: bytes 4000-9999/10000"),
        _ => Answer::file(request, &[9; 10_000], "\"2\""),
    });
    let (cache, said) = (cache(), Said::default());
    let wish = Wish {
        digest: Some(sum(&[9; 10_000])),
        ..wish(server.address("/disk.img"))
    };
    let fetched = fetch(&wish, &client(), cache.path(), &said).expect("fetched");
    assert_eq!(content(&fetched), vec![9; 10_000]);
}

#[test]
fn a_server_that_knows_no_ranges_gives_the_file_anew() {
    let tries = AtomicUsize::new(0);
    let server = Server::new(move |_| {
        let whole = Answer::ok(&disk()).header("ETag: \"1\"");
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => whole.cut_after(2_000_000),
            _ => whole,
        }
    });
    let (cache, said) = (cache(), Said::default());
    let wish = Wish {
        digest: Some(sum(&disk())),
        ..wish(server.address("/disk.img"))
    };
    let fetched = fetch(&wish, &client(), cache.path(), &said).expect("fetched");
    assert!(content(&fetched) == disk());
    assert_eq!(server.asked("/disk.img").len(), 2);
}

#[test]
fn a_digest_that_differs_is_named_with_the_one_that_was_expected_and_nothing_is_kept() {
    let server = Server::new(|request| match request.path.as_str() {
        "/disk.img" => Answer::file(request, b"another", "\"1\""),
        "/SHA256SUMS" => Answer::ok(format!("{}  disk.img", sum(b"disk").hex()).as_bytes()),
        _ => Answer::missing(),
    });
    let given = Wish {
        digest: Some(sum(b"disk")),
        ..wish(server.address("/disk.img"))
    };
    for (wish, says) in [
        (given, "was given"),
        (wish(server.address("/disk.img")), "/SHA256SUMS"),
    ] {
        let (cache, said) = (cache(), Said::default());
        let failure = fetch(&wish, &client(), cache.path(), &said).expect_err("it differs");
        for part in [sum(b"another").hex(), sum(b"disk").hex(), says, "/disk.img"] {
            assert!(failure.message.contains(part), "{failure:?}");
        }
        assert!(failure.has(Code::InvalidParameterValue));
        assert_eq!(left(cache.path()), 0);
    }
}

#[test]
fn a_kept_file_whose_digest_was_given_needs_no_server_and_one_that_differs_is_not_taken() {
    let cache = cache();
    let address = {
        let server = Server::new(|request| Answer::file(request, b"disk", "\"1\""));
        server.address("/disk.img")
    };
    let given = |digest| Wish {
        digest: Some(digest),
        ..wish(address.clone())
    };
    let get = |digest| fetch(&given(digest), &client(), cache.path(), &Said::default());
    get(sum(b"disk")).expect("fetched");
    let nobody = Client::with(
        super::client::Patience::default(),
        ureq::Proxy::new("http://127.0.0.1:1").ok(),
    );
    let again = fetch(&given(sum(b"disk")), &nobody, cache.path(), &Said::default());
    assert_eq!(content(&again.expect("nobody is asked")), b"disk");
    let there = left(cache.path());
    let failure = get(sum(b"other")).expect_err("the server has no other");
    assert!(failure.message.contains(sum(b"other").hex()), "{failure:?}");
    // It is what the server has: the digest may be mistyped.
    assert!(there > 0 && left(cache.path()) == there);
}

#[test]
fn a_file_that_is_shorter_than_it_was_said_to_be_is_refused() {
    let server = Server::new(|_| Answer::ok(&[7; 1000]).cut_after(400));
    let (cache, said) = (cache(), Said::default());
    let failure = fetch(&digested(&server, "/disk.img"), &client(), cache.path(), &said).expect_err("cut");
    assert!(
        failure.message.contains("ended after 400 of 1000 bytes"),
        "{failure:?}"
    );
    assert!(failure.has(Code::Unavailable));
}

/// With a digest, so that no checksum file is looked for.
fn digested(server: &Server, path: &str) -> Wish {
    Wish {
        digest: Some(sum(b"disk")),
        ..wish(server.address(path))
    }
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let server = Server::new(|request: &Request| match request.path.as_str() {
        "/loop" => Answer::new("302 Found", b"").header("Location: /loop"),
        "/nowhere" => Answer::new("302 Found", b"").header("Location: http://127.0.0.1:1/x"),
        "/page" => Answer::ok(b"x").header("Content-Type: text/html; charset=utf-8"),
        "/sniffed" => {
            Answer::ok(b"\n <!DOCTYPE HTML><title>").header("Content-Type: application/octet-stream")
        }
        "/forbidden" => Answer::new("403 Forbidden", b""),
        "/broken" => Answer::new("500 Internal Server Error", b""),
        "/silent" => Answer::ok(b"disk").cut_after(0).silent(Duration::from_secs(3)),
        _ => Answer::missing(),
    });
    for (path, words, code) in [
        (
            "/missing",
            "there is no http://127.0.0.1",
            Code::InvalidParameterValue,
        ),
        (
            "/loop",
            "leads from one address to the next",
            Code::InvalidParameterValue,
        ),
        ("/nowhere", "out of reach", Code::Unavailable),
        ("/page", "a page for people", Code::InvalidParameterValue),
        ("/sniffed", "a page for people", Code::InvalidParameterValue),
        ("/forbidden", "USER:PASSWORD@", Code::InvalidParameterValue),
        ("/broken", "try again later", Code::Unavailable),
        ("/silent", "was silent for 700ms", Code::Unavailable),
    ] {
        let (cache, said) = (cache(), Said::default());
        let failure = fetch(&digested(&server, path), &client(), cache.path(), &said).expect_err(path);
        assert!(failure.message.contains(words), "{path}: {failure:?}");
        assert!(failure.has(code), "{path}: {failure:?}");
        assert_eq!(failure.status, 1);
    }
}

#[test]
fn a_user_and_a_password_go_to_the_server_and_into_no_message() {
    let server = Server::new(|request| match request.header("authorization") {
        Some("Basic bWU6czNjcmV0") => Answer::ok(b"other"),
        _ => Answer::new("401 Unauthorized", b""),
    });
    let text = server.address("/disk.img?key=s3cret").uri().to_string();
    let text = text.replace("http://", "http://me:s3cret@");
    let address = Address::of(&text).expect("one is meant").expect("it is one");
    let wish = Wish {
        digest: Some(sum(b"disk")),
        ..wish(address)
    };
    let (cache, said) = (cache(), Said::default());
    let failure = fetch(&wish, &client(), cache.path(), &said).expect_err("it differs");
    assert!(failure.message.contains("127.0.0.1"), "{failure:?}");
    assert!(!failure.message.contains("s3cret"), "{failure:?}");
}

#[test]
fn two_commands_at_once_fetch_a_file_once() {
    let server = Server::new(|request| Answer::file(request, &disk(), "\"1\""));
    let cache = cache();
    let wish = Wish {
        digest: Some(sum(&disk())),
        ..wish(server.address("/disk.img"))
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let fetched = fetch(&wish, &client(), cache.path(), &Said::default()).expect("fetched");
                assert!(content(&fetched) == disk());
            });
        }
    });
    assert_eq!(server.asked("/disk.img").len(), 1);
}

#[test]
fn a_version_in_a_name_is_found_in_the_list_of_checksums() {
    let server = Server::new(|request| match request.path.as_str() {
        "/latest/SHA256SUMS" => Answer::new("302 Found", b"").header("Location: /7/SHA256SUMS"),
        "/7/SHA256SUMS" => Answer::ok(format!("{}  os-7-x86_64.qcow2\n", sum(b"disk").hex()).as_bytes()),
        "/latest/os-7-x86_64.qcow2" => Answer::ok(b"disk"),
        _ => Answer::missing(),
    });
    let (cache, said) = (cache(), Said::default());
    let wish = Wish {
        list: Some(server.address("/latest/SHA256SUMS")),
        ..wish(server.address("/latest/os-*-x86_64.qcow2"))
    };
    let fetched = fetch(&wish, &client(), cache.path(), &said).expect("fetched");
    assert_eq!(content(&fetched), b"disk");
    let other = Wish {
        address: server.address("/latest/os-*-i386.qcow2"),
        ..wish
    };
    let failure = fetch(&other, &client(), cache.path(), &said).expect_err("none has that name");
    assert!(
        failure.message.contains("has no digest of os-*-i386.qcow2"),
        "{failure:?}"
    );
}

#[test]
fn a_file_of_ones_own_with_another_digest_is_refused() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, b"disk").expect("written");
    let of = |digest| verify(file.as_file(), "disk.img", &digest, &Said::default());
    assert_eq!(of(sum(b"disk")), Ok(()));
    let failure = of(sum(b"other")).expect_err("it differs");
    for part in ["disk.img", sum(b"disk").hex(), sum(b"other").hex()] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    assert!(file.path().exists());
}
