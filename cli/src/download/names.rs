//! Names of hosts become addresses by the host's own `getent`. The C library is not asked: a static one loads the host's
//! own modules for that (`/etc/nsswitch.conf`), and does not survive it where they are of another release.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// More addresses of one host are not tried.
const TRIED: usize = 16;

/// Asks the host.
#[derive(Debug)]
pub(super) struct Names {
    /// How long an answer may take.
    pub(super) patience: Duration,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(usual);
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        let found = match literal.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.ask(host, port)?,
        };
        let mut all = self.empty();
        for address in found.into_iter().take(TRIED) {
            all.push(address);
        }
        if all.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(all)
    }
}

impl Names {
    fn ask(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        if host.starts_with('-') {
            // No name of a host, but an option of the program.
            return Err(Error::HostNotFound);
        }
        let mut command = Command::new("getent");
        command.args(["ahosts", host]).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else {
            // A host without it has another C library, and no modules either.
            return Ok((host, port).to_socket_addrs()?.collect());
        };
        let (said, heard) = mpsc::channel();
        let mut output = child.stdout.take();
        std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(output) = &mut output {
                let _ = output.take(64 << 10).read_to_string(&mut text);
            }
            let _ = said.send(text);
        });
        let text = heard.recv_timeout(self.patience);
        if text.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        let text = text.map_err(|_| Error::Timeout(Timeout::Resolve))?;
        Ok(addresses(&text, port))
    }
}

/// The addresses that `getent ahosts` printed, each once: `ADDRESS TYPE [NAME]` a line.
fn addresses(text: &str, port: u16) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Ok(address) = first.parse::<IpAddr>()
            && !all.contains(&SocketAddr::new(address, port))
        {
            all.push(SocketAddr::new(address, port));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_that_the_host_knows_is_tried_once() {
        let text = "2001:db8::1     STREAM example.org\n2001:db8::1     DGRAM\n192.0.2.7       STREAM\n192.0.2.7       RAW\n\nx\n";
        let all = addresses(text, 443);
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[2001:db8::1]:443", "192.0.2.7:443"]);
    }

    #[test]
    fn this_host_knows_itself_and_takes_no_option_for_a_name() {
        let names = Names {
            patience: Duration::from_secs(20),
        };
        assert!(!names.ask("localhost", 80).expect("it knows itself").is_empty());
        assert!(matches!(names.ask("--help", 80), Err(Error::HostNotFound)));
    }
}
