//! The node's end of the control socket with answers a test chooses: what the command line makes of a node can be tested
//! without one.

use ion_node::control::{
    CALLS_CAPACITY, ControlCall, ControlServer,
    api::{ControlRequest, ControlResponse},
};
use std::{path::Path, thread::JoinHandle};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A control socket that lives as long as this.
pub struct NodeStub {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl NodeStub {
    /// Answers every request with what `answer` says to it, in order.
    pub fn start(
        dir: &Path,
        mut answer: impl FnMut(ControlRequest) -> Vec<ControlResponse> + Send + 'static,
    ) -> Self {
        Self::start_with(dir, move |call| {
            for response in answer(call.request) {
                // An asker may have left.
                let _ = call.reply.try_send(response);
            }
        })
    }

    /// Gives every call to `answer`, which may keep it and reply later.
    pub fn start_with(dir: &Path, mut answer: impl FnMut(ControlCall) + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let (dir, token) = (dir.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = ControlServer::bind(&dir).unwrap();
                let (calls, mut inbox) = mpsc::channel::<ControlCall>(CALLS_CAPACITY);
                ready.send(()).unwrap();
                let answers = async {
                    while let Some(call) = inbox.recv().await {
                        answer(call);
                    }
                };
                tokio::join!(server.run(calls, token), answers);
            });
        });
        is_ready.blocking_recv().expect("the socket binds");
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for NodeStub {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the stub ends");
            }
        }
    }
}
