//! The memory that the processes of a VMM have to themselves.

use std::fmt::Display;

/// Their proportional set sizes in KiB, but for mappings of the guest's size (KiB): what they alone have mapped counts
/// whole, and what two of them share since one is the other's child counts once.
///
/// # Errors
/// That of a process cannot be read, or is none, since it ended.
pub(crate) fn private(processes: &[impl Display], guest: u64) -> Result<f64, String> {
    let mut sum = 0;
    for process in processes {
        let path = format!("/proc/{process}/smaps");
        let maps = std::fs::read_to_string(&path).map_err(|error| {
            format!("{path}: the memory of a VMM cannot be read: {error}: run this as root")
        })?;
        match besides_guest(&maps, guest) {
            0 => return Err(format!("{path}: there is no memory: the process ended")),
            kib => sum += kib,
        }
    }
    Ok(sum as f64)
}

/// The sum of one process.
fn besides_guest(maps: &str, guest: u64) -> u64 {
    let (mut sum, mut is_guest) = (0, false);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap_or_default(), words.next());
        let value: u64 = value.and_then(|text| text.parse().ok()).unwrap_or(0);
        match name {
            "Size:" => is_guest = value >= guest,
            "Pss:" if !is_guest => sum += value,
            _ => {}
        }
    }
    sum
}

/// A process and those below it.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn family(process: u32) -> Result<Vec<u32>, String> {
    let mut all = vec![process];
    let mut place = 0;
    while let Some(process) = all.get(place) {
        let path = format!("/proc/{process}/task/{process}/children");
        let children = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        all.extend(
            children
                .split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
        place += 1;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn all_counts_but_mappings_of_the_guests_size() {
        let maps = "7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n\
                    Size:             262144 kB\n\
                    Pss:               90000 kB\n\
                    Pss_Dirty:         90000 kB\n\
                    7f0010000000-7f0010003000 rw-p 00000000 00:00 0 [heap]\n\
                    Size:                 12 kB\n\
                    Pss:                   9 kB\n\
                    Pss_Dirty:             9 kB\n\
                    Private_Dirty:         8 kB\n";
        assert_eq!(besides_guest(maps, 256 << 10), 9);
    }

    #[test]
    fn memory_that_cannot_be_read_is_not_taken_for_none() {
        let mut child = Command::new("true").spawn().expect("it starts");
        let ended = child.id();
        child.wait().expect("it ends");
        let error = private(&[ended], 1 << 20).expect_err("it is gone");
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_process_is_found_with_its_child() {
        // Both end with the standard input.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; cat <&3 & echo; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut line = [0];
        let port = shell.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(port, &mut line).expect("its child is there");
        let family = family(shell.id()).expect("the kernel tells");
        let own = private(&family, 1 << 20);
        drop(shell.stdin.take());
        shell.wait().expect("it ends");
        assert_eq!((family.len(), family[0]), (2, shell.id()));
        assert!(own.as_ref().is_ok_and(|kib| *kib > 0.0), "{own:?}");
    }
}
