use super::*;

#[test]
fn a_program_that_needs_the_hosts_libraries_is_no_agent() {
    let shell = static_binary(Path::new("/bin/sh")).unwrap_err().to_string();
    assert!(shell.contains("statically"), "{shell}");
    let text = static_binary(Path::new("/etc/passwd")).unwrap_err().to_string();
    assert!(text.contains("ELF"), "{text}");
    let none = static_binary(Path::new("/no/such/agent"))
        .unwrap_err()
        .to_string();
    assert!(none.contains("/no/such/agent"), "{none}");
}

#[test]
fn nobody_but_their_owner_reaches_the_disks_that_are_being_built() {
    use std::os::unix::fs::PermissionsExt;
    let cache = tempfile::tempdir().unwrap();
    let images = cache.path().join("kiln/images");
    let mode = || fs::metadata(&images).unwrap().permissions().mode() & 0o7777;
    make_folder(&images).unwrap();
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&images, fs::Permissions::from_mode(0o755)).unwrap();
    make_folder(&images).unwrap();
    assert_eq!(mode(), 0o700);
}

#[test]
fn what_a_killed_build_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let living = path(&format!(".0123abcd-{}", std::process::id()));
    for file in [
        &path(".0123abcd-4194305"),
        &path(".0123abcd-4194305.debugfs"),
        &path("tiny-0123abcd.raw"),
        &living,
    ] {
        fs::write(file, "").unwrap();
    }
    remove_unfinished(folder.path());
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    left.sort();
    assert_eq!(left, [living, path("tiny-0123abcd.raw")]);
}

#[test]
fn a_confined_command_mounts_in_a_name_space_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        return; // an ordinary user's build has a user name space, and its mounts with it
    }
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let mut command = crate::programs::command("readlink");
    child::confine(&mut command);
    let output = command.arg("/proc/self/ns/mnt").output().unwrap();
    assert!(output.status.success());
    assert_ne!(
        String::from_utf8_lossy(&output.stdout).trim(),
        own.to_string_lossy()
    );
}
