//! The inputs that fuzzing begins with, made from real files: each target understands its own, and they are put into
//! `corpus/TARGET/`, where `make fuzz` finds them.
#![allow(missing_docs, reason = "tests")]

mod devices;
mod disks;
mod images;
mod kernels;
mod streams;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Puts `inputs` into the corpus of `target`, after each was `understood`.
fn plant(target: &str, understood: impl Fn(&[u8]) -> bool, inputs: &[Vec<u8>]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    for (nth, input) in inputs.iter().enumerate() {
        assert!(understood(input), "input {nth} of {target} is not understood");
        std::fs::write(folder.join(format!("seed-{nth}")), input).unwrap();
    }
}

/// Runs a tool; its output is shown where it fails.
fn tool(name: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
}

/// `bytes` through a tool's standard input and output.
fn filtered(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut input, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// A file system made by `mke2fs` with these options, `files` (path, content) in it.
fn ext(options: &[&str], files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (tree, image) = (folder.path().join("tree"), folder.path().join("image"));
    for (path, content) in files {
        let path: PathBuf = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (tree, shown) = (tree.to_str().unwrap(), image.to_str().unwrap());
    tool(
        "mke2fs",
        &[&["-q", "-F", "-d", tree], options, &[shown, "2M"]].concat(),
    );
    std::fs::read(image).unwrap()
}
