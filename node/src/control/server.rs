//! The node's end of the control socket: takes connections of the owner, and turns lines into [`ControlCall`]s.

use super::{
    CONNECTIONS_MAX, ControlCall, ControlError, LINE_BYTES_MAX, LineError, Lines, REPLIES_CAPACITY,
    SocketPath,
    api::{CONTROL_VERSION, ControlRequest, ControlResponse, Hello},
    refusal, unanswered,
};
use std::{
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the socket waits after a failed accept (descriptors exhausted): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Events that are written together, at most: about what a socket takes at once.
const PIECE_BYTES: usize = 64 * 1024;

/// How long a connection may take to pass on what was said before the node stopped.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The bound socket. Removed from disk when dropped.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlServer {
    /// Takes the socket of `data_dir`, replacing that of a dead node. The caller holds the directory's lock already,
    /// so two starting nodes do not race here. Must be called inside a tokio runtime.
    pub fn bind(data_dir: &Path) -> Result<Self, ControlError> {
        let trouble = |doing, source| ControlError::Io { doing, path: data_dir.to_owned(), source };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(|e| trouble("create", e))?;
        std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| trouble("restrict", e))?;
        let socket = SocketPath::of(data_dir)?;
        if std::os::unix::net::UnixStream::connect(socket.short()).is_ok() {
            return Err(ControlError::AlreadyRunning { data_dir: data_dir.to_owned() });
        }
        match std::fs::remove_file(socket.path()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(trouble("clear the socket in", e));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(socket.short()).map_err(|e| trouble("bind the control socket in", e))?;
        // Between bind and here the directory's 0700 and the uid check at accept keep strangers out.
        std::fs::set_permissions(socket.path(), std::fs::Permissions::from_mode(0o600))
            .map_err(|e| trouble("restrict the control socket in", e))?;
        Ok(Self { listener, path: socket.path().to_owned() })
    }

    /// Serves until `stop`. Every request goes to `calls`; a full channel makes the asker wait, not the driver.
    pub async fn run(self, calls: mpsc::Sender<ControlCall>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = TaskTracker::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                            tracing::warn!(limit = CONNECTIONS_MAX, "too many control connections; one was refused");
                            continue;
                        };
                        let (calls, stop) = (calls.clone(), stop.clone());
                        tasks.spawn(async move {
                            let mut serving = std::pin::pin!(serve(stream, calls));
                            tokio::select! {
                                // What the driver said last should still arrive.
                                () = stop.cancelled() => drop(timeout(LAST_WORDS, serving).await),
                                () = &mut serving => {}
                            }
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a control connection could not be taken");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<ControlCall>) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own => {}
        Ok(peer) => {
            return tracing::warn!(uid = peer.uid(), "a control connection by another user was refused");
        }
        Err(error) => return tracing::warn!(%error, "a control connection by nobody knows whom was refused"),
    }
    let mut lines = Lines::new(stream, LINE_BYTES_MAX);
    if let Err(error) = converse(&mut lines, &calls).await {
        tracing::debug!(%error, "a control connection ended");
        let _ = lines.write(&refusal(error.to_string(), "use the `ion` binary of the running node")).await;
    }
}

async fn converse(lines: &mut Lines, calls: &mpsc::Sender<ControlCall>) -> Result<(), LineError> {
    lines.write(&Hello::ours()).await?;
    match lines.read::<Hello>().await? {
        Some(hello) if hello.ion_control == CONTROL_VERSION => {}
        Some(hello) => {
            let message =
                format!("the node speaks control version {CONTROL_VERSION}, not {}", hello.ion_control);
            return lines.write(&refusal(message, "restart the node after an update")).await;
        }
        None => return Ok(()),
    }
    while let Some(request) = lines.read::<ControlRequest>().await? {
        let streams = request.is_stream();
        let (reply, mut replies) = mpsc::channel(REPLIES_CAPACITY);
        if calls.send(ControlCall { request, reply }).await.is_err() {
            return lines.write(&refusal("the node is stopping", "start it again with `ion node`")).await;
        }
        answer(lines, &mut replies, streams).await?;
    }
    Ok(())
}

fn put(lines: &mut Lines, reply: &ControlResponse) -> Result<(), LineError> {
    match lines.put(reply) {
        Err(LineError::TooLong { found, limit }) => {
            let message = format!("the answer has {found} bytes, more than the {limit} a line may have");
            lines.put(&refusal(message, "ask for fewer, with `--limit`"))
        }
        other => other,
    }
}

/// Passes the driver's replies on until the last. A silent asker is watched too: when it hangs up, the driver's next
/// reply finds the channel closed.
async fn answer(
    lines: &mut Lines,
    replies: &mut mpsc::Receiver<ControlResponse>,
    streams: bool,
) -> Result<(), LineError> {
    loop {
        let reply = tokio::select! {
            reply = replies.recv() => reply,
            () = lines.hung_up() => return Ok(()),
        };
        let Some(reply) = reply else {
            return lines.write(&unanswered(streams)).await;
        };
        let mut last = is_last(&reply, streams);
        put(lines, &reply)?;
        // What came at the same time goes out in one piece.
        while !last
            && lines.waiting() < PIECE_BYTES
            && let Ok(reply) = replies.try_recv()
        {
            last = is_last(&reply, streams);
            put(lines, &reply)?;
        }
        lines.flush().await?;
        if last {
            return Ok(());
        }
    }
}

/// Whether nothing follows it; to a question that is answered by a stream, that a job was taken on is only the beginning.
fn is_last(reply: &ControlResponse, streams: bool) -> bool {
    let begun = streams && matches!(reply, ControlResponse::Submitted { .. });
    !begun && !matches!(reply, ControlResponse::Event(_))
}
