//! A Debian with cloud-init configures itself by what its instance is told, and so does a bake of it.

use std::fs;

use kiln_tests::{Guest, Home};

/// As `tests/recipes/debian-cloud-init` has it.
const IMAGE: &str = "debian-cloud-init";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfEUKoBhYkoupM7ibbV52CdB4ctHp1f7DgtPByrhyya";

/// Waits until cloud-init has done what it was told; what it says of itself.
fn configured(guest: &Guest<'_>) -> String {
    guest.says("cloud-init status --wait --long")
}

/// A cloud-config, in a file, which writes `word` into a file and runs a command.
fn config(home: &Home, word: &str) -> String {
    let file = home.file(word);
    let text = format!(
        "#cloud-config\n\
         write_files:\n- path: /root/told\n  content: {word}\n\
         runcmd:\n- echo {word} $(hostname) >> /root/ran\n"
    );
    fs::write(&file, text).expect("a file");
    file.display().to_string()
}

#[test]
fn an_instance_is_given_its_name_its_users_key_and_what_its_user_wants_and_so_is_one_of_a_bake_of_it() {
    let home = Home::new();
    for name in ["me", "you"] {
        let file = home.file("key.pub");
        fs::write(&file, format!("{KEY} stranger's words\n")).expect("a file");
        let file = file.display().to_string();
        home.kiln(&["key", "import", name, &file]).succeeds();
    }
    let first = home.launch(IMAGE, &["--key", "me", "--user-data", &config(&home, "first")]);
    let told = configured(&first);
    assert!(told.contains("status: done"), "{told}");
    assert_eq!(first.says("hostname"), first.id());
    assert_eq!(first.says("cat /root/told"), "first");
    assert_eq!(first.says("cat /root/ran"), format!("first {}", first.id()));
    let keys = "cat /home/debian/.ssh/authorized_keys";
    assert_eq!(first.says(keys), format!("{KEY} me"));
    let host_key = "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub";
    let of_first = first.says(host_key);
    let machine = first.says("cat /etc/machine-id");

    home.kiln(&["image", "create", first.id(), "--name", "baked"])
        .succeeds();
    home.kiln(&["terminate", first.id()]).succeeds();
    let second = home.launch(
        "baked",
        &["--key", "you", "--user-data", &config(&home, "second")],
    );
    let told = configured(&second);
    assert!(told.contains("status: done"), "{told}");
    assert_eq!(second.says("hostname"), second.id());
    assert_eq!(second.says("cat /root/told"), "second");
    let both = format!("first {}\nsecond {}", first.id(), second.id());
    assert_eq!(second.says("cat /root/ran"), both);
    assert_eq!(second.says(keys), format!("{KEY} you"));
    assert_ne!(second.says(host_key), of_first, "its host is another");
    let own = second.says("cat /etc/machine-id");
    assert!(own.len() == 32 && own != machine, "{own} after {machine}");
    assert_eq!(
        second.says("test -s /var/lib/systemd/random-seed && echo new"),
        "new"
    );
    let journal = second.says("journalctl -b -o cat -u cloud-final | tail -n 1");
    assert!(
        journal.contains("Finished") || journal.contains("finished"),
        "{journal}"
    );
}
