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
