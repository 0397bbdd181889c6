//! A job's outputs, and the memory between its launches, on their way from the child into the store.

use super::{Blobs, NewBlob};
use ion_protocol::{
    BlobHash, Bytes,
    check::bounded_why,
    deal::InlineBlob,
    fault::Fault,
    job::JobSpec,
    limits,
    receipt::Output,
    states::{Kept, States},
};
use std::{collections::VecDeque, io, sync::Arc};
use tokio::{sync::mpsc, task};

/// Pieces between the pipe and the disk.
const PIECES_AHEAD: usize = 4;

/// Takes the outputs that the job declares, in order, and nothing else.
pub struct Outputs {
    blobs: Arc<dyn Blobs>,
    expected: VecDeque<(u16, Bytes)>,
    open: Option<Open>,
    stored: Vec<Output>,
    inline: Vec<InlineBlob>,
    inline_bytes: usize,
    /// Whether the memory between launches may come too, behind the outputs.
    keep_states: bool,
    states: States,
}

/// What is arriving.
#[derive(Clone, Copy)]
enum What {
    /// An output, by its buffer.
    Output(u16),
    /// The memory after every so many launches.
    States(u64),
}

/// The blob that is arriving.
struct Open {
    what: What,
    bytes: Bytes,
    left: u64,
    pieces: mpsc::Sender<Vec<u8>>,
    storing: task::JoinHandle<io::Result<BlobHash>>,
    /// Its bytes once more, where it is small enough to travel inside a message.
    small: Option<Vec<u8>>,
}

fn broken<T>(message: String) -> Result<T, Fault> {
    Err(Fault::WorkerProtocol { message })
}

impl Outputs {
    /// The outputs of `spec`.
    pub fn of(spec: &JobSpec, keep_states: bool, blobs: Arc<dyn Blobs>) -> Self {
        let buffers = &spec.program.buffers;
        let expected = spec.program.outputs().map(|n| (n, buffers[usize::from(n)].bytes)).collect();
        Self {
            blobs,
            expected,
            open: None,
            stored: Vec::new(),
            inline: Vec::new(),
            inline_bytes: 0,
            keep_states,
            states: States::NotAsked,
        }
    }

    /// The child announces an output.
    pub fn begin(&mut self, buffer: u16, bytes: Bytes) -> Result<(), Fault> {
        if self.open.is_some() || self.expected.pop_front() != Some((buffer, bytes)) {
            return broken(format!("output {buffer} of {bytes} was not to come now"));
        }
        let fits = bytes.0.saturating_add(self.inline_bytes as u64) <= limits::INLINE_BYTES_MAX as u64;
        let small = fits.then(|| Vec::with_capacity(bytes.0 as usize));
        self.open(What::Output(buffer), bytes, small);
        Ok(())
    }

    /// The child announces the memory between launches.
    pub fn begin_states(&mut self, every: u64, bytes: Bytes) -> Result<(), Fault> {
        let now = self.keep_states && self.open.is_none() && self.expected.is_empty();
        if !now || self.states != States::NotAsked || bytes.0 == 0 || bytes.0 > limits::STATES_BYTES_MAX {
            return broken(format!("{bytes} of memory between launches were not to come now"));
        }
        self.open(What::States(every), bytes, None);
        Ok(())
    }

    fn open(&mut self, what: What, bytes: Bytes, small: Option<Vec<u8>>) {
        let (pieces, mut coming) = mpsc::channel::<Vec<u8>>(PIECES_AHEAD);
        let blobs = self.blobs.clone();
        let storing = task::spawn_blocking(move || {
            let mut blob: Box<dyn NewBlob> = blobs.create(bytes)?;
            let mut left = bytes.0;
            while let Some(piece) = coming.blocking_recv() {
                blob.write_all(&piece)?;
                left -= piece.len() as u64;
            }
            // The job ended before the output did: nothing is kept.
            if left > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { blob.finish() }
        });
        self.open = Some(Open { what, bytes, left: bytes.0, pieces, storing, small });
    }

    /// The child sends a piece of it.
    pub async fn piece(&mut self, piece: Vec<u8>) -> Result<(), Fault> {
        let Some(open) = &mut self.open else {
            return broken(format!("{} bytes came that belong to no output", piece.len()));
        };
        if piece.is_empty() || piece.len() as u64 > open.left {
            return broken(format!("a piece of {} bytes where {} are left", piece.len(), open.left));
        }
        open.left -= piece.len() as u64;
        if let Some(small) = &mut open.small {
            small.extend_from_slice(&piece);
        }
        // Where the receiver is gone, storing failed and says why below.
        let failed = open.pieces.send(piece).await.is_err();
        // A run is as good without the memory between its launches, so what more comes of it is let go by.
        let hopeless = failed && matches!(open.what, What::Output(_));
        if hopeless || open.left == 0 { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.take() else { return Ok(()) };
        drop(open.pieces);
        let stored = open.storing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match (open.what, stored) {
            (What::Output(buffer), Ok(hash)) => self.stored.push(Output { buffer, bytes: open.bytes, hash }),
            (What::Output(buffer), Err(error)) => {
                let message = format!("output {buffer} of {} could not be stored: {error}", open.bytes);
                return Err(Fault::Room { message }.bounded());
            }
            (What::States(every), Ok(blob)) => {
                self.states = States::Kept(Kept { every, blob, bytes: open.bytes });
            }
            (What::States(_), Err(error)) => {
                self.states = ends_only(&format!("{} of it could not be stored: {error}", open.bytes));
            }
        }
        if let Some(bytes) = open.small {
            self.inline_bytes += bytes.len();
            self.inline.push(InlineBlob { bytes });
        }
        Ok(())
    }

    /// All of them, the small ones once more, and the memory between launches; `missing` is why the child has none.
    pub fn all(self, missing: &str) -> Result<(Vec<Output>, Vec<InlineBlob>, States), Fault> {
        if self.open.is_some() || !self.expected.is_empty() {
            return broken(format!("it ended before {} of its outputs came", self.expected.len().max(1)));
        }
        let states = match self.states {
            States::NotAsked if self.keep_states => ends_only(missing),
            states @ (States::NotAsked | States::EndsOnly { .. } | States::Kept(_)) => states,
        };
        Ok((self.stored, self.inline, states))
    }
}

fn ends_only(why: &str) -> States {
    States::EndsOnly { why: bounded_why(why) }
}
