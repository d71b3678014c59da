//! Wrong usage: the parser's complaint as one line, with status 2.

use crate::args::Cli;
use crate::failure::Failure;
use crate::output::Format;
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// What is to be done about a parser's error: help and version are results, the rest are failures.
pub(crate) enum Usage {
    /// To be printed as it is, to stdout; status 0.
    Help,
    /// One line.
    Wrong(Failure),
}

/// Sorts a parser's error.
pub(crate) fn of(error: &clap::Error, argv: &[OsString]) -> Usage {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Usage::Help,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Usage::Wrong(Failure {
            status: 2,
            code: None,
            message: error.render().to_string(),
        }),
        _ => Usage::Wrong(Failure {
            status: 2,
            code: Some("InvalidParameter".to_owned()),
            message: one_line(&error.render().to_string(), argv),
        }),
    }
}

/// `error: …` and its tips; not the usage, which `--help` shows better.
fn one_line(text: &str, argv: &[OsString]) -> String {
    let mut parts = Vec::new();
    let mut usage = None;
    for paragraph in text.split("\n\n") {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(rest) = line.strip_prefix("Usage: ") {
            let command: Vec<&str> = rest
                .split(' ')
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                .collect();
            usage = Some(command.join(" "));
        } else if !line.starts_with("For more information")
            && !line.is_empty()
            && is_of_use(&line, parts.first())
        {
            parts.push(line.strip_prefix("error: ").unwrap_or(&line).to_owned());
        }
    }
    let runs_another = ["kiln exec", "kiln run"].contains(&usage.as_deref().unwrap_or_default());
    let has_words_left = |complaint: &String| {
        let word = complaint.split_once("unexpected argument '");
        word.is_some_and(|(_, word)| !word.starts_with('-'))
    };
    if runs_another && parts.first().is_some_and(has_words_left) {
        parts.push("a command comes after --".to_owned());
    }
    let command = usage
        .filter(|u| !u.is_empty())
        .unwrap_or_else(|| command_of(argv));
    format!("{} ({command} --help says more)", parts.join("; "))
}

/// Not every tip of the parser's is one: a word that merely shares some letters (`frobnicate`, `terminate`) is no
/// slip of the keyboard, and `-- -1` helps nobody who mistyped an option.
fn is_of_use(line: &str, complaint: Option<&String>) -> bool {
    let (Some(tip), Some(complaint)) = (line.strip_prefix("tip: "), complaint) else {
        return true;
    };
    let quoted = |text: &str| -> Vec<String> {
        let words = text.split('\'').skip(1).step_by(2);
        words
            .map(|word| word.trim_start_matches('-').to_owned())
            .collect()
    };
    let begin_alike = |a: &str, b: &str| a.chars().next() == b.chars().next();
    match quoted(complaint).first() {
        Some(wrong) if tip.contains("similar") => {
            quoted(tip).iter().any(|suggested| begin_alike(suggested, wrong))
        }
        _ => !tip.contains(" as a value, use "),
    }
}

/// The command that the arguments name, as far as they name one.
fn command_of(argv: &[OsString]) -> String {
    let mut command = Cli::command();
    let mut words = vec![command.get_name().to_owned()];
    for word in argv.iter().skip(1).take_while(|word| *word != "--") {
        if let Some(found) = command.find_subcommand(word).cloned() {
            words.push(found.get_name().to_owned());
            command = found;
        }
    }
    words.join(" ")
}

/// The form of errors, when the arguments could not be parsed: JSON if it was asked for in so many words.
pub(crate) fn format_of(argv: &[OsString]) -> Format {
    let words: Vec<&str> = argv
        .iter()
        .take_while(|word| *word != "--")
        .filter_map(|word| word.to_str())
        .collect();
    let asked = words.contains(&"--output=json") || words.windows(2).any(|pair| pair == ["--output", "json"]);
    if asked { Format::Json } else { Format::Table }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn wrong(argv: &[&str]) -> String {
        let error = Cli::try_parse_from(argv).expect_err("wrong usage");
        match of(&error, &argv.iter().map(OsString::from).collect::<Vec<_>>()) {
            Usage::Wrong(failure) => {
                assert_eq!(failure.status, 2);
                failure.message
            }
            Usage::Help => panic!("help"),
        }
    }

    #[test]
    fn wrong_usage_is_one_line_that_names_the_word_and_the_way_to_help() {
        for (argv, words) in [
            (
                &["kiln", "run"] as &[&str],
                &["<IMAGE>", "kiln run --help"] as &[&str],
            ),
            (&["kiln", "run", "x", "--cout", "2"], &["--cout", "--count"]),
            (
                &["kiln", "run", "x", "--count", "0"],
                &["0", "--count", "kiln run --help"],
            ),
            (
                &["kiln", "image", "import", "x", "--name", "y", "--tag", "novalue"],
                &["novalue", "KEY=VALUE", "kiln image import --help"],
            ),
            (&["kiln", "run", "x", "--kernel", "k"], &["--cmdline"]),
            (&["kiln", "run", "x", "--cmdline", "c"], &["--kernel"]),
            (
                &["kiln", "run", "x", "--cmdline", "c", "--cmdline-append", "d"],
                &["--cmdline-append"],
            ),
            (
                &["kiln", "image", "create", "i"],
                &["--name", "kiln image create --help"],
            ),
            (&["kiln", "exec", "i"], &["<CMD>"]),
            (&["kiln", "lst"], &["lst", "list"]),
            (
                &["kiln", "stop", "i", "--force", "--timeout", "3"],
                &["--force", "--timeout"],
            ),
            (
                &["kiln", "-q", "--output", "json", "list"],
                &["--quiet", "--output"],
            ),
        ] {
            let line = wrong(argv);
            assert!(!line.contains('\n'), "{line}");
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
    }

    #[test]
    fn waiting_for_longer_than_clocks_go_is_wrong_usage() {
        for too_long in ["4000000001", "9300000000000000000", "99999999999999999999"] {
            for argv in [
                &["kiln", "stop", "i", "--timeout", too_long] as &[&str],
                &["kiln", "reboot", "i", "--timeout", too_long],
                &["kiln", "wait", "i", "stopped", "--timeout", too_long],
                &[
                    "kiln",
                    "image",
                    "create",
                    "i",
                    "--name",
                    "n",
                    "--timeout",
                    too_long,
                ],
                &["kiln", "run", "x", "--agent-timeout", too_long],
                &["kiln", "exec", "i", "--agent-timeout", too_long, "--", "true"],
            ] {
                let line = wrong(argv);
                let words = ["timeout", too_long, "seconds, 4000000000 at most"];
                assert!(words.iter().all(|word| line.contains(word)), "{line}");
            }
        }
    }

    #[test]
    fn a_tip_is_given_only_where_it_is_one() {
        assert!(!wrong(&["kiln", "frobnicate"]).contains("terminate"));
        assert!(!wrong(&["kiln", "run", "x", "-1"]).contains("'-- -1'"));
        assert!(wrong(&["kiln", "lst"]).contains("list"));
        for (argv, is_a_command) in [
            (&["kiln", "exec", "web", "true"], true),
            (&["kiln", "run", "tiny", "uname"], true),
            (&["kiln", "run", "tiny", "--frob"], false),
            (&["kiln", "show", "tiny", "--frob"], false),
        ] {
            assert_eq!(
                wrong(argv).contains("a command comes after --"),
                is_a_command,
                "{argv:?}"
            );
        }
    }

    #[test]
    fn help_is_a_result() {
        let error = Cli::try_parse_from(["kiln", "run", "--help"]).expect_err("help");
        assert!(matches!(of(&error, &[]), Usage::Help));
    }

    #[test]
    fn json_errors_are_recognised_before_the_arguments_are_parsed() {
        let of = |words: &[&str]| format_of(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["kiln", "--output", "json", "x"]), Format::Json);
        assert_eq!(of(&["kiln", "x", "--output=json"]), Format::Json);
        assert_eq!(
            of(&["kiln", "exec", "i", "--", "aws", "--output", "json"]),
            Format::Table
        );
    }
}
