//! What an operator types: `ion` as a program, asked with `--json`.

use super::{cleanup, log::Deadline};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Instant,
};

/// A plain question is answered in milliseconds; this is for a machine that does ten other things.
const ANSWER_SECONDS: u64 = 60;
/// Standard output or error of one command at most.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Lines that may wait between a command and us; a slow reader slows the command.
const LINES_WAITING_MAX: usize = 1024;

/// The `ion` program.
#[derive(Clone, Debug)]
pub struct Ion {
    path: PathBuf,
}

/// What a command left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// JSON values on standard output, in order.
    pub said: Vec<Value>,
    /// Standard error.
    pub errors: String,
}

/// A command at work.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    lines: Receiver<Option<(Instant, Value)>>,
    errors: Option<thread::JoinHandle<String>>,
    said: Vec<Value>,
}

impl Ion {
    /// The program at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts `ion ARGS --data-dir DIR --json`.
    pub fn start<A: AsRef<OsStr>>(
        &self,
        data_dir: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Running> {
        let mut command = Command::new(&self.path);
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        command.args(&args).arg("--data-dir").arg(data_dir).arg("--json");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = cleanup::spawn(command).with_context(|| {
            format!("starting {} {}", self.path.display(), args.join(OsStr::new(" ")).display())
        })?;
        let output = child.stdout.take().context("standard output is a pipe")?;
        let errors = child.stderr.take().context("standard error is a pipe")?;
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        thread::spawn(move || {
            let mut rest = BufReader::new(output).take(OUTPUT_BYTES_MAX);
            let mut text = String::new();
            while matches!(rest.read_line(&mut text), Ok(1..)) {
                // A document may span lines; a line that completes none waits for the next.
                if let Ok(value) = serde_json::from_str::<Value>(&text) {
                    text.clear();
                    if sender.send(Some((Instant::now(), value))).is_err() {
                        return;
                    }
                }
            }
            // Nobody listens any more: then nobody misses the end.
            let _ = sender.send(None);
        });
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before a failure is all there is to show.
            let _ = errors.take(OUTPUT_BYTES_MAX).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Running { child: Some(child), lines, errors: Some(errors), said: Vec::new() })
    }

    /// Runs `ion ARGS --data-dir DIR --json` to its end.
    pub fn finish<A: AsRef<OsStr>>(
        &self,
        data_dir: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Finished> {
        self.start(data_dir, args)?.finish(Deadline::seconds(ANSWER_SECONDS))
    }

    /// Runs a command that must succeed, and answers the JSON values it said.
    fn ask_all(&self, data_dir: &Path, args: &[&str]) -> Result<Vec<Value>> {
        let finished = self.finish(data_dir, args)?;
        if finished.code != Some(0) {
            bail!("`ion {}` ended with {:?}: {}", args.join(" "), finished.code, finished.errors.trim());
        }
        Ok(finished.said)
    }

    /// Runs a command that must succeed with one JSON document, and answers it.
    pub fn ask(&self, data_dir: &Path, args: &[&str]) -> Result<Value> {
        let mut said = self.ask_all(data_dir, args)?;
        match said.len() {
            1 => Ok(said.remove(0)),
            n => bail!("`ion {}` said {n} things instead of one", args.join(" ")),
        }
    }

    /// Runs a command that must succeed with a list: one JSON array, or one value a line.
    pub fn ask_list(&self, data_dir: &Path, args: &[&str]) -> Result<Vec<Value>> {
        let mut said = self.ask_all(data_dir, args)?;
        match said.as_mut_slice() {
            [Value::Array(values)] => Ok(std::mem::take(values)),
            _ => Ok(said),
        }
    }
}

impl Running {
    /// The next JSON value it says; `None` at its end.
    pub fn next(&mut self, deadline: Deadline) -> Result<Option<(Instant, Value)>> {
        match self.lines.recv_timeout(deadline.left().unwrap_or_default()) {
            Ok(Some((heard, value))) => {
                self.said.push(value.clone());
                Ok(Some((heard, value)))
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("waited {} s for the command's next line", deadline.allowed().as_secs())
            }
        }
    }

    /// Whether the process has ended.
    pub fn is_over(&mut self) -> Result<bool> {
        // Whoever is not read from can't write, and does not end.
        while let Ok(Some((_, value))) = self.lines.try_recv() {
            self.said.push(value);
        }
        let child = self.child.as_mut().context("a command is finished once")?;
        Ok(child.try_wait()?.is_some())
    }

    /// Reads to the end and waits for the process.
    pub fn finish(mut self, deadline: Deadline) -> Result<Finished> {
        while self.next(deadline)?.is_some() {}
        let mut child = self.child.take().context("a command is finished once")?;
        let status = child.wait()?;
        cleanup::reap(&mut child);
        let errors = self.errors.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ok(Finished { code: status.code(), said: std::mem::take(&mut self.said), errors })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            cleanup::end(child);
        }
    }
}
