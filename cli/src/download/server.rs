//! A server on the loopback interface, for tests: each of its answers is made by the test.

use super::{Address, Client, client::Patience};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: &'static str,
    headers: Vec<String>,
    body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    cut: Option<usize>,
    /// Nothing more comes for so long.
    silence: Duration,
}

impl Answer {
    pub(crate) fn new(status: &'static str, body: &[u8]) -> Self {
        Self {
            status,
            headers: vec![format!("Content-Length: {}", body.len())],
            body: body.to_vec(),
            cut: None,
            silence: Duration::ZERO,
        }
    }

    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::new("200 OK", body)
    }

    pub(crate) fn missing() -> Self {
        Self::new("404 Not Found", b"none")
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn silent(mut self, time: Duration) -> Self {
        self.silence = time;
        self
    }

    /// A file with this tag, or the part of it that is asked for.
    pub(crate) fn file(request: &Request, body: &[u8], tag: &str) -> Self {
        let line = format!("ETag: {tag}");
        if request.header("if-none-match") == Some(tag) {
            return Self::new("304 Not Modified", b"").header(&line);
        }
        let range = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let from = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
        match from {
            Some(from) if request.header("if-range") == Some(tag) => match body.get(from..) {
                Some(rest) if !rest.is_empty() => Self::new("206 Partial Content", rest)
                    .header(&line)
                    .header(&format!(
                        "Content-Range: bytes {from}-{}/{}",
                        body.len() - 1,
                        body.len()
                    )),
                _ => Self::new("416 Range Not Satisfiable", b"")
                    .header(&format!("Content-Range: bytes */{}", body.len())),
            },
            _ => Self::ok(body).header(&line),
        }
    }

    fn send(&self, to: &mut TcpStream) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for line in &self.headers {
            head.push_str(&format!("{line}\r\n"));
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        let sent = self.cut.unwrap_or(self.body.len());
        to.write_all(&self.body[..sent])?;
        to.flush()?;
        std::thread::sleep(self.silence);
        Ok(())
    }
}

/// A server that runs until the tests end.
pub(crate) struct Server {
    authority: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let authority = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, all) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                std::thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(request) = read(&stream) {
                        all.lock().expect("no panic").push(request.clone());
                        // A client may go away; that is its affair.
                        let _ = answer(&request).send(&mut stream);
                    }
                });
            }
        });
        Self { authority, asked }
    }

    pub(crate) fn address(&self, path: &str) -> Address {
        let text = format!("http://{}{path}", self.authority);
        Address::of(&text).expect("one is meant").expect("it is one")
    }

    /// What was asked for, of this path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Request> {
        let all = self.asked.lock().expect("no panic");
        all.iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { path, headers })
}

/// A client that waits for nobody long, and asks no proxy.
pub(crate) fn client() -> Client {
    let patience = Patience {
        connecting: Duration::from_secs(20),
        silence: Duration::from_millis(700),
        pause: Duration::ZERO,
    };
    Client::with(patience, None)
}
