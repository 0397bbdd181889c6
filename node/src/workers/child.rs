//! One child process: its pipes, its last words, its end.

use ion_gpu::worker::{
    Task,
    frame::{Frame, FrameError, FromWorker, HEADER_BYTES, parse_header, parse_payload},
};
use ion_protocol::{
    Bytes, Millis,
    codec::{Decode, Encode},
    fault::Fault,
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
    runtime,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Frames of a child that may wait to be looked at.
const FRAMES_AHEAD: usize = 8;
/// Children that may wait to be started; more callers wait for their turn.
const SPAWNS_AHEAD: usize = 16;
/// Children whose numbers are kept: far more than run at once, far fewer than numbers there are.
const STARTED_KEPT: usize = 256;
/// Standard error that is kept: the last lines say why.
const LAST_WORDS_BYTES: usize = 4 * 1024;
/// Standard error of one job. A driver says a few lines; a flood ends the job.
pub const STDERR_BYTES_MAX: u64 = 1 << 20;
/// How long a child whose pipe ended may take to be gone.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// What drivers read of the environment; a child gets nothing else.
const ENVIRONMENT: [&str; 4] =
    ["LD_LIBRARY_PATH", VISIBLE_DEVICES, "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"];
/// Which devices a driver shows to a process; an owner's choice, where it is set.
pub const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// Starts children, all from one thread that lives as long as anyone can ask: the kernel kills a child when the *thread*
/// that started it ends, and threads of a runtime come and go.
#[derive(Clone, Debug)]
pub struct Spawner {
    asks: mpsc::Sender<Ask>,
    started: Arc<Mutex<VecDeque<u32>>>,
    /// The one device that the driver shows to its children, by the driver's name; `None` for what it shows anyway.
    shown: Option<String>,
}

struct Ask {
    task: Task,
    shown: Option<String>,
    reply: oneshot::Sender<io::Result<Process>>,
}

impl Spawner {
    /// Children are `exe worker`.
    pub fn start(exe: PathBuf) -> Self {
        let (asks, mut asked) = mpsc::channel::<Ask>(SPAWNS_AHEAD);
        let runtime = runtime::Handle::current();
        let started_here: Arc<Mutex<VecDeque<u32>>> = Arc::default();
        let noted = started_here.clone();
        let started = std::thread::Builder::new().name("ion-spawner".to_owned()).spawn(move || {
            while let Some(ask) = asked.blocking_recv() {
                let _inside = runtime.enter();
                let child = spawn(&exe, ask.task, ask.shown);
                if let Some(pid) = child.as_ref().ok().and_then(Process::id) {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push_back(pid);
                    let over = noted.len().saturating_sub(STARTED_KEPT);
                    noted.drain(..over);
                }
                // Nobody waits any more: the child is dropped, which kills it.
                let _ = ask.reply.send(child);
            }
        });
        // Without the thread every ask is answered with an error.
        drop(started);
        Self { asks, started: started_here, shown: None }
    }

    /// The same, for children that are to see no other device than this.
    pub fn showing(&self, uuid: Option<String>) -> Self {
        Self { shown: uuid, ..self.clone() }
    }

    /// Numbers of the children started of late, those that ended included: a driver may list one a moment longer.
    pub fn started(&self) -> Vec<u32> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    async fn ask(&self, task: Task) -> io::Result<Process> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts workers is gone");
        self.asks.send(Ask { task, shown: self.shown.clone(), reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// A new child for jobs.
    pub async fn child(&self, task: Task) -> io::Result<Child> {
        Child::of(self.ask(task).await?)
    }

    /// A new child that answers one question and ends. Dropped, it is killed.
    pub async fn probe(&self, task: Task) -> io::Result<Probe> {
        let mut process = self.ask(task).await?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("a child without pipes"))?;
        // Drivers may write to standard error at will; nobody listens, and a full pipe must not stop them.
        if let Some(stderr) = process.stderr.take() {
            let (words, flooded) = (Arc::default(), CancellationToken::new());
            tokio::spawn(async move { listen(stderr, &words, &flooded).await });
        }
        Ok(Probe { process, stdout })
    }
}

fn spawn(exe: &PathBuf, task: Task, shown: Option<String>) -> io::Result<Process> {
    let environment = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    Command::new(exe)
        .arg("worker")
        .args(task.to_args())
        .env_clear()
        .envs(environment)
        .envs(shown.map(|uuid| (VISIBLE_DEVICES, uuid)))
        // Foreign code is compiled afresh each time and leaves nothing in the owner's home.
        .env("CUDA_CACHE_DISABLE", OsString::from("1"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// The end of standard error, and how much there was.
#[derive(Debug, Default)]
struct LastWords {
    tail: VecDeque<u8>,
    total: u64,
}

/// A child that was asked what the machine has.
pub struct Probe {
    pub process: Process,
    pub stdout: ChildStdout,
}

/// A running child with jobs. Dropped, it is killed.
pub struct Child {
    process: Process,
    /// `None` while it is lent to whoever feeds the child.
    pub stdin: Option<ChildStdin>,
    /// What it says.
    pub frames: mpsc::Receiver<Result<Frame<FromWorker>, FrameError>>,
    /// Set when it wrote more than [`STDERR_BYTES_MAX`] to standard error.
    pub flooded: CancellationToken,
    words: Arc<Mutex<LastWords>>,
    stderr_ended: CancellationToken,
}

impl Child {
    fn of(mut process: Process) -> io::Result<Self> {
        let taken = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = taken else {
            return Err(io::Error::other("a child without pipes"));
        };
        let (to, frames) = mpsc::channel(FRAMES_AHEAD);
        tokio::spawn(read_frames(stdout, to));
        let (words, flooded, stderr_ended) =
            (Arc::default(), CancellationToken::new(), CancellationToken::new());
        tokio::spawn({
            let (words, flooded, ended) =
                (Arc::clone(&words), flooded.clone(), stderr_ended.clone().drop_guard());
            async move {
                listen(stderr, &words, &flooded).await;
                drop(ended);
            }
        });
        Ok(Self { process, stdin: Some(stdin), frames, flooded, words, stderr_ended })
    }

    /// Waits until its device is open.
    pub async fn ready(&mut self, patience: Duration) -> Result<(), Fault> {
        match timeout(patience, self.frames.recv()).await {
            Ok(Some(Ok(Frame::Message(FromWorker::Ready)))) => Ok(()),
            Ok(Some(Ok(Frame::Message(FromWorker::Failed(fault))))) => Err(fault.bounded()),
            Ok(Some(Ok(_))) => {
                Err(Fault::WorkerProtocol { message: "it did not begin by being ready".into() })
            }
            Ok(Some(Err(error))) => Err(self.broke(error).await),
            Ok(None) => Err(self.died().await),
            Err(_) => Err(Fault::WorkerHung { silent: millis(patience) }),
        }
    }

    /// Whether an idle child is still worth a job.
    pub fn is_idle(&self) -> bool {
        // Looked at, not taken: what it said is for the job that takes it on all the same.
        self.frames.is_empty() && !self.frames.is_closed() && !self.flooded.is_cancelled()
    }

    /// What a broken frame means: a child that died in the middle of one crashed, any other does not speak our language.
    pub async fn broke(&mut self, error: FrameError) -> Fault {
        match error {
            FrameError::Cut | FrameError::Io(_) => self.died().await,
            FrameError::Header(_) | FrameError::Message(_) => {
                Fault::WorkerProtocol { message: error.to_string() }.bounded()
            }
        }
    }

    /// How it ended, with its last words. Called after its pipe ended.
    pub async fn died(&mut self) -> Fault {
        if self.flooded.is_cancelled() {
            return flood();
        }
        let how = match timeout(GONE_AFTER, self.process.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => format!("its end could not be learned: {error}"),
            Err(_) => {
                let _ = self.process.start_kill();
                "it closed its pipe and did not end".to_owned()
            }
        };
        // A grandchild could hold the pipe open, so this too has an end.
        let _ = timeout(GONE_AFTER, self.stderr_ended.cancelled()).await;
        let words = self.last_words();
        let how = if words.is_empty() { how } else { format!("{how}; its last words: {words}") };
        Fault::WorkerCrashed { how }.bounded()
    }

    /// Kills it and waits until it is gone, so that its device's memory is free again.
    pub async fn end(mut self) {
        let _ = self.process.start_kill();
        let _ = timeout(GONE_AFTER, self.process.wait()).await;
    }

    /// The end of what it wrote to standard error, in one printable line.
    fn last_words(&self) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let tail: Vec<u8> = words.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&tail);
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
        let skip = line.chars().count().saturating_sub(LAST_WORDS_CHARS);
        line.chars().skip(skip).collect()
    }
}

/// Last words that are repeated in a fault.
const LAST_WORDS_CHARS: usize = 400;

/// A duration as the protocol has it.
pub fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// An exit status in words.
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => "SIGILL: illegal instruction",
                6 => "SIGABRT: it gave up, as when memory cannot be had",
                7 => "SIGBUS: bad memory access",
                8 => "SIGFPE: arithmetic",
                9 => "SIGKILL: by the system, as when memory runs out, or by its owner",
                11 => "SIGSEGV: bad memory access",
                24 => "SIGXCPU: processor time",
                25 => "SIGXFSZ: it wrote a file",
                31 => "SIGSYS: a forbidden system call",
                _ => return format!("signal {signal}"),
            };
            format!("signal {signal}, {name}")
        }
        (None, None) => "an unknown end".to_owned(),
    }
}

async fn read_frames(stdout: ChildStdout, to: mpsc::Sender<Result<Frame<FromWorker>, FrameError>>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        match read_frame(&mut stdout).await {
            Ok(None) => return,
            Ok(Some(frame)) => {
                if to.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // What follows a broken frame has no meaning; the pipe is closed by dropping it.
                let _ = to.send(Err(error)).await;
                return;
            }
        }
    }
}

/// The next frame of a child's; `None` where it ended between two.
pub async fn read_frame<T: Encode + Decode<()>>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Frame<T>>, FrameError> {
    let mut head = [0; HEADER_BYTES];
    let first = from.read(&mut head).await?;
    if first == 0 {
        return Ok(None);
    }
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Cut,
        _ => FrameError::Io(error),
    };
    from.read_exact(&mut head[first..]).await.map_err(cut)?;
    let (kind, len) = parse_header(head)?;
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).await.map_err(cut)?;
    parse_payload(kind, payload).map(Some)
}

/// Keeps the end of standard error, whatever its length, and says when it is too much.
async fn listen(mut stderr: impl AsyncRead + Unpin, words: &Mutex<LastWords>, flooded: &CancellationToken) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let total = {
            let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
            words.tail.extend(&piece[..read]);
            let over = words.tail.len().saturating_sub(LAST_WORDS_BYTES);
            words.tail.drain(..over);
            words.total = words.total.saturating_add(read as u64);
            words.total
        };
        if total > STDERR_BYTES_MAX {
            flooded.cancel();
        }
    }
}

/// The fault of a child that wrote too much.
pub fn flood() -> Fault {
    Fault::Output { limit: Bytes(STDERR_BYTES_MAX) }
}
