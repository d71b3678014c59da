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
