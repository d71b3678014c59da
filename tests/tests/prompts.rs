//! What a PC boots besides systems reaches its prompt on the serial port, and takes keys there: memtest86+, iPXE, and GRUB
//! that finds nothing but itself.
//!
//! All begin as on a PC: a BIOS that draws on the serial port, and GRUB from the disk. Their disk, the image `payloads`,
//! is made by `tests/recipes/payloads`.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::{Guest, Home};

/// The image: GRUB's menu waits for the key of one of its entries.
const IMAGE: &str = "payloads";
/// How long anything may take to show. Where virtualization is emulated, a BIOS and GRUB take a minute, and so does memtest86+
/// to measure how fast the memory is.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two keys: a BIOS that looks for keys 18 times a second has room for sixteen.
const TYPING: Duration = Duration::from_millis(150);
/// Between two looks at what was printed.
const LOOKING: Duration = Duration::from_millis(500);

/// A guest's serial port: keys by `kiln console`, and what it printed from the beginning on by `kiln log`.
struct Serial<'h> {
    guest: Guest<'h>,
    console: Child,
    keys: ChildStdin,
    /// How much of what shows has been waited for.
    past: usize,
}

impl Serial<'_> {
    /// Boots `image` by a BIOS, and sits down there.
    fn of<'h>(home: &'h Home, image: &str) -> Serial<'h> {
        let run = ["-q", "run", image, "--boot", "bios", "--type", "t2.nano"];
        let guest = Guest::new(home, home.kiln(&run).succeeds().text());
        let mut console = home
            .command(&["console", guest.id(), "--port", "ttyS0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kiln starts");
        let keys = console.stdin.take().expect("piped");
        Serial {
            guest,
            console,
            keys,
            past: 0,
        }
    }

    /// Presses keys, one after another.
    fn types(&mut self, keys: &str) {
        for key in keys.bytes() {
            self.keys.write_all(&[key]).expect("the console takes keys");
            std::thread::sleep(TYPING);
        }
    }

    /// Waits until `text` shows, behind what was waited for before.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        self.shows_after("", text);
    }

    /// The same, with `keys` pressed again and again until then.
    #[track_caller]
    fn shows_after(&mut self, keys: &str, text: &str) {
        let began = Instant::now();
        loop {
            let shown = plain(&self.guest.log());
            let new = shown.get(self.past..).unwrap_or_default();
            if let Some(at) = new.find(text) {
                self.past += at + text.len();
                return;
            }
            assert!(began.elapsed() < PATIENCE, "`{text}` does not show: {shown}");
            self.types(keys);
            std::thread::sleep(LOOKING);
        }
    }
}

impl Drop for Serial<'_> {
    fn drop(&mut self) {
        let _ = self.console.kill();
        let _ = self.console.wait();
    }
}

/// What shows of what was printed: without the sequences that move the cursor or choose a colour. Its beginning stays when
/// more is printed.
fn plain(printed: &str) -> String {
    let (mut shown, mut rest) = (String::new(), printed.chars().peekable());
    while let Some(letter) = rest.next() {
        if letter == '\x1b' {
            // `ESC [ numbers letter`, or `ESC letter`.
            rest.next_if_eq(&'[');
            while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            rest.next();
        } else if letter == '\n' || !letter.is_control() {
            shown.push(letter);
        }
    }
    shown
}

#[test]
fn memtest86_tests_the_memory_and_takes_keys_on_the_serial_port() {
    let home = Home::new();
    let mut serial = Serial::of(&home, IMAGE);
    serial.shows("memtest86+ (m)");
    serial.types("m");
    // Drawn when the first test begins: what was found out about the machine, then the keys.
    serial.shows("Memtest86+ v");
    serial.shows("<F1> Configuration");
    // F1, as it is typed at a serial port.
    serial.types("1");
    serial.shows("Test selection");
}

#[test]
fn ipxe_reaches_its_command_line_and_takes_commands_on_the_serial_port() {
    let home = Home::new();
    let mut serial = Serial::of(&home, IMAGE);
    serial.shows("iPXE (i)");
    serial.types("i");
    serial.shows("iPXE initialising devices");
    // Ctrl-B, for which it gives a person two seconds.
    serial.shows_after("\x02", "iPXE>");
    serial.types("help\r");
    serial.shows("Available commands:");
}

#[test]
fn grub_without_its_modules_reaches_its_rescue_shell_on_the_serial_port() {
    let home = Home::new();
    let disk = home.file("disk.raw");
    let disk = disk.to_str().expect("UTF-8");
    home.kiln(&["image", "export", IMAGE, disk]).succeeds();
    // The root begins after 128 MiB. Its code for menus is gone; the core, which the BIOS starts, is whole.
    let out = Command::new("debugfs")
        .args(["-w", "-R", "unlink /boot/grub/i386-pc/normal.mod"])
        .arg(format!("{disk}?offset={}", 128 << 20))
        .output()
        .expect("debugfs runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    home.kiln(&["image", "import", disk, "--name", "broken", "--boot", "bios"])
        .succeeds();
    let mut serial = Serial::of(&home, "broken");
    serial.shows("normal.mod' not found");
    serial.shows("grub rescue>");
    serial.types("ls\r");
    serial.shows("(hd0,gpt1)");
}
