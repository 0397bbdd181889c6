//! One node: a real `ion node` process with its own key and data directory.

use super::{
    cleanup,
    log::{Deadline, Log, Mark, Said},
};
use anyhow::{Context, Result, anyhow, bail};
use ion_protocol::NodeId;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::{
    fmt,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Instant,
};

/// How long a dead process's output may take to arrive.
const REST_OF_OUTPUT_SECONDS: u64 = 10;
/// Of a node's log, when something went wrong.
const LOG_TAIL_BYTES: u64 = 4096;

/// Threads of a process that are told, when something went wrong.
const THREADS_TOLD_MAX: usize = 64;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Only helps others find each other.
    Network,
    /// Offers its device.
    Provider,
    /// Only orders.
    Light,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Network => "network node",
            Role::Provider => "provider",
            Role::Light => "light node",
        })
    }
}

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// For people: `provider-2`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Key, journal, blobs.
    pub data_dir: PathBuf,
    /// Where it shall listen.
    pub listen: Vec<String>,
    /// Whom it asks first.
    pub bootstrap: Vec<String>,
    /// Devices a provider offers: `auto`, `cuda` or `cpu`.
    pub backend: String,
    /// How often it challenges others unasked; `off` unless a test is about that: providers of one machine share its processor.
    pub challenge: String,
    /// More arguments of `ion node`.
    pub extra: Vec<String>,
}

/// Any free port on loopback, both transports.
pub const LISTEN_ANYWHERE: [&str; 2] = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// How it is started the next time.
    pub spec: NodeSpec,
    /// Who it is; known since its first start.
    pub id: Option<NodeId>,
    /// Where it can be reached; of its last start.
    pub addresses: Vec<String>,
    /// Starts so far.
    pub runs: u32,
    position: usize,
    log: Arc<Log>,
    child: Option<Child>,
}

impl Node {
    /// A node that is not started yet.
    pub fn new(position: usize, spec: NodeSpec, log: Arc<Log>) -> Self {
        Self { spec, id: None, addresses: Vec::new(), runs: 0, position, log, child: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether its process was started and not ended by us.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Where its log lies.
    pub fn log_file(&self) -> PathBuf {
        self.spec.data_dir.with_extension("log")
    }

    /// Starts the process; [`Node::ready`] waits for it.
    pub fn start(&mut self, ion: &Path) -> Result<Mark> {
        if self.is_up() {
            bail!("{} runs already", self.name());
        }
        fs::create_dir_all(&self.spec.data_dir)?;
        let errors = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new(ion);
        // With what it does meanwhile: a start that hangs shall not be silent.
        command.arg("node").arg("--json").arg("--verbose").arg("--data-dir").arg(&self.spec.data_dir);
        match self.spec.role {
            Role::Network => command.arg("--relay"),
            Role::Light => command.args(["--light", "--challenge", &self.spec.challenge]),
            Role::Provider => {
                command.args(["--backend", &self.spec.backend, "--challenge", &self.spec.challenge])
            }
        };
        self.spec.listen.iter().for_each(|address| _ = command.args(["--listen", address]));
        self.spec.bootstrap.iter().for_each(|address| _ = command.args(["--bootstrap", address]));
        command.args(&self.spec.extra);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mark = self.log.mark();
        let mut child = cleanup::spawn(command)
            .with_context(|| format!("starting {} for {}", ion.display(), self.name()))?;
        self.runs += 1;
        let output = child.stdout.take().context("standard output is a pipe")?;
        let (log, position, run) = (self.log.clone(), self.position, self.runs);
        thread::spawn(move || log.follow(position, run, output));
        self.child = Some(child);
        Ok(mark)
    }

    /// Waits until the node started last says where it listens.
    pub fn ready(&mut self, from: Mark, deadline: Deadline) -> Result<()> {
        let (position, run) = (self.position, self.runs);
        let what = format!("{} to listen", self.name());
        let waited = self.log.wait(from, deadline, &what, |line| {
            if line.node != position || line.run != run {
                return Ok(None);
            }
            match &line.said {
                Said::Listening { node, addresses } => Ok(Some((*node, addresses.clone()))),
                Said::Ended => Err(anyhow!("it ended before it listened")),
                Said::Event(_) | Said::Other(_) => Ok(None),
            }
        });
        let ((id, addresses), _) = waited.with_context(|| {
            let (process, tail) = (self.process(), self.tail());
            format!("{} did not start; its process {process}; its log ends:\n{tail}", self.name())
        })?;
        if self.id.is_some_and(|known| known != id) {
            bail!("{} came back as another node: its key was lost", self.name());
        }
        self.id = Some(id);
        self.addresses = addresses;
        Ok(())
    }

    /// Kills the process at once, as `kill -9` does, and waits until it is gone and everything it said was heard.
    /// Answers when the signal was sent.
    pub fn kill(&mut self) -> Result<Instant> {
        let mark = Mark::default();
        let sent = Instant::now();
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.spec.name))?;
        child.kill()?;
        cleanup::reap(&mut child);
        self.heard_out(mark)?;
        Ok(sent)
    }

    /// Asks the process to end, as Ctrl-C does, and waits for it. Answers its exit code.
    pub fn stop(&mut self, deadline: Deadline) -> Result<Option<i32>> {
        self.interrupt()?;
        self.ended(deadline)
    }

    /// Asks the process to end, as Ctrl-C does.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Waits for a process that ends by itself. Answers its exit code.
    pub fn ended(&mut self, deadline: Deadline) -> Result<Option<i32>> {
        let (position, run) = (self.position, self.runs);
        let what = format!("{} to end", self.name());
        self.log.wait(Mark::default(), deadline, &what, |line| {
            Ok((line.node == position && line.run == run && line.said == Said::Ended).then_some(()))
        })?;
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.spec.name))?;
        let status = child.wait()?;
        cleanup::reap(&mut child);
        Ok(status.code())
    }

    /// Stops the process in its tracks (SIGSTOP): connections stay open, nobody answers.
    pub fn freeze(&self) -> Result<Instant> {
        let sent = Instant::now();
        self.signal(Signal::STOP)?;
        Ok(sent)
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// From now on no file of the process may be written beyond `bytes`, as on a disk that is full; `None` makes room again.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.pid()?), Resource::Fsize, limit)
            .with_context(|| format!("limiting the files of {}", self.name()))?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("signalling {}", self.name()))
    }

    fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name()))?;
        Pid::from_raw(child.id().cast_signed()).context("a process number")
    }

    fn heard_out(&self, from: Mark) -> Result<()> {
        let (position, run) = (self.position, self.runs);
        let deadline = Deadline::seconds(REST_OF_OUTPUT_SECONDS);
        let what = format!("the last words of {}", self.name());
        self.log.wait(from, deadline, &what, |line| {
            Ok((line.node == position && line.run == run && line.said == Said::Ended).then_some(()))
        })?;
        Ok(())
    }

    /// What the kernel says of the process: the state of each thread, and where it waits.
    pub fn process(&self) -> String {
        let Some(child) = &self.child else { return "is not there".to_owned() };
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let thread = |task: fs::DirEntry| {
            let (stat, name) = (read(task.path().join("stat")), read(task.path().join("comm")));
            let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next().unwrap_or('?');
            format!("{name} ({state} {})", read(task.path().join("wchan")))
        };
        match fs::read_dir(format!("/proc/{}/task", child.id())) {
            Ok(tasks) => {
                let threads: Vec<String> = tasks.flatten().take(THREADS_TOLD_MAX).map(thread).collect();
                format!("has the threads {}", threads.join(", "))
            }
            Err(error) => format!("is gone ({error})"),
        }
    }

    /// The end of the node's log.
    pub fn tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.log_file())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            cleanup::end(child);
        }
    }
}
