//! A job's outputs on their way from the child into the store.

use super::{Blobs, NewBlob};
use ion_protocol::{BlobHash, Bytes, deal::InlineBlob, fault::Fault, job::JobSpec, limits, receipt::Output};
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
}

/// The output that is arriving.
struct Open {
    buffer: u16,
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
    pub fn of(spec: &JobSpec, blobs: Arc<dyn Blobs>) -> Self {
        let buffers = &spec.program.buffers;
        let expected = spec.program.outputs().map(|n| (n, buffers[usize::from(n)].bytes)).collect();
        Self { blobs, expected, open: None, stored: Vec::new(), inline: Vec::new(), inline_bytes: 0 }
    }

    /// The child announces an output.
    pub fn begin(&mut self, buffer: u16, bytes: Bytes) -> Result<(), Fault> {
        if self.open.is_some() || self.expected.pop_front() != Some((buffer, bytes)) {
            return broken(format!("output {buffer} of {bytes} was not to come now"));
        }
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
        let fits = bytes.0.saturating_add(self.inline_bytes as u64) <= limits::INLINE_BYTES_MAX as u64;
        let small = fits.then(|| Vec::with_capacity(bytes.0 as usize));
        self.open = Some(Open { buffer, bytes, left: bytes.0, pieces, storing, small });
        Ok(())
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
        if failed || open.left == 0 { self.finish().await } else { Ok(()) }
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.take() else { return Ok(()) };
        drop(open.pieces);
        let hash = match open.storing.await {
            Ok(Ok(hash)) => hash,
            Ok(Err(error)) => {
                let message =
                    format!("output {} of {} could not be stored: {error}", open.buffer, open.bytes);
                return Err(Fault::Room { message }.bounded());
            }
            Err(error) => return Err(Fault::Room { message: format!("storing ended: {error}") }),
        };
        self.stored.push(Output { buffer: open.buffer, bytes: open.bytes, hash });
        if let Some(bytes) = open.small {
            self.inline_bytes += bytes.len();
            self.inline.push(InlineBlob { bytes });
        }
        Ok(())
    }

    /// All of them, and the small ones once more.
    pub fn all(self) -> Result<(Vec<Output>, Vec<InlineBlob>), Fault> {
        if self.open.is_some() || !self.expected.is_empty() {
            return broken(format!("it ended before {} of its outputs came", self.expected.len().max(1)));
        }
        Ok((self.stored, self.inline))
    }
}
