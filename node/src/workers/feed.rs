//! A job's blobs on their way from the store into the child, checked while they move.

use super::{Blobs, job::Start, turn::Turn};
use futures::FutureExt;
use ion_gpu::worker::frame::{CHUNK_BYTES_MAX, Kind, ToWorker, header, message_frame};
use ion_protocol::{BlobHash, Bytes, fault::Fault, job::JobSpec};
use std::{io, io::Read, sync::Arc};
use tokio::{
    io::{AsyncWriteExt, BufWriter},
    process::ChildStdin,
    sync::mpsc,
    task,
};

/// Pieces between the disk and the pipe.
const PIECES_AHEAD: usize = 4;
/// Bytes written together: a small job is one write, and wakes its worker once.
const WRITE_BYTES: usize = 64 * 1024;

/// How feeding ended.
pub enum Fed {
    /// The child has everything, and its turn. The pipe comes back: closing it would tell the child that its node is gone.
    All(ChildStdin, Turn),
    /// The child does not read any more; why is for its last frame or its exit status to say.
    ChildGone,
    /// A blob can't be had, or is not what its name says.
    Failed(Fault),
}

/// Sends the job, its blobs, and the word to start once it is the job's turn, to a child.
pub async fn feed(
    stdin: ChildStdin,
    spec: Arc<JobSpec>,
    keep_states: bool,
    blobs: Arc<dyn Blobs>,
    Start { turn, fill }: Start<impl Future<Output = Turn>>,
) -> Fed {
    tokio::pin!(turn);
    // Whoever asks first has it first, so it is asked for before anything else.
    let mut its_turn = turn.as_mut().now_or_never();
    let mut stdin = BufWriter::with_capacity(WRITE_BYTES, stdin);
    let job = message_frame(&ToWorker::Job { spec: Box::new(JobSpec::clone(&spec)), keep_states });
    if stdin.write_all(&job).await.is_err() {
        return Fed::ChildGone;
    }
    let wanted = spec.program.blobs();
    let at_hand: Option<Vec<_>> = wanted.iter().map(|(hash, _)| blobs.at_hand(hash)).collect();
    let passed_on = match at_hand {
        Some(contents) => pass_on(&mut stdin, &contents).await,
        None => read_and_pass_on(&mut stdin, wanted, blobs).await,
    };
    if let Err(ended) = passed_on {
        return ended;
    }
    its_turn = its_turn.or_else(|| turn.as_mut().now_or_never());
    let its_turn = match its_turn {
        Some(its_turn) => its_turn,
        None if say(&mut stdin, &ToWorker::Hold { fill }).await => turn.await,
        None => return Fed::ChildGone,
    };
    match say(&mut stdin, &ToWorker::Start).await {
        true => Fed::All(stdin.into_inner(), its_turn),
        false => Fed::ChildGone,
    }
}

/// Whether the child takes it, and what was held back before it.
async fn say(stdin: &mut BufWriter<ChildStdin>, message: &ToWorker) -> bool {
    stdin.write_all(&message_frame(message)).await.is_ok() && stdin.flush().await.is_ok()
}

/// Sends blobs that are in memory.
async fn pass_on(stdin: &mut BufWriter<ChildStdin>, contents: &[Arc<[u8]>]) -> Result<(), Fed> {
    for piece in contents.iter().flat_map(|content| content.chunks(CHUNK_BYTES_MAX)) {
        write_piece(stdin, piece).await?;
    }
    Ok(())
}

/// Sends blobs as a blocking thread reads them.
async fn read_and_pass_on(
    stdin: &mut BufWriter<ChildStdin>,
    wanted: Vec<(BlobHash, Bytes)>,
    blobs: Arc<dyn Blobs>,
) -> Result<(), Fed> {
    let failed = |message| Fed::Failed(Fault::Inputs { message }.bounded());
    let (to, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let reading = task::spawn_blocking(move || {
        wanted.into_iter().try_for_each(|(hash, bytes)| read_blob(&*blobs, hash, bytes, &to))
    });
    while let Some(piece) = pieces.recv().await {
        write_piece(stdin, &piece).await?;
    }
    reading.await.map_err(|error| failed(format!("reading them ended: {error}")))?.map_err(failed)
}

async fn write_piece(stdin: &mut BufWriter<ChildStdin>, piece: &[u8]) -> Result<(), Fed> {
    let head = header(Kind::Bytes, piece.len());
    let written = async { stdin.write_all(&head).await.and(stdin.write_all(piece).await) };
    written.await.map_err(|_| Fed::ChildGone)
}

/// Passes a blob on in pieces. The last piece is held back until the hash is known to be right, so that no child ever
/// holds the whole of a wrong blob.
fn read_blob(
    blobs: &dyn Blobs,
    hash: BlobHash,
    bytes: Bytes,
    to: &mpsc::Sender<Vec<u8>>,
) -> Result<(), String> {
    let named = |error: io::Error| format!("blob {} can't be read: {error}", hash.short());
    let mut from = blobs.open(&hash).map_err(named)?;
    let (mut hasher, mut left, mut last) = (blake3::Hasher::new(), bytes.0, Vec::new());
    while left > 0 {
        let mut piece = vec![0; left.min(CHUNK_BYTES_MAX as u64) as usize];
        from.read_exact(&mut piece).map_err(named)?;
        left -= piece.len() as u64;
        hasher.update(&piece);
        let before = std::mem::replace(&mut last, piece);
        if !before.is_empty() && to.blocking_send(before).is_err() {
            return Ok(());
        }
    }
    if from.read(&mut [0]).map_err(named)? != 0 {
        return Err(format!("blob {} is longer than the {bytes} the job says", hash.short()));
    }
    if BlobHash(*hasher.finalize().as_bytes()) != hash {
        return Err(format!("blob {} holds other bytes than its name says", hash.short()));
    }
    // A receiver that is gone has its own reason; here all is well.
    let _ = if last.is_empty() { Ok(()) } else { to.blocking_send(last) };
    Ok(())
}
