//! Speaks with an agent behind a QEMU character device:
//!
//! ```text
//! qemu-system-x86_64 … -device virtio-serial-pci -device virtserialport,chardev=a,name=org.kiln.agent.0 \
//!     -chardev socket,id=a,path=SOCKET,server=on,wait=off
//! cargo run -p kiln-agent --example ask -- SOCKET hello | freeze SECONDS | poweroff | reboot | exec CMD…
//! ```

use kiln_agent::client::{Agent, ExecRequest, ShutdownMode, Streams};
use kiln_agent::mux::Mux;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, verb, rest @ ..] = &arguments[..] else {
        return Err("usage: ask SOCKET VERB …".into());
    };
    let start = Instant::now();
    let own = std::env::temp_dir().join(format!("ask-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&own)?;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(e) if start.elapsed() > PATIENCE => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let _mux = Mux::over_stream(listener, stream.into())?;
    let mut agent = Agent::connect(UnixStream::connect(&own)?);
    std::fs::remove_file(&own)?;
    let hello = agent.hello(PATIENCE)?;
    eprintln!("answered after {} ms", start.elapsed().as_millis());
    match verb.as_str() {
        "hello" => println!("{}", serde_json::to_string_pretty(&hello)?),
        "freeze" => {
            let seconds = rest.first().map_or(Ok(5), |text| text.parse())?;
            println!(
                "frozen: {}",
                agent.freeze(Duration::from_secs(seconds), PATIENCE)?
            );
            std::thread::sleep(Duration::from_secs(2));
            println!("thawed: {}", agent.thaw(PATIENCE)?);
        }
        "poweroff" => agent.shutdown(ShutdownMode::Poweroff, PATIENCE)?,
        "reboot" => agent.shutdown(ShutdownMode::Reboot, PATIENCE)?,
        "exec" => {
            let request = ExecRequest {
                argv: rest.iter().map(Into::into).collect(),
                ..ExecRequest::default()
            };
            let start = Instant::now();
            let status = agent.exec(request)?.run(Streams::own())?;
            eprintln!("{status:?} after {} ms", start.elapsed().as_millis());
            std::process::exit(status.code().into());
        }
        other => return Err(format!("unknown verb {other:?}").into()),
    }
    Ok(())
}
