//! Ctrl-C, SIGTERM and SIGHUP: the first ends in order, the second at once, and nothing is left behind; and what a
//! terminal shows meanwhile.

use super::{
    Said, example, ion, ion_in,
    node_stub::NodeStub,
    online::{job, line},
};
use ion_node::control::api::{ControlRequest, ControlResponse};
use ion_protocol::record::JobEnd;
use ion_scheduler::event::Event;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    fs::OFlags,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The signals that end a command here.
fn endings() -> Vec<Signal> {
    if outlives_its_terminal() {
        eprintln!("skipped: SIGHUP, which is ignored here");
        return vec![Signal::INT, Signal::TERM];
    }
    vec![Signal::INT, Signal::TERM, Signal::HUP]
}

/// Whether these tests were started as by `nohup`: then what they start ignores SIGHUP as well.
fn outlives_its_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

/// A command under way, and what it says on stderr as it says it.
struct Running {
    child: Child,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
    deadline: Instant,
    said: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = sync_channel(1_024);
        let reader = std::thread::spawn(move || {
            let _ = errors.lines().map_while(Result::ok).try_for_each(|line| send.send(line));
        });
        let deadline = Instant::now() + Duration::from_secs(100);
        Self { child, lines, reader, deadline, said: String::new() }
    }

    fn wait_for(&mut self, words: &str) {
        while let Ok(line) = self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now()))
        {
            self.said += &format!("{line}\n");
            if line.contains(words) {
                return;
            }
        }
        let _ = self.child.kill();
        panic!("`{words}` was not said in time, but: {}", self.said);
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> Said {
        let rest: Vec<String> = self.lines.iter().collect();
        self.reader.join().unwrap();
        let mut said = Said::of(self.child.wait_with_output().unwrap());
        self.said += &rest.join("\n");
        said.err = self.said;
        said
    }
}

/// A node whose job goes on until it is cancelled, and then ends or not.
fn node(dir: &Path, answers_cancel: bool, ends: bool) -> NodeStub {
    let (mut watcher, mut unanswered) = (None, Vec::new());
    NodeStub::start_with(dir, move |call| {
        let response = match call.request {
            ControlRequest::Submit { job, .. } => ControlResponse::Submitted { job },
            ControlRequest::Watch { job } => {
                watcher = Some(call.reply.clone());
                ControlResponse::Event(line(Event::JobAccepted { job }))
            }
            ControlRequest::Cancel { .. } if !answers_cancel => return unanswered.push(call),
            ControlRequest::Cancel { .. } => {
                // The job's end is an event of its own; the watcher's stream is over then.
                if ends {
                    watcher.take().unwrap().try_send(ControlResponse::End).unwrap();
                }
                ControlResponse::Noted
            }
            ControlRequest::Job { job: id } => {
                ControlResponse::Job(Box::new(job(id, Some(JobEnd::Cancelled))))
            }
            other => panic!("`ion run` does not ask {other:?}"),
        };
        // An asker may have left.
        let _ = call.reply.try_send(response);
    })
}

#[test]
fn the_first_signal_cancels_the_job_of_run() {
    for signal in endings() {
        let dir = tempfile::tempdir().unwrap();
        let _node = node(dir.path(), true, true);
        let out = dir.path().join("out");
        let mut run =
            Running::start(ion_in(dir.path(), &["run", &example("saxpy"), "--out", out.to_str().unwrap()]));
        run.wait_for("is accepted");
        run.send(signal);
        let said = run.end();
        said.failed(1, "was cancelled");
        assert!(!out.exists(), "nothing is left");
    }
}

#[test]
fn the_second_signal_leaves_whether_the_node_answers_or_not() {
    for (signal, answers) in endings().into_iter().zip([true, false, true]) {
        let dir = tempfile::tempdir().unwrap();
        let _node = node(dir.path(), answers, false);
        let mut run = Running::start(ion_in(dir.path(), &["run", &example("saxpy")]));
        run.wait_for("is accepted");
        run.send(signal);
        run.wait_for("cancelling the job");
        run.send(signal);
        run.end().failed(1, "is being cancelled");
    }
}

#[test]
fn run_without_a_node_takes_the_one_it_started_down_and_the_cancelled_job_is_durable() {
    for signal in endings() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody is there, so it looks for a provider until it is told to stop.
        let nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWLDLa4rSnzxDc8Qd8gET39VGTSSiC1XUofaDBLN8RZeDZ";
        let out = dir.path().join("out");
        let out = out.to_str().unwrap();
        let args = ["run", &example("saxpy"), "--bootstrap", nobody, "--out", out];
        let mut run = Running::start(ion_in(&dir.path().join("data"), &args));
        run.wait_for("is accepted");
        run.send(signal);
        run.end().failed(1, "was cancelled");
        assert!(!dir.path().join("data/control.sock").exists(), "{signal:?}");
        let jobs = ion(&dir.path().join("data"), &["jobs", "--json"]).json();
        assert_eq!((&jobs[0][0]["state"], &jobs[0][0]["node_runs"]), (&"cancelled".into(), &false.into()));
    }
}

/// A job whose kernel never ends by itself.
fn endless(dir: &Path) -> String {
    let ptx = ".version 6.0\n.target sm_52\n.address_size 64\n.visible .entry endless() {\nL: bra L;\n}\n";
    fs::write(dir.join("endless.ptx"), ptx).unwrap();
    let manifest = "name = \"endless\"\n[limits]\nrun = \"1 h\"\n[[module]]\nfile = \"endless.ptx\"\n[[buffer]]\n\
                    name = \"x\"\nelement = \"f32\"\nshape = 4\noutput = \"x.npy\"\n[[step]]\nkernel = \"endless\"\n\
                    grid = 1\nblock = 32\nargs = []\n";
    let path = dir.join("job.toml");
    fs::write(&path, manifest).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_terminal_gets_a_bar_where_a_pipe_gets_lines() {
    let dir = tempfile::tempdir().unwrap();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let no_tty_of_ours = OFlags::NOCTTY.bits().cast_signed();
    let screen = fs::OpenOptions::new().write(true).custom_flags(no_tty_of_ours).open(name).unwrap();
    let mut command = ion_in(dir.path(), &["exec", &endless(dir.path()), "--backend", "cpu"]);
    command.current_dir(dir.path()).env("TERM", "xterm").stdout(Stdio::null()).stderr(screen);
    let mut exec = command.spawn().unwrap();
    // The last end of the terminal's line is the child's: when it is gone, reading ends.
    drop(command);
    let (mut shown, mut terminal) = (Vec::new(), File::from(terminal));
    let mut seen = false;
    let (mut piece, deadline) = ([0; 4_096], Instant::now() + Duration::from_secs(100));
    while let Ok(bytes @ 1..) = terminal.read(&mut piece) {
        shown.extend_from_slice(&piece[..bytes]);
        if !seen && String::from_utf8_lossy(&shown).contains("] 0/1 launches") {
            seen = true;
            kill_process(Pid::from_child(&exec), Signal::INT).unwrap();
        }
        if Instant::now() > deadline {
            let _ = exec.kill();
        }
    }
    assert_eq!(exec.wait().unwrap().code(), Some(1));
    let shown = String::from_utf8_lossy(&shown);
    assert!(seen && !shown.contains("running: 0 of 1 launches"), "{shown}");
}

/// The children of a process, each held so that its end can be waited for.
fn children(of: &Child) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", of.id())).unwrap() {
        let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        let pids = children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap());
        found.extend(pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()));
    }
    found
}

#[test]
fn a_signal_ends_exec_with_its_worker_and_its_files() {
    for signal in endings() {
        let dir = tempfile::tempdir().unwrap();
        let (temp, out) = (dir.path().join("temp"), dir.path().join("out"));
        fs::create_dir(&temp).unwrap();
        let job = endless(dir.path());
        let args = ["exec", &job, "--backend", "cpu", "--out", out.to_str().unwrap()];
        let mut command = ion_in(&dir.path().join("data"), &args);
        command.env("TMPDIR", &temp);
        let mut exec = Running::start(command);
        exec.wait_for("running: 0 of 1 launches");
        let workers = children(&exec.child);
        assert!(!workers.is_empty(), "somebody runs it");
        exec.send(signal);
        let said = exec.end();
        said.failed(1, "cancelled");
        for worker in &workers {
            poll(&mut [PollFd::new(worker, PollFlags::IN)], None).unwrap();
        }
        assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "{signal:?}");
        assert!(!out.exists(), "{signal:?}");
        assert!(!dir.path().join("data").exists(), "and it needs no data directory");
    }
}

/// `ion node 2>&1 | tee log` and Ctrl-C, which ends `tee` first; or the terminal is closed.
#[test]
fn a_node_that_nobody_reads_any_more_still_ends_in_order() {
    for signal in endings() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = ion_in(dir.path(), &["node", "--light", "--json"]);
        let mut node = node.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(node.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("\"listening\""), "{first}");
        drop(node.stderr.take());
        kill_process(Pid::from_child(&node), signal).unwrap();
        assert_eq!(node.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(!dir.path().join("control.sock").exists(), "{signal:?}");
    }
}
