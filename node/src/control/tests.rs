//! The two ends over a real socket: everything arrives, nothing unbounded, nobody but the owner, no stale socket left.

use super::{api::*, *};
use crate::events::EventLine;
use ion_protocol::{
    Bytes, JobId, Millis, NanoIo, UnixMillis,
    job::{JobLimits, JobSpec, Program},
};
use ion_scheduler::event::Event;
use std::{os::unix::fs::PermissionsExt, path::Path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

fn line(event: Event) -> EventLine {
    EventLine { at: UnixMillis(1), event }
}

/// A server whose driver is the given function.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(dir: &Path, mut driver: impl FnMut(ControlCall) + Send + 'static) -> Running {
    let server = ControlServer::bind(dir).expect("the socket binds");
    let (calls, mut inbox) = mpsc::channel(CALLS_CAPACITY);
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::spawn(async move {
                while let Some(call) = inbox.recv().await {
                    driver(call);
                }
            });
            server.run(calls, stop).await;
        }
    });
    Running { stop, task }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the server ends");
    }
}

fn job(n: u8) -> JobId {
    JobId([n; 16])
}

#[tokio::test]
async fn requests_and_streams_follow_each_other_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), |call| match call.request {
        ControlRequest::Watch { job } => {
            for _ in 0..3 {
                call.reply.try_send(ControlResponse::Event(line(Event::JobAccepted { job }))).unwrap();
            }
            call.reply.try_send(ControlResponse::End).unwrap();
        }
        ControlRequest::Cancel { .. } => call.reply.try_send(ControlResponse::Noted).unwrap(),
        other => {
            let error = ControlResponse::Error { message: format!("{other:?}"), hint: "none".into() };
            call.reply.try_send(error).unwrap();
        }
    });
    let mut client = ControlClient::connect(dir.path()).await.unwrap();
    assert_eq!(client.ask(ControlRequest::Cancel { job: job(1) }).await.unwrap(), ControlResponse::Noted);
    client.watch(ControlRequest::Watch { job: job(2) }).await.unwrap();
    let mut seen = 0;
    while let Some(event) = client.next_event().await.unwrap() {
        assert_eq!(event.event, Event::JobAccepted { job: job(2) });
        seen += 1;
    }
    assert_eq!(seen, 3);
    match client.ask(ControlRequest::Status).await {
        Err(ControlError::Refused { message, hint }) => {
            assert_eq!((message.as_str(), hint.as_str()), ("Status", "none"))
        }
        other => panic!("expected a refusal, not {other:?}"),
    }
    drop(client);
    running.end().await;
    assert!(!dir.path().join(SOCKET_NAME).exists(), "the socket is removed");
}

#[tokio::test]
async fn a_job_is_submitted_and_watched_in_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), |call| {
        let ControlRequest::Submit { job, watch, .. } = call.request else { panic!("{:?}", call.request) };
        let told = [ControlResponse::Event(line(Event::JobAccepted { job })), ControlResponse::End];
        let answers =
            [ControlResponse::Submitted { job }].into_iter().chain(told.into_iter().filter(|_| watch));
        answers.for_each(|answer| call.reply.try_send(answer).unwrap());
    });
    let limits = JobLimits { run: Millis(1), memory: Bytes(1), price: NanoIo(1) };
    let program = Program { modules: Vec::new(), buffers: Vec::new(), phases: Vec::new() };
    let spec = Box::new(JobSpec { name: String::new(), needs: Default::default(), limits, program });
    let submit = |n, watch| ControlRequest::Submit {
        job: job(n),
        spec: spec.clone(),
        files: Vec::new(),
        verify: 0,
        watch,
    };
    let mut client = ControlClient::connect(dir.path()).await.unwrap();
    for (n, watch) in [(1, false), (2, true), (3, false)] {
        let answer = client.ask(submit(n, watch)).await.unwrap();
        assert_eq!(answer, ControlResponse::Submitted { job: job(n) });
        if watch {
            assert_eq!(client.next_event().await.unwrap().unwrap().event, Event::JobAccepted { job: job(n) });
            assert_eq!(client.next_event().await.unwrap(), None);
        }
    }
    running.end().await;
}

#[tokio::test]
async fn a_watcher_the_driver_dropped_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), |call| {
        call.reply.try_send(ControlResponse::Event(line(Event::Drained))).unwrap();
    });
    let mut client = ControlClient::connect(dir.path()).await.unwrap();
    client.watch(ControlRequest::Events).await.unwrap();
    assert_eq!(client.next_event().await.unwrap(), Some(line(Event::Drained)));
    assert!(matches!(client.next_event().await, Err(ControlError::Refused { .. })));
    running.end().await;
}

#[tokio::test]
async fn the_driver_learns_that_a_watcher_left() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, mut kept) = mpsc::channel(1);
    let running = start(dir.path(), move |call| seen.try_send(call.reply).unwrap());
    let mut client = ControlClient::connect(dir.path()).await.unwrap();
    client.watch(ControlRequest::Events).await.unwrap();
    let reply = kept.recv().await.unwrap();
    drop(client);
    reply.closed().await;
    running.end().await;
}

#[tokio::test]
async fn a_live_socket_is_kept_and_a_dead_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    // A socket file whose process is gone.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
    assert!(matches!(ControlClient::connect(dir.path()).await, Err(ControlError::NotRunning { .. })));
    let running = start(dir.path(), |_| {});
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.path()), mode(&dir.path().join(SOCKET_NAME))), (0o700, 0o600));
    let error = ControlServer::bind(dir.path()).expect_err("a live node keeps its socket");
    assert!(matches!(error, ControlError::AlreadyRunning { .. }));
    assert!(error.to_string().contains("--data-dir"));
    running.end().await;
}

#[tokio::test]
async fn a_long_directory_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    let running = start(&deep, |call| call.reply.try_send(ControlResponse::Noted).unwrap());
    let mut client = ControlClient::connect(&deep).await.unwrap();
    assert_eq!(client.ask(ControlRequest::Drain).await.unwrap(), ControlResponse::Noted);
    running.end().await;
}

/// What the server says, after its hello, to these bytes.
async fn answer_to(dir: &Path, bytes: &[u8]) -> String {
    let mut stream = tokio::net::UnixStream::connect(dir.join(SOCKET_NAME)).await.unwrap();
    // The server may hang up in the middle of a flood.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said).await;
    said.lines().skip(1).collect()
}

#[tokio::test]
async fn nonsense_is_answered_and_floods_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), |_| panic!("nothing of this reaches the driver"));
    let hello = format!("{{\"ion_control\":{CONTROL_VERSION},\"release\":\"x\"}}\n");
    assert!(answer_to(dir.path(), b"hello\n").await.contains("not understood"));
    assert!(
        answer_to(dir.path(), b"{\"ion_control\":99,\"release\":\"x\"}\n")
            .await
            .contains(&format!("version {CONTROL_VERSION}, not 99"))
    );
    let unknown = format!("{hello}{{\"request\":\"explode\"}}\n");
    assert!(answer_to(dir.path(), unknown.as_bytes()).await.contains("not understood"));
    let flood = vec![b' '; LINE_BYTES_MAX + (1 << 20)];
    let said = answer_to(dir.path(), &flood).await;
    assert!(said.is_empty() || said.contains("expected at most"), "{said}");
    assert!(answer_to(dir.path(), b"").await.is_empty());
    running.end().await;
}

#[test]
fn the_words_are_stable() {
    let say = |r: &ControlRequest| serde_json::to_string(r).unwrap();
    assert_eq!(say(&ControlRequest::Status), r#"{"request":"status"}"#);
    let cancel = ControlRequest::Cancel { job: job(0xab) };
    assert_eq!(say(&cancel), r#"{"request":"cancel","job":"abababababababababababababababab"}"#);
    let response = serde_json::to_string(&ControlResponse::Submitted { job: job(1) }).unwrap();
    assert_eq!(response, r#"{"response":"submitted","body":{"job":"01010101010101010101010101010101"}}"#);
    assert_eq!(serde_json::to_string(&ControlResponse::Noted).unwrap(), r#"{"response":"noted"}"#);
}
