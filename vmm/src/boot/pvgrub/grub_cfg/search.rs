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
        let (mut by, mut variable, mut name) = (By::File, None, None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-f" | "--file" => by = By::File,
                "-l" | "--label" | "--fs-label" => by = By::Label,
                "-u" | "--fs-uuid" => by = By::Uuid,
                "-s" | "--set" => variable = Some("root".into()),
                "--hint" => drop(arguments.next()),
                option => match option.strip_prefix("--set=") {
                    Some(name) => variable = Some(name.into()),
                    None if option.starts_with('-') => {}
                    // What follows the name are more hints.
                    None if name.is_some() => {}
                    None => name = Some(option.into()),
                },
            }
        }
        Some(Search {
            by,
            name: name?,
            variable,
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
            ("search --set=root", None),
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
