//! Disks from servers, and official images: of a server on the loopback interface.

use super::kiln::{Ended, Kiln};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;

/// The SHA-256 of a disk of 4096 zeroes.
const DIGEST: &str = "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7";

/// Serves that disk as `/os-1.img`, and its digest, until the tests end; the server's address.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = match asked.split(' ').nth(1) {
                Some("/os-1.img") => ("200 OK", vec![0; 4096]),
                Some("/SHA256SUMS") => ("200 OK", format!("{DIGEST}  os-1.img\n").into_bytes()),
                _ => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    address
}

/// A home with a list of one official image, `os-one`, of that server.
fn with_a_list(server: &str) -> Kiln {
    let kiln = Kiln::new();
    let list = format!("# one\nos-one\tAn OS\t1\t{server}/os-*.img\t{server}/SHA256SUMS\n");
    std::fs::write(kiln.home.path().join("list.tsv"), list).expect("a file");
    kiln
}

fn run(kiln: &Kiln, arguments: &[&str]) -> Ended {
    let mut command = kiln.command(arguments);
    let ended = command.env("KILN_OFFICIAL_IMAGES", "list.tsv").output();
    Ended::from(ended.expect("it starts"))
}

#[test]
fn a_disk_at_an_address_is_imported_if_its_digest_fits() {
    let (kiln, server) = (Kiln::new(), serve());
    let url = format!("{server}/os-1.img");
    let imported = kiln.run(&["-q", "image", "import", &url, "--name", "one"]);
    assert_eq!(imported.status, 0, "{imported:?}");
    assert!(!imported.err.contains("is not verified"), "{imported:?}");
    let again = kiln.run(&["-q", "image", "import", &url, "--name", "two", "--sha256", DIGEST]);
    assert_eq!(again.status, 0, "{again:?}");
    std::fs::write(kiln.home.path().join("disk.raw"), vec![0; 4096]).expect("a file");
    let other = "a".repeat(64);
    for disk in [url.as_str(), "disk.raw"] {
        let refused = kiln.run(&["image", "import", disk, "--name", "three", "--sha256", &other]);
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(
            refused.err.contains(DIGEST) && refused.err.contains(&other),
            "{refused:?}"
        );
        assert!(refused.err.ends_with("[InvalidParameterValue]\n"), "{refused:?}");
    }
    assert!(kiln.home.path().join("disk.raw").exists());
    let listed = kiln.run(&["-q", "image", "list"]).out;
    assert_eq!(listed, imported.out + &again.out);
}

#[test]
fn an_official_image_is_listed_and_fetched_by_its_name() {
    let kiln = with_a_list(&serve());
    let listed = run(&kiln, &["-q", "image", "list", "--official"]);
    assert_eq!(
        (listed.status, listed.out.as_str()),
        (0, "os-one\n"),
        "{listed:?}"
    );
    let table = run(&kiln, &["image", "list", "--official"]).out;
    assert!(
        table.contains("An OS") && table.contains("about 1 MiB"),
        "{table}"
    );
    let imported = run(&kiln, &["-q", "image", "import", "os-one", "--name", "os-one"]);
    assert_eq!(imported.status, 0, "{imported:?}");
    let shown = run(&kiln, &["image", "show", "os-one"]).out;
    assert!(shown.contains("An OS"), "{shown}");
}

#[test]
fn a_person_who_launches_an_official_image_is_asked_once_whether_it_is_to_be_fetched() {
    let server = serve();
    for (answer, is_fetched) in [("n\n", false), ("\n", true)] {
        let kiln = with_a_list(&server);
        let line = format!("{} run os-one", env!("CARGO_BIN_EXE_kiln"));
        let mut command = kiln.program(&["script", "-qec", &line, "/dev/null"]);
        command.env("KILN_OFFICIAL_IMAGES", "list.tsv");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("script");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(answer.as_bytes()).expect("it reads");
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(said.matches("fetch it from 127.0.0.1").count(), 1, "{said}");
        assert!(said.contains("(about 1 MiB) and register it? [Y/n]"), "{said}");
        let there = kiln.run(&["image", "show", "os-one"]).status == 0;
        assert_eq!(there, is_fetched, "{said}");
    }
}
