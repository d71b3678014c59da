//! The guest agent: its protocol, its daemon, and the host's side of its port.
//!
//! The daemon runs in a guest and serves one byte stream, the virtio-console port
//! [`PORT_NAME`]: commands with their streams, freezing of file systems, an orderly end. On the
//! host, a [`mux::Mux`] owns the other end of that stream and shares it: every connection to
//! `agent.sock` is one channel of it. [`client::Agent`] is such a connection.
//!
//! ```text
//!  client::Agent --- agent.sock --- mux::Mux === virtio port === daemon --- commands
//!        message (JSON) and data, in frame::Frame, paid for by window credit
//! ```
//!
//! The same daemon serves the guest of an instance and the software machine.

pub mod client;
pub mod daemon;
pub mod decoder;
pub mod frame;
pub mod message;
pub mod mux;
pub mod tree;
pub mod window;

/// The name of the virtio-console port that the agent serves.
pub const PORT_NAME: &str = "org.kiln.agent.0";
