//! Key pairs, of which the private half never leaves its user's home.

use crate::Kiln;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_pair_that_is_made_has_its_private_half_in_the_home_and_in_the_file_that_was_named_and_is_never_printed()
{
    let kiln = Kiln::new();
    let home = kiln.home.path();
    let kept = home.join("store/keys/us-east-1/me");
    let made = kiln.run(&[
        "--output",
        "json",
        "key",
        "create",
        "me",
        "--output-key",
        "me.pem",
    ]);
    assert_eq!(made.status, 0, "{made:?}");
    let document: serde_json::Value = serde_json::from_str(&made.out).expect("JSON");
    assert_eq!(
        (&document["KeyName"], &document["KeyType"]),
        (&"me".into(), &"ed25519".into())
    );
    let private = std::fs::read_to_string(&kept).expect("it is kept");
    assert_eq!(
        std::fs::read_to_string(home.join("me.pem")).expect("it is written"),
        private
    );
    for file in [&kept, &home.join("me.pem")] {
        let mode = std::fs::metadata(file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    for line in private.lines() {
        assert!(!made.out.contains(line) && !made.err.contains(line));
    }

    // Neither it nor the file is replaced.
    let again = kiln.run(&["key", "create", "me"]);
    assert!(
        again.status == 1 && again.err.contains("[InvalidKeyPair.Duplicate]"),
        "{again:?}"
    );
    let over = kiln.run(&["key", "create", "you", "--output-key", "me.pem"]);
    assert!(
        over.status == 1 && over.err.contains("is there already"),
        "{over:?}"
    );
    assert_eq!(std::fs::read_to_string(&kept).expect("it is kept"), private);
    assert_eq!(kiln.run(&["-q", "key", "list"]).out, "me\n");

    // One that is recorded keeps its private half, though that cannot be said.
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let unsaid = kiln.command(&["key", "create", "unsaid"]).stdout(full).status();
    assert_eq!(unsaid.expect("it starts").code(), Some(1));
    assert!(home.join("store/keys/us-east-1/unsaid").exists());
    assert_eq!(kiln.run(&["key", "delete", "unsaid"]).status, 0);

    // A pair that is not made leaves no private half, and one that is deleted takes it along.
    let missing = kiln.run(&["key", "delete", "me", "nobody"]);
    assert!(
        missing.status == 1 && missing.err.contains("[InvalidKeyPair.NotFound]"),
        "{missing:?}"
    );
    assert!(kept.exists());
    assert_eq!(kiln.run(&["key", "delete", "me"]).out, "me\n");
    let folder = std::fs::read_dir(home.join("store/keys/us-east-1")).expect("a folder");
    assert_eq!(folder.count(), 0);
}

#[test]
fn a_key_that_its_user_has_is_imported_from_its_file_and_what_is_none_is_named() {
    let kiln = Kiln::new();
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfEUKoBhYkoupM7ibbV52CdB4ctHp1f7DgtPByrhyya me@here\n";
    for (name, content) in [
        ("good.pub", line),
        ("bad.pub", "ssh-ed25519 AAAA me"),
        ("not.pub", "\u{0}"),
    ] {
        std::fs::write(kiln.home.path().join(name), content).expect("a file");
    }
    assert_eq!(
        kiln.run(&["key", "import", "--tag", "a=b", "me", "good.pub"]).out,
        "me\n"
    );
    let shown = kiln.run(&["key", "list", "--filter", "tag:a=b"]).out;
    assert!(
        shown.contains("HMaRvaLNLc2TNomT9btcFBgFuu3gU0k3hwpbX+90tiU="),
        "{shown}"
    );
    for (file, told) in [
        ("bad.pub", "bad.pub: it is no public key of OpenSSH"),
        ("not.pub", "[InvalidKey.Format]"),
        ("none.pub", "there is no file none.pub"),
    ] {
        let refused = kiln.run(&["key", "import", "other", file]);
        assert!(refused.status == 1 && refused.err.contains(told), "{refused:?}");
    }
    let no_such = kiln.run(&["run", "x", "--key", "nobody"]);
    assert_eq!(no_such.status, 1, "{no_such:?}");
}
