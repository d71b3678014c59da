//! Prints the table of promises: each row of SPECIFICATION.md, what holds it, the figure, met, not met or open.
//!
//! `verify SPECIFICATION.md LOG…`: the logs are those of the test run. A row names tests (`test: a, b`), which must all
//! be in the logs as passed, or a command (`run: make lint`), which is run and must succeed. A line `figure: …` that a
//! test or command prints is shown. What nothing holds yet (`open: why`) is open. Exit status 1 if any promise is not
//! met; an open one is none of these.

use std::collections::HashMap;
use std::process::{Command, ExitCode};

/// One promise: its number, its words, what holds it.
struct Promise {
    number: String,
    words: String,
    held_by: String,
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    NotMet,
    /// Nothing holds it yet, and its row says so.
    Open,
}

impl Verdict {
    fn of(is_met: bool) -> Verdict {
        if is_met { Verdict::Met } else { Verdict::NotMet }
    }

    fn mark(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::NotMet => "**not met**",
            Verdict::Open => "open",
        }
    }
}

/// The promises of a specification: table rows of three columns whose third says `test:`, `run:` or `open:`.
fn promises(specification: &str) -> Vec<Promise> {
    let rows = specification.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        let [number, words, held_by] = cells.as_slice() else {
            return None;
        };
        let known = ["test:", "run:", "open:"].iter().any(|k| held_by.starts_with(k));
        known.then(|| Promise {
            number: number.to_string(),
            words: words.to_string(),
            held_by: held_by.replace('`', ""),
        })
    });
    rows.collect()
}

/// The results of the tests in a log (`test NAME ... ok`), by the last part of their names, and their figures.
///
/// What a test's children print may stand between its name and its result; the result then has a line of its own.
fn results(log: &str) -> (HashMap<String, bool>, HashMap<String, String>) {
    let last = |name: &str| {
        // A test that is to fail says so behind its name.
        let (name, _) = name.split_once(" - ").unwrap_or((name, ""));
        name.rsplit("::").next().unwrap_or(name).to_string()
    };
    let (mut passed, mut figures) = (HashMap::new(), HashMap::new());
    let (mut begun, mut shown) = (String::new(), String::new());
    for line in log.lines() {
        let mut result = line;
        if let Some((name, rest)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) {
            (begun, result) = (last(name), rest);
        } else if let Some((name, _)) = line
            .strip_prefix("---- ")
            .and_then(|l| l.split_once(" stdout ----"))
        {
            shown = last(name);
        } else if let Some((_, figure)) = line.split_once("figure: ") {
            figures.insert(shown.clone(), figure.to_string());
        }
        if begun.is_empty() {
            continue;
        }
        // A test that boots the software machine is ignored in the run of the units, and has a run of its own.
        if result.starts_with("ignored") {
            begun.clear();
        } else if result == "ok" || result.starts_with("ok <") || result.starts_with("FAILED") {
            let ok = passed.entry(std::mem::take(&mut begun)).or_insert(true);
            *ok &= result.starts_with("ok");
        }
    }
    (passed, figures)
}

/// What became of a promise, and its figure.
fn judge(
    promise: &Promise,
    passed: &HashMap<String, bool>,
    figures: &HashMap<String, String>,
) -> (Verdict, String) {
    if let Some(command) = promise.held_by.strip_prefix("run:") {
        let Ok(out) = Command::new("sh").args(["-c", command]).output() else {
            return (Verdict::NotMet, "the command does not start".into());
        };
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let figure = text
            .lines()
            .rev()
            .find_map(|l| l.split_once("figure: "))
            .map(|(_, f)| f.to_string());
        return (
            Verdict::of(out.status.success()),
            figure.unwrap_or_else(|| format!("status {}", out.status.code().unwrap_or(-1))),
        );
    }
    let Some(tests) = promise.held_by.strip_prefix("test:") else {
        return (
            Verdict::Open,
            promise.held_by.trim_start_matches("open:").trim().to_string(),
        );
    };
    let tests: Vec<&str> = tests.split(',').map(str::trim).collect();
    let bad: Vec<&str> = tests
        .iter()
        .copied()
        .filter(|t| passed.get(*t) != Some(&true))
        .collect();
    let figure: Vec<&str> = tests
        .iter()
        .filter_map(|t| figures.get(*t))
        .map(String::as_str)
        .collect();
    match (bad.is_empty(), figure.is_empty()) {
        (false, _) => (Verdict::NotMet, format!("failed or not run: {}", bad.join(", "))),
        (true, true) => (Verdict::Met, format!("{} passed", tests.len())),
        (true, false) => (Verdict::Met, figure.join("; ")),
    }
}

/// The last line, and the exit status.
fn sum(verdicts: &[Verdict]) -> (String, u8) {
    let count = |of| verdicts.iter().filter(|verdict| **verdict == of).count();
    let [met, not, open] = [Verdict::Met, Verdict::NotMet, Verdict::Open].map(count);
    (
        format!("{met} met, {not} not met, {open} open"),
        u8::from(not > 0),
    )
}

fn main() -> ExitCode {
    let mut files = std::env::args().skip(1);
    let Some(Ok(specification)) = files.next().map(std::fs::read_to_string) else {
        eprintln!("usage: verify SPECIFICATION.md LOG...");
        return ExitCode::from(2);
    };
    let log: String = files.filter_map(|f| std::fs::read_to_string(f).ok()).collect();
    let (passed, figures) = results(&log);
    let mut verdicts = Vec::new();
    println!("| | promise | held by | figure | met |\n|---|---|---|---|---|");
    for promise in promises(&specification) {
        let (verdict, figure) = judge(&promise, &passed, &figures);
        println!(
            "| {} | {} | {} | {figure} | {} |",
            promise.number,
            promise.words,
            promise.held_by,
            verdict.mark()
        );
        verdicts.push(verdict);
    }
    let (line, status) = sum(&verdicts);
    println!("\n{line}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "test a::fast ... ok\ntest b::slow ... FAILED\n---- a::fast stdout ----\nfigure: 7 us\n";

    #[test]
    fn a_promise_is_met_only_if_all_its_tests_passed() {
        let specification =
            "| 1 | it is fast | test: `fast` |\n| 2 | both | test: `fast`, `slow` |\n| a | b | c |\n";
        let (passed, figures) = results(LOG);
        let rows = promises(specification);
        assert_eq!(rows.len(), 2);
        assert_eq!(judge(&rows[0], &passed, &figures), (Verdict::Met, "7 us".into()));
        assert_eq!(
            judge(&rows[1], &passed, &figures),
            (Verdict::NotMet, "failed or not run: slow".into())
        );
    }

    #[test]
    fn an_ignored_run_says_nothing_about_a_test() {
        let rows = promises("| 1 | x | test: `boots` |");
        let ignored = "test boots ... ignored, boots a machine\n";
        let (passed, figures) = results(ignored);
        assert_eq!(judge(&rows[0], &passed, &figures).0, Verdict::NotMet);
        let (passed, figures) = results(&format!("{ignored}test boots ... ok\n"));
        assert_eq!(judge(&rows[0], &passed, &figures).0, Verdict::Met);
    }

    #[test]
    fn a_result_below_the_output_of_a_child_counts() {
        let (passed, _) =
            results("test a::noisy ... error: cut off\nmore\nok\ntest b ... error\nFAILED\nok\n");
        assert_eq!(
            (passed.get("noisy"), passed.get("b")),
            (Some(&true), Some(&false))
        );
    }

    #[test]
    fn a_test_that_is_to_fail_is_known_by_its_name_alone() {
        let (passed, _) = results("test a::too_much_is_found - should panic ... ok\n");
        assert_eq!(passed.get("too_much_is_found"), Some(&true));
    }

    #[test]
    fn a_test_that_did_not_run_does_not_hold_a_promise() {
        let rows = promises("| 1 | x | test: `never` |");
        let (verdict, _) = judge(&rows[0], &HashMap::new(), &HashMap::new());
        assert_eq!(verdict, Verdict::NotMet);
    }

    #[test]
    fn an_open_promise_is_counted_apart_and_is_no_failure() {
        let rows = promises("| 1 | x | open: not built |");
        let (open, why) = judge(&rows[0], &HashMap::new(), &HashMap::new());
        assert_eq!((open, &*why), (Verdict::Open, "not built"));
        let met = Verdict::of(true);
        assert_eq!(sum(&[open, met, open]), ("1 met, 0 not met, 2 open".into(), 0));
        let not = Verdict::of(false);
        assert_eq!(sum(&[open, met, not]), ("1 met, 1 not met, 1 open".into(), 1));
    }
}
