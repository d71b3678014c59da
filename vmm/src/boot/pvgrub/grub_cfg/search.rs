//! GRUB 2's `search`: a volume by its UUID, its label, or a file on it.

use super::super::volumes::{Volume, Volumes};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    File,
    Label,
    Uuid,
}

/// A parsed `search`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Search {
    by: By,
    name: String,
    /// The variable that gets the device.
    pub(super) variable: Option<String>,
}

impl Search {
    /// Parses `search …`, `search.fs_uuid …` and its like.
    pub(super) fn parse(command: &str, arguments: &[String]) -> Option<Search> {
        let fixed = match command {
            "search.file" => Some(By::File),
            "search.fs_label" => Some(By::Label),
            "search.fs_uuid" => Some(By::Uuid),
            _ => None,
        };
        if let Some(by) = fixed {
            let (name, rest) = arguments.split_first()?;
            return Some(Search {
                by,
                name: name.clone(),
                variable: rest.first().cloned(),
            });
        }
        let (mut by, mut set, mut name) = (By::File, None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                _ => (argument.as_str(), None),
            };
            match option {
                "-f" | "--file" => by = By::File,
                "-l" | "--label" | "--fs-label" => by = By::Label,
                "-u" | "--fs-uuid" => by = By::Uuid,
                "-s" | "--set" => {
                    let next = arguments.as_slice().first().map(String::as_str);
                    let next = next.filter(|word| value.is_none() && !word.starts_with('-'));
                    if next.is_some() {
                        arguments.next();
                    }
                    set = Some(value.or(next));
                }
                "-h" => drop(arguments.next()),
                hint if hint.starts_with("--hint") && value.is_none() => drop(arguments.next()),
                option if option.starts_with('-') => {}
                // What follows the name are more hints.
                _ if name.is_some() => {}
                _ => name = Some(argument.as_str()),
            }
        }
        // GRUB 1.98's `--set NAME`: where no name is left, the variable's is the name.
        let (name, variable) = match (name, set) {
            (None, Some(word)) => (word?, Some("root")),
            (name, set) => (name?, set.map(|word| word.unwrap_or("root"))),
        };
        Some(Search {
            by,
            name: name.into(),
            variable: variable.map(Into::into),
        })
    }

    /// Whether files are looked at, and not only what is known of the volumes.
    pub(super) fn reads_files(&self) -> bool {
        self.by == By::File
    }

    /// The first volume that is meant.
    pub(super) fn find<'a>(&self, volumes: &'a Volumes) -> Option<&'a Volume> {
        volumes
            .list
            .iter()
            .find(|volume| match (self.by, &volume.file_system) {
                (By::Uuid, Ok(found)) => {
                    let uuid = found.uuid.as_deref();
                    uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(&self.name))
                }
                (By::Label, Ok(found)) => found.label.as_deref() == Some(self.name.as_str()),
                (By::File, _) => {
                    let files = volume.files.as_ref();
                    files.is_ok_and(|files| files.exists(&self.name).unwrap_or(false))
                }
                (_, Err(_)) => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_search_is_known() {
        let search = |by, name: &str, variable: Option<&str>| {
            Some(Search {
                by,
                name: name.into(),
                variable: variable.map(Into::into),
            })
        };
        for (text, wanted) in [
            (
                "search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt1 --hint hd0,gpt1 ab-cd hd1",
                search(By::Uuid, "ab-cd", Some("root")),
            ),
            (
                "search --no-floppy --fs-uuid --set ab-cd",
                search(By::Uuid, "ab-cd", Some("root")),
            ),
            (
                "search --no-floppy --set root --label REARBOOT",
                search(By::Label, "REARBOOT", Some("root")),
            ),
            (
                "search --set dev --fs-uuid A6CD-C355",
                search(By::Uuid, "A6CD-C355", Some("dev")),
            ),
            (
                "search --fs-uuid --set root --no-floppy ab-cd",
                search(By::Uuid, "ab-cd", Some("root")),
            ),
            (
                "search -s dev -h hd0 --hint-efi hd0,gpt1 -l x",
                search(By::Label, "x", Some("dev")),
            ),
            ("search --set --label x", search(By::Label, "x", Some("root"))),
            (
                "search -l -s root-disk",
                search(By::Label, "root-disk", Some("root")),
            ),
            ("search --file --set=dev /x", search(By::File, "/x", Some("dev"))),
            ("search --label x", search(By::Label, "x", None)),
            ("search --fs-label x", search(By::Label, "x", None)),
            ("search -u x", search(By::Uuid, "x", None)),
            ("search -u -f /x", search(By::File, "/x", None)),
            ("search.file /x", search(By::File, "/x", None)),
            ("search.fs_label x dev", search(By::Label, "x", Some("dev"))),
            (
                "search.fs_uuid AB root hd0,msdos1",
                search(By::Uuid, "AB", Some("root")),
            ),
            ("search --set=/x", search(By::File, "/x", Some("root"))),
            ("search --set", None),
        ] {
            let mut words = text.split(' ').map(String::from);
            let command = words.next().unwrap();
            assert_eq!(
                Search::parse(&command, &words.collect::<Vec<_>>()),
                wanted,
                "{text}"
            );
        }
    }
}
