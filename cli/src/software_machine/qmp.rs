//! QEMU's monitor, as far as saving and loading a machine needs it: one JSON object a line (QEMU Machine Protocol).

use super::Error;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one command may take. None of ours waits for the guest.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a machine may take to be saved or loaded; it takes about a second.
const MOVED_WITHIN: Duration = Duration::from_secs(120);
/// The longest line: QEMU's greetings and answers have a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// A monitor that takes commands.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Greets QEMU on the other end of `stream`.
    pub(crate) fn greet(stream: UnixStream) -> Result<Self, Error> {
        stream
            .set_read_timeout(Some(ANSWERS_WITHIN))
            .map_err(|e| broken(&e))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.line()?;
        monitor.run("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Stops the machine and writes its state to `file`; its memory is in a file already.
    pub(crate) fn save(&mut self, file: &Path) -> Result<(), Error> {
        self.run("stop", &json!({}))?;
        self.memory_stays()?;
        self.run("migrate", &json!({ "uri": uri(file)? }))?;
        self.until(|monitor| {
            let moved = monitor.run("query-migrate", &json!({}))?;
            match moved["status"].as_str() {
                Some("completed") => Ok(true),
                Some("failed" | "cancelled") => Err(Error::new(format!(
                    "QEMU cannot save the machine: {}",
                    moved["error-desc"].as_str().unwrap_or("it does not say why")
                ))),
                _ => Ok(false),
            }
        })
    }

    /// Loads the state that was saved in `file`, and lets the machine go on.
    pub(crate) fn load(&mut self, file: &Path) -> Result<(), Error> {
        self.memory_stays()?;
        self.run("migrate-incoming", &json!({ "uri": uri(file)? }))?;
        self.until(|monitor| {
            let status = monitor.run("query-status", &json!({}))?;
            Ok(status["status"] != "inmigrate")
        })?;
        self.run("cont", &json!({})).map(drop)
    }

    /// Ends QEMU.
    pub(crate) fn quit(&mut self) -> Result<(), Error> {
        self.run("quit", &json!({})).map(drop)
    }

    /// What lies in a file that both see is not copied.
    fn memory_stays(&mut self) -> Result<(), Error> {
        let capability = json!({ "capability": "x-ignore-shared", "state": true });
        self.run(
            "migrate-set-capabilities",
            &json!({ "capabilities": [capability] }),
        )
        .map(drop)
    }

    fn until(&mut self, mut done: impl FnMut(&mut Self) -> Result<bool, Error>) -> Result<(), Error> {
        let began = Instant::now();
        while !done(self)? {
            if began.elapsed() > MOVED_WITHIN {
                let limit = MOVED_WITHIN.as_secs();
                return Err(Error::new(format!("QEMU was not done after {limit} s")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// One command; what it returns. Events between are of no interest.
    fn run(&mut self, command: &str, arguments: &Value) -> Result<Value, Error> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|e| broken(&e))?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                let why = error["desc"].as_str().unwrap_or("it does not say why");
                return Err(Error::new(format!("QEMU refuses {command}: {why}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn line(&mut self) -> Result<Value, Error> {
        let mut line = String::new();
        let read = (&mut self.stream).take(LONGEST_LINE).read_line(&mut line);
        match read.map_err(|e| broken(&e))? {
            0 => Err(Error::new("QEMU ended")),
            _ => serde_json::from_str(&line).map_err(|e| Error::new(format!("QEMU's monitor: {e}"))),
        }
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::new(format!("QEMU's monitor: {error}"))
}

fn uri(file: &Path) -> Result<String, Error> {
    let path = file.to_str();
    path.map(|path| format!("file:{path}"))
        .ok_or_else(|| Error::new(format!("the path {} is not UTF-8", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines, whatever it hears.
    fn monitor(lines: &[&str]) -> Result<Monitor, Error> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.write_all(lines.join("\n").as_bytes()).expect("written");
        theirs.write_all(b"\n").expect("written");
        theirs.shutdown(std::net::Shutdown::Write).expect("an end");
        // It stays open for what is said to it.
        std::mem::forget(theirs);
        Monitor::greet(ours)
    }

    #[test]
    fn events_are_passed_over_and_a_refusal_is_told_in_qemus_words() {
        let greeting = &[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"event": "STOP"}"#,
            r#"{"return": {"status": "paused"}}"#,
            r#"{"error": {"class": "GenericError", "desc": "9p is mounted"}}"#,
        ];
        let mut monitor = monitor(greeting).expect("a greeting");
        let status = monitor.run("query-status", &json!({})).expect("an answer");
        assert_eq!(status["status"], "paused");
        let refusal = monitor.run("migrate", &json!({})).expect_err("a refusal");
        assert!(refusal.to_string().contains("9p is mounted"), "{refusal}");
        let end = monitor.run("quit", &json!({})).expect_err("the end");
        assert!(end.to_string().contains("QEMU ended"), "{end}");
    }

    #[test]
    fn what_is_no_monitor_is_an_error() {
        assert!(monitor(&["hello"]).is_err());
    }
}
