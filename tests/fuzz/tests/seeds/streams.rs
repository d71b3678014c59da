//! Streams: the agent's, and the control socket's.

use kiln_agent::client::{ExecRequest, Hello};
use kiln_agent::frame::{Kind, RESYNC, encode, encode_credit, encode_data, encode_message};
use kiln_agent::message::{Exit, Failure, FailureKind, Greeting, Reply, Request, Signal, Size};
use kiln_fuzz::{agent, control};

use crate::{filtered, plant};

/// What a guest says on `channel`: an answer, or a command's output and its end.
fn answers(channel: u16) -> [Vec<u8>; 3] {
    let [mut hello, mut command, mut refusal] = [const { Vec::new() }; 3];
    let reply = Reply::Hello(Hello::default());
    encode_message(&mut hello, channel, Kind::Reply, &reply).unwrap();
    encode_data(&mut command, channel, Kind::Stdout, b"output");
    encode_data(&mut command, channel, Kind::Stderr, &RESYNC);
    encode_credit(&mut command, channel, 13);
    encode_message(&mut command, channel, Kind::Exit, &Exit::Code(3)).unwrap();
    let failure = Failure {
        kind: FailureKind::Busy,
        message: "no".into(),
    };
    encode_message(&mut refusal, channel, Kind::Reply, &Reply::Error(failure)).unwrap();
    encode(&mut refusal, channel, Kind::Close, &[]);
    [hello, command, refusal]
}

#[test]
fn frames_and_messages_are_understood_in_any_cuts() {
    let mut requests = vec![7];
    for request in [Request::Hello, Request::Sync, Request::Freeze { deadline_ms: 5 }] {
        encode_message(&mut requests, 1, Kind::Request, &request).unwrap();
    }
    let mut exec = vec![200];
    let request = ExecRequest {
        argv: [
            "true".into(),
            std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]),
        ]
        .into(),
        ..ExecRequest::default()
    };
    encode_message(&mut exec, 2, Kind::Request, &Request::Exec(request)).unwrap();
    encode_message(&mut exec, 2, Kind::Signal, &Signal { signal: 15 }).unwrap();
    encode_message(&mut exec, 2, Kind::Resize, &Size { rows: 1, cols: 2 }).unwrap();
    let answers = answers(1).map(|bytes| [vec![0xff], bytes].concat());
    plant(
        "agent_frames",
        agent::frames,
        &[&[requests, exec][..], &answers].concat(),
    );
}

#[test]
fn what_a_guest_says_is_heard_by_the_host() {
    let mut inputs: Vec<_> = answers(1).into_iter().chain(answers(2)).collect();
    let mut greeting = Vec::from(RESYNC);
    let (version, epoch, session) = (1, 1, 2);
    encode_message(
        &mut greeting,
        0,
        Kind::Hello,
        &Greeting {
            version,
            epoch,
            session,
        },
    )
    .unwrap();
    inputs.push(greeting);
    plant("agent_mux", agent::mux, &inputs);
}

#[test]
fn clients_understand_their_answers() {
    let [hello, command, _] = answers(0);
    plant("agent_client", agent::client, &[hello, command]);
}

#[test]
fn every_verb_of_the_control_socket_is_answered() {
    let verbs = ["status", "pause", "resume", "powerdown", "reset", "kill"];
    let lines =
        verbs.map(|verb| format!("{{\"v\":1,\"id\":7,\"verb\":\"{verb}\",\"args\":{{}}}}\n").into_bytes());
    let freeze =
        br#"{"v":1,"id":9,"verb":"disks.freeze","args":{"disks":[{"id":"vol-1"}],"quiesce":{"kind":"none"}}}
{"v":1,"id":10,"verb":"status"}
"#;
    plant(
        "control_line",
        control::line,
        &[&lines[..], &[freeze.to_vec()]].concat(),
    );
}

#[test]
fn files_come_as_tar_sends_them() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(150);
    std::fs::create_dir(folder.path().join(&long)).unwrap();
    std::fs::write(folder.path().join(&long).join("file"), "content").unwrap();
    std::os::unix::fs::symlink(&long, folder.path().join("link")).unwrap();
    std::fs::hard_link(
        folder.path().join(&long).join("file"),
        folder.path().join("second"),
    )
    .unwrap();
    let at = folder.path().to_str().unwrap();
    let tar = |options: &[&str]| filtered(&[&["tar", "-c", "-f", "-", "-C", at], options].concat(), b"");
    let streams = [
        tar(&["--format=gnu", "."]),
        tar(&["--format=posix", "."]),
        tar(&["--format=v7", "./second"]),
    ];
    plant("tree", agent::tree, &streams);
}
