//! Starting a command: its environment, user, working directory and process group.

use super::pty;
use super::users::User;
use crate::message::{ExecRequest, Failure, FailureKind};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where commands are looked for, unless their environment says otherwise.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A started command and the agent's ends of its streams; with a terminal all are that.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: Option<OwnedFd>,
}

/// Starts the command in a session of its own, so that a signal reaches all of it and nothing else.
pub(super) fn spawn(request: &ExecRequest) -> Result<Spawned, Failure> {
    let Some((program, arguments)) = request.argv.split_first().filter(|(first, _)| !first.is_empty()) else {
        return Err(Failure {
            kind: FailureKind::Malformed,
            message: "no command was given".into(),
        });
    };
    let user = match &request.user {
        Some(name) => Some(User::find(name).ok_or_else(|| Failure {
            kind: FailureKind::NoUser,
            message: format!("there is no user {name:?} in the guest"),
        })?),
        None => None,
    };
    let mut command = Command::new(program);
    command.args(arguments);
    environment(&mut command, request, user.as_ref());
    command.current_dir(directory(request, user.as_ref())?);
    let started = match &request.tty {
        Some(terminal) => pty::open(terminal.size).and_then(|(master, slave)| {
            command
                .stdin(slave.try_clone()?)
                .stdout(slave.try_clone()?)
                .stderr(slave);
            // SAFETY: become only makes system calls (see there).
            unsafe { command.pre_exec(move || become_user(user.as_ref(), Controlling::Stdin)) };
            let child = command.spawn()?;
            Ok(Spawned {
                child,
                stdin: master.try_clone()?,
                stdout: master,
                stderr: None,
            })
        }),
        None => {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            // SAFETY: become only makes system calls (see there).
            unsafe { command.pre_exec(move || become_user(user.as_ref(), Controlling::None)) };
            command.spawn().and_then(piped)
        }
    };
    started.map_err(|e| not_started(program.as_ref(), &e))
}

fn piped(mut child: Child) -> io::Result<Spawned> {
    let missing = || io::Error::other("a pipe that was asked for is not there");
    let stdin = OwnedFd::from(child.stdin.take().ok_or_else(missing)?);
    let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
    let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
    for fd in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(fd.as_fd(), true)?;
    }
    Ok(Spawned {
        child,
        stdin,
        stdout,
        stderr: Some(stderr),
    })
}

/// Small and the same in every guest; the request's own entries win.
fn environment(command: &mut Command, request: &ExecRequest, user: Option<&User>) {
    command.env_clear().env("PATH", PATH);
    let root = User::find("0");
    match user.or(root.as_ref()) {
        Some(user) => {
            command
                .env("HOME", &user.home)
                .env("USER", &user.name)
                .env("LOGNAME", &user.name);
            command.env("SHELL", &user.shell);
        }
        None => drop(
            command
                .env("HOME", "/")
                .env("USER", "root")
                .env("LOGNAME", "root"),
        ),
    }
    if let Some(terminal) = &request.tty {
        command.env("TERM", &terminal.term);
    }
    for (name, value) in &request.env {
        command.env(name, value);
    }
}

fn directory(request: &ExecRequest, user: Option<&User>) -> Result<PathBuf, Failure> {
    let Some(wanted) = &request.cwd else {
        let home = user.map_or(PathBuf::from("/root"), |user| user.home.clone());
        // An agent that is not root, as in its tests, sees a home that it may not enter.
        let enters = home.is_dir() && rustix::fs::access(&home, rustix::fs::Access::EXEC_OK).is_ok();
        return Ok(if enters { home } else { "/".into() });
    };
    if wanted.is_dir() {
        return Ok(wanted.clone());
    }
    let message = format!("there is no directory {} in the guest", wanted.display());
    Err(Failure {
        kind: FailureKind::NoDirectory,
        message,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Controlling {
    None,
    /// Standard input is the terminal that controls the session.
    Stdin,
}

/// Runs in the child between fork and exec: system calls only, no allocation.
fn become_user(user: Option<&User>, terminal: Controlling) -> io::Result<()> {
    let check = |result: libc::c_int| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: these calls touch no memory but the groups, whose pointer and length belong together.
    unsafe {
        check(libc::setsid())?;
        if terminal == Controlling::Stdin {
            check(libc::ioctl(0, libc::TIOCSCTTY as _, 0))?;
        }
        if let Some(user) = user {
            // Not being root, one can only stay who one is.
            if libc::geteuid() == 0 {
                check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
            }
            check(libc::setgid(user.gid))?;
            check(libc::setuid(user.uid))?;
        }
    }
    Ok(())
}

/// The kinds are those of a shell: 127 for what is not there, 126 for what cannot be executed.
fn not_started(program: &Path, error: &io::Error) -> Failure {
    let name = program.display();
    let (kind, message) = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if program.is_file() => (
            FailureKind::NotFound,
            format!("{name}: its interpreter is not in the guest"),
        ),
        Some(libc::ENOENT | libc::ENOTDIR) => (
            FailureKind::NotFound,
            format!("{name}: command not found in the guest"),
        ),
        Some(libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::ETXTBSY | libc::EPERM) => (
            FailureKind::NotExecutable,
            format!("{name}: cannot be executed in the guest: {error}"),
        ),
        _ => (
            FailureKind::System,
            format!("{name}: cannot be started in the guest: {error}"),
        ),
    };
    Failure { kind, message }
}
