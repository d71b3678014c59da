//! passwd(5) and group(5), read directly: a static binary has no name service switch.

use std::path::PathBuf;

/// Who a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: PathBuf,
    pub(super) shell: String,
}

impl User {
    /// The user of this name or number in the guest's files. A number that has no entry is taken
    /// as it is, with its own group.
    pub(super) fn find(wanted: &str) -> Option<User> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        User::parse(wanted, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn parse(wanted: &str, passwd: &str, group: &str) -> Option<User> {
        let number = wanted.parse::<u32>().ok();
        let mut user = passwd.lines().find_map(|line| {
            let [name, _, uid, gid, _, home, shell] = fields(line)?;
            let uid = uid.parse().ok()?;
            (name == wanted || number == Some(uid)).then(|| User {
                name: name.into(),
                uid,
                gid: gid.parse().unwrap_or(uid),
                groups: Vec::new(),
                home: home.into(),
                shell: if shell.is_empty() {
                    "/bin/sh".into()
                } else {
                    shell.into()
                },
            })
        });
        if user.is_none() {
            let uid = number?;
            let (name, shell) = (wanted.to_owned(), "/bin/sh".to_owned());
            user = Some(User {
                name,
                uid,
                gid: uid,
                groups: Vec::new(),
                home: "/".into(),
                shell,
            });
        }
        let mut user = user?;
        user.groups = std::iter::once(user.gid)
            .chain(groups_of(&user.name, group))
            .collect();
        user.groups.dedup();
        Some(user)
    }
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let lines = group.lines().filter_map(|line| {
        let [_, _, gid, members] = fields(line)?;
        members
            .split(',')
            .any(|member| member == name)
            .then(|| gid.parse().ok())?
    });
    lines.collect()
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.splitn(N, ':').collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:100:Ann,,:/home/ann:\nbad line\n";
    const GROUP: &str = "root:x:0:\nkvm:x:104:bob,ann\nusers:x:100:\nx:x:no:ann\n";

    #[test]
    fn user_is_found_by_name_and_number_with_all_groups() {
        let ann = User::parse("ann", PASSWD, GROUP).expect("there");
        assert_eq!(
            (ann.uid, ann.gid, &*ann.groups, &*ann.shell),
            (1000, 100, &[100, 104][..], "/bin/sh")
        );
        assert_eq!(User::parse("1000", PASSWD, GROUP), Some(ann));
    }

    #[test]
    fn unknown_name_is_none_and_unknown_number_is_itself() {
        assert_eq!(User::parse("eve", PASSWD, GROUP), None);
        let other = User::parse("4242", PASSWD, GROUP).expect("a number");
        assert_eq!(
            (other.uid, other.gid, &*other.home.to_string_lossy()),
            (4242, 4242, "/")
        );
    }
}
