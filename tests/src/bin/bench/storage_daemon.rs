//! QEMU's storage daemon: a qcow2 file in a thread of its own, exported over NBD, and asked for snapshots over QMP.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::freeze::Requests;

/// The longest that it may take to be there.
const AT_MOST: Duration = Duration::from_secs(20);

/// The daemon, with the file `0` of its folder.
pub(crate) struct StorageDaemon {
    child: Child,
    nbd: PathBuf,
    monitor: BufReader<UnixStream>,
}

impl StorageDaemon {
    pub(crate) fn start(folder: &Path) -> StorageDaemon {
        let (nbd, qmp) = (folder.join("nbd"), folder.join("qmp"));
        let shown = |path: &Path| path.display().to_string();
        let child = Command::new("qemu-storage-daemon")
            .args(["--object", "iothread,id=io"])
            .arg("--blockdev")
            .arg(format!(
                "file,node-name=f0,filename={},aio=threads",
                shown(&folder.join("0"))
            ))
            .args(["--blockdev", "qcow2,node-name=d0,file=f0"])
            .args([
                "--nbd-server",
                &format!("addr.type=unix,addr.path={}", shown(&nbd)),
            ])
            .args([
                "--export",
                "nbd,id=e,node-name=d0,name=disk,writable=on,iothread=io",
            ])
            .args([
                "--chardev",
                &format!("socket,id=m,path={},server=on,wait=off", shown(&qmp)),
            ])
            .args(["--monitor", "m"])
            .spawn()
            .expect("there is no qemu-storage-daemon: apt-get install qemu-utils");
        let began = Instant::now();
        let monitor = loop {
            match UnixStream::connect(&qmp) {
                Ok(monitor) => break monitor,
                Err(error) => assert!(
                    began.elapsed() < AT_MOST,
                    "qemu-storage-daemon does not answer: {error}"
                ),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut daemon = StorageDaemon {
            child,
            nbd,
            monitor: BufReader::new(monitor),
        };
        daemon.ask("qmp_capabilities", json!({}));
        daemon
    }

    /// Asks for `command` and waits until it is done.
    fn ask(&mut self, command: &str, arguments: Value) {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        writeln!(self.monitor.get_mut(), "{line}").expect("it listens");
        loop {
            let mut line = String::new();
            self.monitor.read_line(&mut line).expect("it answers");
            let answer: Value = serde_json::from_str(&line).expect("a line of JSON");
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                return;
            }
        }
    }

    /// Opens an overlay, so that only the exchange is left.
    pub(crate) fn add_overlay(&mut self, number: usize, path: &Path) {
        let file =
            json!({"driver": "file", "node-name": format!("f{number}"), "filename": path, "aio": "threads"});
        self.ask("blockdev-add", file);
        let node = json!({"driver": "qcow2", "node-name": format!("d{number}"), "file": format!("f{number}"),
            "backing": null});
        self.ask("blockdev-add", node);
    }

    /// Makes it the top, in a transaction, as one does it for several disks.
    pub(crate) fn snapshot(&mut self, number: usize) {
        let data = json!({"node": format!("d{}", number - 1), "overlay": format!("d{number}")});
        self.ask(
            "transaction",
            json!({"actions": [{"type": "blockdev-snapshot", "data": data}]}),
        );
    }

    pub(crate) fn connect(&self) -> Connection {
        let mut stream = UnixStream::connect(&self.nbd).expect("it exports");
        // The protocol's words: newstyle negotiation, then "go" to the export (NBD_OPT_GO, no information wanted).
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).expect("a greeting");
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT", "it speaks NBD");
        let name = b"disk";
        let mut go = 3_u32.to_be_bytes().to_vec();
        go.extend(b"IHAVEOPT");
        go.extend(7_u32.to_be_bytes());
        go.extend((name.len() as u32 + 6).to_be_bytes());
        go.extend((name.len() as u32).to_be_bytes());
        go.extend(name);
        go.extend(0_u16.to_be_bytes());
        stream.write_all(&go).expect("it listens");
        loop {
            let mut reply = [0; 20];
            stream.read_exact(&mut reply).expect("a reply");
            let word =
                |at: usize| u32::from_be_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]);
            let mut rest = vec![0; word(16) as usize];
            stream.read_exact(&mut rest).expect("a reply");
            // Anything else but its acknowledgement is information, or an error (whose highest bit is set).
            let kind = word(12);
            assert!(
                kind < 1 << 31,
                "qemu-storage-daemon refuses its export: {kind:#x}"
            );
            if kind == 1 {
                return Connection(stream);
            }
        }
    }
}

impl Drop for StorageDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to the export, one request at a time.
pub(crate) struct Connection(UnixStream);

impl Connection {
    fn request(&mut self, kind: u16, offset: u64, len: u32, bytes: &[u8]) {
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend(0_u16.to_be_bytes());
        request.extend(kind.to_be_bytes());
        request.extend(0_u64.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(len.to_be_bytes());
        request.extend(bytes);
        self.0.write_all(&request).expect("it listens");
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).expect("a reply");
        assert_eq!(
            reply[..8],
            [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0],
            "the request is done"
        );
    }
}

impl Requests for Connection {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.request(1, offset, bytes.len() as u32, bytes);
    }

    fn flush(&mut self) {
        self.request(3, 0, 0, &[]);
    }
}
