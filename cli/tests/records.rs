//! What scripts make of the records that runs leave behind: those of tests, and those of fuzzing.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a script of this name in a clone with these files; whether it is content, and what it says.
fn judged(script: &str, files: &[(&str, String)], arguments: &[&str]) -> (bool, String) {
    let clone = tempfile::tempdir().expect("a temporary folder");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let name = format!("scripts/{script}");
    for (path, text) in files {
        let path = clone.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    fs::create_dir_all(clone.path().join("scripts")).expect("a folder");
    kiln_tests::install(&scripts.join(script), &clone.path().join(&name));
    let output = Command::new(clone.path().join(&name)).args(arguments).output();
    let output = output.expect("the script starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs with these statuses.
fn ten_runs(statuses: &[u8]) -> (bool, String) {
    let line = |status: &u8| format!("2026-01-02T03:04:05Z 0123abc {status} bookworm\n");
    let runs: String = statuses.iter().map(line).collect();
    judged("ten-runs.sh", &[("target/runs/test", runs)], &[])
}

#[test]
fn ten_runs_passed_only_if_each_of_the_last_ten_did() {
    let passed = ten_runs(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(passed.0 && passed.1.contains("10 of the last 10"), "{passed:?}");
    let failed = ten_runs(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!(!failed.0 && failed.1.contains("9 of the last 10"), "{failed:?}");
    let few = ten_runs(&[0; 9]);
    assert!(!few.0 && few.1.contains("9 of the last 9"), "{few:?}");
    let none = judged("ten-runs.sh", &[], &[]);
    assert!(!none.0 && none.1.contains("no run"), "{none:?}");
}

/// Targets `fat` and `menu_lst`, of which these rows are in the ledger.
fn fuzzed(rows: &str) -> (bool, String) {
    let ledger = format!("# What fuzzing came to\n\n| target | edges | minutes |\n|---|---|---|\n{rows}");
    let target = |name: &str| format!("//! Fuzzes {name}.\n\nfn main() {{}}\n");
    let files = [
        ("tests/fuzz/LEDGER.md", ledger),
        ("tests/fuzz/fuzz_targets/fat.rs", target("fat")),
        ("tests/fuzz/fuzz_targets/menu_lst.rs", target("menu_lst")),
    ];
    judged("fuzzed.sh", &files, &["60"])
}

#[test]
fn a_target_without_edges_in_the_ledger_and_too_few_minutes_are_told() {
    let enough = fuzzed("| fat | 812 | 20.5 |\n| menu_lst | 90 | 40.0 |\n");
    assert!(
        enough.0 && enough.1.contains("2 targets, 60 minutes"),
        "{enough:?}"
    );
    let few = fuzzed("| fat | 812 | 20.5 |\n| menu_lst | 90 | 30.0 |\n");
    assert!(!few.0 && few.1.contains("2 targets, 50 minutes"), "{few:?}");
    for rows in [
        "| fat | 812 | 90.0 |\n",
        "| fat | 812 | 90.0 |\n| menu_lst | 0 | 9.0 |\n",
    ] {
        let missing = fuzzed(rows);
        let told = missing.1.contains("not fuzzed: menu_lst") && !missing.1.contains("not fuzzed: fat");
        assert!(!missing.0 && told, "{missing:?}");
    }
}
