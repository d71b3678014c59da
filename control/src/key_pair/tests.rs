//! Keys and fingerprints as OpenSSH's own tools make them.

use super::*;
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQD3PYebdkorzKV4ZRUK7TLTE6kIsPrAzkZmcRMh/ptiFDQll9luaL9y8TkjpZ5DP9raDJiWHVjJWscakEL3Mv+BwOUVhnneW/yF3fLwRPMlDS+kKlFDEbdHSVbT3wn0N3Fb8UEtlfy1EKCf7cvDqkpxaHb4VgB0D9UgYpozF1FhSQ==";
const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfEUKoBhYkoupM7ibbV52CdB4ctHp1f7DgtPByrhyya";

fn ssh_keygen(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new("ssh-keygen");
    let output = command.args(arguments).arg("-f").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A new pair's private file, in the folder.
fn new_pair(folder: &Path, arguments: &[&str]) -> std::path::PathBuf {
    let file = folder.join(arguments.concat());
    ssh_keygen(
        &[&["-q", "-N", "", "-C", "me@here", "-m", "PEM"], arguments].concat(),
        &file,
    );
    file
}

/// What is between the lines of a PEM file.
fn of_pem(text: &str) -> Vec<u8> {
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

fn public_half(private: &Path) -> PublicKey {
    PublicKey::parse(&std::fs::read_to_string(private.with_extension("pub")).unwrap()).unwrap()
}

#[test]
fn an_ed25519_key_has_opensshs_fingerprint_with_its_padding_however_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_pair(folder.path(), &["-t", "ed25519"]);
    let key = public_half(&file);
    let told = ssh_keygen(&["-l"], &file);
    let digest = told.split(' ').nth(1).unwrap().strip_prefix("SHA256:").unwrap();
    assert_eq!(key.fingerprint(), format!("{digest}="));
    assert_eq!(fingerprint_of_created(&key, "").unwrap(), key.fingerprint());
    assert_eq!(key.key_type(), KeyType::Ed25519);
}

#[test]
fn an_rsa_keys_fingerprint_is_of_its_public_half_in_der_or_if_it_was_made_here_of_its_private_half() {
    let folder = tempfile::tempdir().unwrap();
    for bits in ["1024", "2048", "4096"] {
        let file = new_pair(folder.path(), &["-t", "rsa", "-b", bits]);
        let key = public_half(&file);
        let public = of_pem(&ssh_keygen(&["-e", "-m", "PKCS8"], &file));
        assert_eq!(key.fingerprint(), public::colons(&md5::Md5::digest(public)));
        let private = std::fs::read_to_string(&file).unwrap();
        let of_created = fingerprint_of_created(&key, &private).unwrap();
        ssh_keygen(&["-q", "-p", "-N", "", "-m", "PKCS8"], &file);
        let private = of_pem(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(of_created, public::colons(&Sha1::digest(private)));
    }
    // What `openssl rsa -RSAPublicKey_in -outform DER | openssl md5 -c` says of it.
    let known = "cc:3b:09:de:11:06:4f:b5:e6:c7:c0:24:05:24:1a:eb";
    assert_eq!(PublicKey::parse(RSA).unwrap().fingerprint(), known);
}

#[test]
fn a_public_key_is_a_line_or_the_text_of_rfc_4716_and_its_comment_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "rsa"] {
        let file = new_pair(folder.path(), &["-t", kind]);
        let line = std::fs::read_to_string(file.with_extension("pub")).unwrap();
        let key = PublicKey::parse(&line).unwrap();
        assert_eq!(format!("{} me@here\n", key.line()), line.replace("\r\n", "\n"));
        let other = ssh_keygen(&["-e"], &file);
        assert_eq!(PublicKey::parse(&other).unwrap(), key, "{other}");
        let folded = other.replacen("Comment: ", "x-a: b\\\nc: d\nComment: ", 1);
        assert_eq!(PublicKey::parse(&folded).unwrap(), key, "{folded}");
    }
}

#[test]
fn what_is_no_public_key_that_is_taken_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |arguments: &[&str]| new_pair(folder.path(), arguments);
    let private = std::fs::read_to_string(pair(&["-t", "rsa"])).unwrap();
    let pem = ssh_keygen(&["-e", "-m", "PKCS8"], &pair(&["-t", "rsa", "-b", "2048"]));
    let public = |file: std::path::PathBuf| std::fs::read_to_string(file.with_extension("pub")).unwrap();
    let cut = RSA.get(..RSA.len() - 20).unwrap();
    for (text, told) in [
        (&*private, "ssh-keygen -y -f FILE"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY's key file"),
        (&pem, "ssh-keygen -i -m PKCS8"),
        (&public(pair(&["-t", "ecdsa"])), "of type ecdsa-sha2-nistp256"),
        (&small_rsa(), "of 512 bits"),
        (cut, "no public key of OpenSSH"),
        (&format!("{ED25519}\n{ED25519}\n"), "more than one line"),
        ("", "no public key of OpenSSH"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "its end is missing"),
        (
            "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA!\n---- END SSH2 PUBLIC KEY ----",
            "not in base64",
        ),
    ] {
        let error = PublicKey::parse(text).unwrap_err();
        assert_eq!(error.code(), Code::InvalidKeyFormat, "{text}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let private_in_another_form = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
    let key = PublicKey::parse(RSA).unwrap();
    assert!(fingerprint_of_created(&key, private_in_another_form).is_err());
}

/// A key of 512 bits, which OpenSSH makes no more.
fn small_rsa() -> String {
    let parts: [&[u8]; 3] = [b"ssh-rsa", &[3], &[&[0][..], &[0xff; 64]].concat()];
    let length = |part: &[u8]| u32::try_from(part.len()).unwrap().to_be_bytes();
    let bytes: Vec<u8> = parts
        .iter()
        .flat_map(|part| [&length(part), *part].concat())
        .collect();
    format!("ssh-rsa {}", STANDARD.encode(bytes))
}

#[test]
fn a_key_pairs_name_is_of_printable_ascii() {
    for name in ["me", "a b", "me@here", "a/b", &"x".repeat(255)] {
        check_key_name(name).unwrap();
    }
    for name in ["", " me", "me ", "a\nb", "ü", &"x".repeat(256)] {
        assert_eq!(
            check_key_name(name).unwrap_err().code(),
            Code::InvalidParameterValue
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_a_public_key_or_refused(text in ".{0,300}", at in 0..700_usize, byte in any::<char>()) {
        let _ = PublicKey::parse(&text);
        let mut damaged: Vec<char> = format!("---- BEGIN SSH2 PUBLIC KEY ----\n{RSA}\n---- END SSH2 PUBLIC KEY ----").chars().collect();
        if let Some(place) = damaged.get_mut(at) {
            *place = byte;
        }
        let _ = PublicKey::parse(&damaged.into_iter().collect::<String>());
        let line: String = RSA.chars().enumerate().map(|(place, c)| if place == at { byte } else { c }).collect();
        if let Ok(key) = PublicKey::parse(&line) {
            prop_assert_eq!(PublicKey::parse(&key.line()).unwrap(), key);
        }
    }
}
