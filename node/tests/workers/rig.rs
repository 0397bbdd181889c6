//! A node's workers without a node: a store in a directory, the inputs an engine would get, and children to signal.

#![allow(dead_code, reason = "each test file uses its part")]

use super::programs;
use ion_node::workers::{
    BackendChoice, Blobs, KeepFree, NewBlob, Patience, ProbeReport, WorkersConfig, WorkersHandle, start_with,
};
use ion_protocol::{BlobHash, Bytes, NodeId, fault::Fault, job::JobSpec};
use ion_scheduler::input::{Input, WorkId, WorkReport};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};

/// Patience of a machine that does many things at once: a probe measures rates, and may stand in line, and so may a word of
/// a child's. Only what is to hang is held to a time.
pub fn unhurried() -> Patience {
    Patience { driver: Duration::from_secs(120), silence: PATIENCE, ..Patience::default() }
}

/// The real program.
pub const ION: &str = env!("CARGO_BIN_EXE_ion");
/// No test waits longer for one fact.
pub const PATIENCE: Duration = Duration::from_secs(90);
const MIB: u64 = 1 << 20;

/// Blobs as files in a directory.
pub struct TestBlobs {
    dir: TempDir,
    room: AtomicU64,
    /// Held while the disk takes nothing.
    pub disk: Arc<tokio::sync::Mutex<()>>,
}

impl TestBlobs {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), room: AtomicU64::new(u64::MAX), disk: Arc::default() }
    }

    fn path(&self, hash: &BlobHash) -> PathBuf {
        self.dir.path().join(hash.to_string())
    }

    pub fn put(&self, bytes: &[u8]) -> BlobHash {
        let hash = BlobHash::of(bytes);
        fs::write(self.path(&hash), bytes).unwrap();
        hash
    }

    pub fn read(&self, hash: &BlobHash) -> Vec<u8> {
        fs::read(self.path(hash)).unwrap()
    }

    /// Replaces what is held under a name.
    pub fn damage(&self, hash: &BlobHash, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => fs::write(self.path(hash), bytes).unwrap(),
            None => fs::remove_file(self.path(hash)).unwrap(),
        }
    }

    /// What a new blob may have before the disk counts as full.
    pub fn room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
    }
}

impl Blobs for TestBlobs {
    fn open(&self, hash: &BlobHash) -> io::Result<File> {
        File::open(self.path(hash))
    }

    fn create(&self, _: Bytes) -> io::Result<Box<dyn NewBlob>> {
        let (dir, left) = (self.dir.path().to_owned(), self.room.load(Ordering::SeqCst));
        Ok(Box::new(Draft { dir, bytes: Vec::new(), left, disk: self.disk.clone() }))
    }
}

struct Draft {
    dir: PathBuf,
    bytes: Vec<u8>,
    left: u64,
    disk: Arc<tokio::sync::Mutex<()>>,
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.disk.blocking_lock());
        self.left =
            self.left.checked_sub(bytes.len() as u64).ok_or(io::Error::from(io::ErrorKind::StorageFull))?;
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewBlob for Draft {
    fn finish(self: Box<Self>) -> io::Result<BlobHash> {
        let hash = BlobHash::of(&self.bytes);
        fs::write(self.dir.join(hash.to_string()), &self.bytes)?;
        Ok(hash)
    }
}

/// Memory limits tell the children of rigs apart that run at the same time.
static NEXT_MEMORY: AtomicU64 = AtomicU64::new(512 * MIB);

pub struct Rig {
    pub handle: WorkersHandle,
    pub report: ProbeReport,
    pub blobs: Arc<TestBlobs>,
    pub config: WorkersConfig,
    /// Whose jobs are sent.
    pub tenant: NodeId,
    /// Whether the memory between launches is wanted.
    pub keep_states: bool,
    inputs: mpsc::Receiver<Input>,
    ended: BTreeMap<WorkId, Result<WorkReport, Fault>>,
    next: u64,
}

impl Rig {
    pub async fn start(exe: &str) -> Self {
        Self::start_with(exe, BackendChoice::Cpu, unhurried()).await
    }

    pub async fn start_with(exe: &str, backend: BackendChoice, patience: Patience) -> Self {
        let blobs = Arc::new(TestBlobs::new());
        let memory_max = Bytes(NEXT_MEMORY.fetch_add(2, Ordering::SeqCst));
        let (keep_free, measured) = (KeepFree::NOTHING, None);
        let config = WorkersConfig { exe: exe.into(), backend, memory_max, keep_free, measured };
        let (to, inputs) = mpsc::channel(256);
        let (handle, report) = start_with(config.clone(), patience, blobs.clone(), to).await;
        let tenant = NodeId([1; 32]);
        Self {
            handle,
            report,
            blobs,
            config,
            tenant,
            keep_states: false,
            inputs,
            ended: BTreeMap::new(),
            next: 1,
        }
    }

    /// Sends a job to device 0.
    pub fn begin(&mut self, spec: JobSpec) -> WorkId {
        self.begin_on(0, spec)
    }

    /// Sends a job to a device.
    pub fn begin_on(&mut self, device: u16, spec: JobSpec) -> WorkId {
        let work = WorkId(self.next);
        self.next += 1;
        self.handle.run(work, self.tenant, device, Box::new(spec), self.keep_states).unwrap();
        work
    }

    async fn input(&mut self) -> Input {
        timeout(PATIENCE, self.inputs.recv()).await.expect("an input in time").expect("workers live")
    }

    /// Waits until a job tells progress.
    pub async fn progress(&mut self, of: WorkId) {
        loop {
            match self.input().await {
                Input::WorkProgress { work, .. } if work == of => return,
                Input::WorkDone { work, result } if work == of => panic!("{work:?} ended with {result:?}"),
                Input::WorkDone { work, result } => drop(self.ended.insert(work, result)),
                _ => {}
            }
        }
    }

    /// Waits for a job's end.
    pub async fn end(&mut self, of: WorkId) -> Result<WorkReport, Fault> {
        loop {
            if let Some(result) = self.ended.remove(&of) {
                return result;
            }
            if let Input::WorkDone { work, result } = self.input().await {
                self.ended.insert(work, result);
            }
        }
    }

    /// Whether a job's end was heard while others were waited for.
    pub fn has_ended(&self, work: WorkId) -> bool {
        self.ended.contains_key(&work)
    }

    pub async fn run(&mut self, spec: JobSpec) -> Result<WorkReport, Fault> {
        let work = self.begin(spec);
        self.end(work).await
    }

    /// The device still does what it should.
    pub async fn expect_good(&mut self) {
        let (spec, expected) = programs::scale(&self.blobs, 300);
        let report = self.run(spec).await.expect("a good job after a bad one");
        assert_eq!(report.inline[0].bytes, expected);
    }

    /// Children of this rig's device, of those that this process started.
    pub fn children(&self) -> Vec<Pid> {
        let memory = self.report.devices[0].memory.0.to_string();
        let parent = format!("PPid:\t{}", std::process::id());
        let mut pids: Vec<i32> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<&str> = line.split('\0').collect();
                let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                words.contains(&"--engine")
                    && words.contains(&memory.as_str())
                    && status().lines().any(|line| line == parent)
            })
            .collect();
        pids.sort_unstable();
        pids.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// Waits until they are as wanted: one that is made ready ahead, or dropped, comes and goes beside the jobs.
    pub async fn children_when(&self, what: &str, wanted: impl Fn(&[Pid]) -> bool) -> Vec<Pid> {
        let began = Instant::now();
        let mut again = interval(Duration::from_millis(5));
        loop {
            let found = self.children();
            if wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: found {found:?}");
            again.tick().await;
        }
    }

    /// The one at work or known to its tenant, and the one made ready beside it.
    pub async fn both_children(&self) -> Vec<Pid> {
        self.children_when("a child and a spare", |found| found.len() == 2).await
    }

    /// Signals the busy child with every word of progress: Rust's own handler of SIGSEGV looks whether the stack overflowed,
    /// finds that it did not, and steps aside for the next.
    pub async fn signal_until_end(&mut self, work: WorkId, signal: Signal) {
        while !self.ended.contains_key(&work) {
            if let Some(busy) = self.busy_child() {
                let _ = kill_process(busy, signal);
            }
            if let Input::WorkDone { work, result } = self.input().await {
                self.ended.insert(work, result);
            }
        }
    }

    /// Signals the child that runs a job, as soon as its use of the processor tells it from the spare beside it.
    pub async fn signal_busy_child(&mut self, work: WorkId, signal: Signal) {
        loop {
            let mut used: Vec<_> = self.children().into_iter().map(|pid| (ticks(pid), pid)).collect();
            used.sort_unstable_by_key(|(ticks, _)| *ticks);
            if let [.., (spare, _), (busy, pid)] = used[..]
                && busy > spare + CLEARLY_MORE_TICKS
            {
                return kill_process(pid, signal).unwrap();
            }
            self.progress(work).await;
        }
    }

    fn busy_child(&self) -> Option<Pid> {
        self.children().into_iter().max_by_key(|pid| ticks(*pid))
    }

    /// Kills the idle child and the spare.
    pub async fn kill_both_children(&self) {
        let children = self.both_children().await;
        children.into_iter().for_each(|pid| kill_process(pid, Signal::KILL).unwrap());
    }
}

/// What starting up cannot explain.
const CLEARLY_MORE_TICKS: u64 = 10;

/// Processor time of a child, user and system: the 14th and 15th field of its `stat` (proc(5)).
fn ticks(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The second field, the name, may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// A program written for the occasion.
pub struct Fake {
    _dir: TempDir,
    path: String,
}

impl Fake {
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A shell script with this text; its arguments are `worker` and so on.
pub fn fake(script: &str) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let (draft, path) = (dir.path().join("draft"), dir.path().join("fake"));
    fs::write(&draft, format!("#!/bin/sh\nPATH=/usr/bin:/bin\nexport PATH\n{script}\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    // Written by another process: a child that another test starts meanwhile would hold it open a moment longer, and the
    // system runs no file that is open for writing.
    assert!(Command::new("cp").arg("-p").args([&draft, &path]).status().unwrap().success());
    Fake { path: path.to_str().unwrap().to_owned(), _dir: dir }
}

/// The real program with the imitation of a driver, which is set so.
pub struct Imitation {
    pub program: Fake,
    _folder: TempDir,
}

impl Imitation {
    pub fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { program: imitation_in(folder.path(), settings), _folder: folder }
    }
}

fn imitation_in(folder: &Path, settings: &str) -> Fake {
    cuda_imitation::install(folder).unwrap();
    // Beside what a device keeps for itself, so that children can be told apart here too.
    let memory = NEXT_MEMORY.fetch_add(2, Ordering::SeqCst) + (2 << 30);
    let (variable, place) = (cuda_imitation::VARIABLE, folder.display());
    fake(&format!(
        "export {variable}='memory={memory} {settings}'\nLD_LIBRARY_PATH={place} exec {ION} \"$@\""
    ))
}

/// A `libnvidia-ml.so.1` with a card whose temperature and processes stand in files beside it, and one in two parts; and a
/// program that is the real one with this library. `None` where there is no C compiler.
pub struct Cards {
    pub program: Fake,
    dir: TempDir,
}

/// The names of the cards that [`Cards`] has.
pub const CARD: &str = "GPU-00000000-0000-0000-0000-000000000001";
pub const PARTITIONED: &str = "GPU-00000000-0000-0000-0000-000000000002";
/// And of the parts of the second.
pub const PARTS: [&str; 2] =
    ["MIG-00000000-0000-0000-0000-000000000001", "MIG-00000000-0000-0000-0000-000000000003"];

impl Cards {
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let text = format!(
            "#include <stdio.h>\n#include <string.h>\n\
             static int numbers(const char *name, unsigned *to, unsigned room) {{ unsigned n = 0; char path[512];\n\
             snprintf(path, sizeof path, \"{place}/%s\", name); FILE *f = fopen(path, \"r\"); if (!f) return -1;\n\
             while (n < room && fscanf(f, \"%u\", to + n) == 1) n++; fclose(f); return n; }}\n\
             /* Handles: the cards are 1 and 2, the parts of the second 3 and 4. */\n\
             static const char *names[] = {{ \"\", \"{CARD}\", \"{PARTITIONED}\", \"{}\", \"{}\" }};\n\
             #define H ((long)h)\n\
             int nvmlInit_v2(void) {{ return 0; }}\n\
             int nvmlDeviceGetCount_v2(unsigned *n) {{ *n = 2; return 0; }}\n\
             int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {{ *h = (void *)(long)(i + 1); return 0; }}\n\
             int nvmlDeviceGetUUID(void *h, char *to, unsigned room) {{ strncpy(to, names[H], room); return 0; }}\n\
             int nvmlDeviceGetName(void *h, char *to, unsigned room) {{ strncpy(to, \"imitation\", room); return H > 2; }}\n\
             int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *then) {{ *then = *now = H == 2; return 0; }}\n\
             int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) {{ *n = 7; return 0; }}\n\
             int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **p) {{ *p = (void *)(long)(i + 3);\n\
             return i < 2 ? 0 : 6; }}\n\
             int nvmlDeviceGetMemoryInfo(void *h, unsigned long long *m) {{ m[0] = H << 30; m[2] = H << 20; return 0; }}\n\
             int nvmlDeviceGetTemperature(void *h, int s, unsigned *t) {{ return H > 2 || numbers(\"celsius\", t, 1) != 1; }}\n\
             int nvmlDeviceGetTemperatureThreshold(void *h, int what, unsigned *t) {{ *t = 89 + what; return H > 2; }}\n\
             int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) {{ *mw = 123456; return H > 2; }}\n\
             int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned *mw) {{ *mw = 700000; return H > 2; }}\n\
             int nvmlDeviceGetClockInfo(void *h, int what, unsigned *mhz) {{ *mhz = 1000 + what; return H > 2; }}\n\
             int nvmlDeviceGetMaxClockInfo(void *h, int what, unsigned *mhz) {{ *mhz = 2000 + what; return H > 2; }}\n\
             int nvmlDeviceGetUtilizationRates(void *h, unsigned *p) {{ p[0] = 97; p[1] = 41; return H > 1; }}\n\
             int nvmlDeviceGetEccMode(void *h, unsigned *now, unsigned *then) {{ *now = 1; *then = 0; return 0; }}\n\
             int nvmlDeviceGetTotalEccErrors(void *h, int type, int counter, unsigned long long *n) {{\n\
             *n = type == 1 && counter == 0 ? 3 : 99; return 0; }}\n\
             struct info {{ unsigned pid; unsigned long long memory; unsigned gpu, compute; }};\n\
             int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, struct info *to) {{\n\
             unsigned pids[8]; int found = numbers(\"pids\", pids, 8); if (found < 0) return 999;\n\
             for (int i = 0; i < found; i++) to[i].pid = pids[i]; *n = found; return 0; }}\n",
            PARTS[0], PARTS[1]
        );
        let source = dir.path().join("cards.c");
        fs::write(&source, text).unwrap();
        let library = dir.path().join("libnvidia-ml.so.1");
        let status =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().ok()?;
        assert!(status.success(), "cc compiles the library");
        let program = fake(&format!("LD_LIBRARY_PATH={place} exec {ION} \"$@\""));
        Some(Self { program, dir })
    }

    /// Puts the imitation of a driver beside the library.
    pub fn with_imitation(mut self, settings: &str) -> Self {
        self.program = imitation_in(self.dir.path(), settings);
        self
    }

    /// What the library says from now on.
    pub fn say(&self, celsius: u16, pids: &[i32]) {
        let put = |name: &str, text: String| {
            // Whole or not at all: the library may read at any time.
            let draft = self.dir.path().join("draft");
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, self.dir.path().join(name)).unwrap();
        };
        put("celsius", celsius.to_string());
        put("pids", pids.iter().map(|pid| format!("{pid}\n")).collect());
    }
}

/// A directory with a `libcuda.so.1` whose `cuInit` does this; with all the symbols of a driver, or with that one only.
/// `None` where there is no C compiler.
pub fn stub_driver(init: &str, whole: bool) -> Option<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!("#include <unistd.h>\nint cuInit(unsigned flags) {{ {init}; }}\n");
    if whole {
        let others = [
            "cuDevicePrimaryCtxRetain",
            "cuModuleLoadDataEx",
            "cuMemAlloc_v2",
            "cuMemcpyHtoDAsync_v2",
            "cuLaunchKernel",
            "cuEventQuery",
            "cuEventElapsedTime",
        ];
        text += "int cuDriverGetVersion(int *v) { *v = 12040; return 0; }\n";
        text += "int cuDeviceGetCount(int *n) { *n = 0; return 0; }\n";
        others.iter().for_each(|name| text += &format!("int {name}(void) {{ return 999; }}\n"));
    }
    let source = dir.path().join("stub.c");
    fs::write(&source, text).unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        let to = dir.path().join(name);
        let status =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&source).status().ok()?;
        assert!(status.success(), "cc compiles the stub");
    }
    Some(dir)
}
