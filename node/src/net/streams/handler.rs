//! Our streams on one connection, in the connection's own task: opens and holds the talk, matches answers to questions,
//! and lets the door judge every frame before it goes to the loop.

use super::{
    ANSWERS_MAX, BLOBS_PER_PEER_MAX, QUESTIONS_MAX, WRITE_BYTES_MAX,
    talk::{End, Talk, framed},
    upgrade::{Accepted, Inbound, Opened, Outbound},
};
use crate::{
    blobs::ByteStream,
    net::{
        asking::innermost,
        error::OpenError,
        intake::{Asked, Door, Offence, Question, Turned},
    },
};
use ion_protocol::{
    NodeId,
    deal::{Refusal, RefusalReason},
    message::{Frame, Request, Response},
};
use ion_scheduler::input::{Answer, CallError, PeerInput};
use libp2p::{
    Stream,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Talks a peer may open beside ours on one connection; a second only while the first dies.
const PEER_TALKS_MAX: usize = 2;
/// A connection whose talk was used so recently is kept, whatever else is idle.
const IN_USE: Duration = Duration::from_secs(30);
/// Our streams are negotiated within this.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Questions we stopped waiting for whose late answers are still recognised as such.
const FORGOTTEN_MAX: usize = 256;

/// One of the talks on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net) struct TalkId(u32);

/// Somebody who waits for a blob stream.
pub(in crate::net) struct BlobReply(pub oneshot::Sender<Result<ByteStream, OpenError>>);

impl BlobReply {
    fn send(self, outcome: Result<ByteStream, OpenError>) {
        // Who no longer waits drops the stream, which resets it.
        drop(self.0.send(outcome));
    }
}

impl fmt::Debug for BlobReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobReply")
    }
}

/// What the loop wants. Messages come framed.
#[derive(Debug)]
pub(in crate::net) enum ToHandler {
    Ask { id: u64, question: Question, framed: Vec<u8> },
    Forget { id: u64 },
    Answer { talk: TalkId, id: u64, framed: Vec<u8> },
    Tell { framed: Vec<u8> },
    OpenBlob(BlobReply),
}

/// What the peer said, judged.
#[derive(Debug)]
pub(in crate::net) enum FromHandler {
    Asked { talk: TalkId, id: u64, asked: Asked },
    Answered { id: u64, result: Result<Answer, CallError> },
    Told(Box<PeerInput>),
    Offended(Offence),
}

/// For whom a stream is being opened.
#[derive(Debug)]
pub(in crate::net) enum Opening {
    Talk,
    Blob(BlobReply),
}

struct Held {
    id: TalkId,
    ours: bool,
    talk: Talk<Stream>,
}

struct Open {
    question: Question,
    /// Where it was asked; none while the talk is being opened.
    talk: Option<TalkId>,
}

/// See the module.
pub(in crate::net) struct Handler {
    peer: NodeId,
    door: Door,
    inbound: Inbound,
    talks: Vec<Held>,
    talk_next: u32,
    /// Whether our talk is wanted, or being opened.
    talk_wanted: bool,
    talk_opening: bool,
    /// For the talk that is being opened.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    asked: BTreeMap<u64, Open>,
    forgotten: BTreeSet<u64>,
    answering: BTreeSet<(TalkId, u64)>,
    blobs_wanted: VecDeque<BlobReply>,
    events: VecDeque<FromHandler>,
    /// Whether what the peer said was passed on since the connection's task last let others run.
    said: bool,
    used: Instant,
}

impl Handler {
    pub fn new(peer: NodeId, door: Door, accepted: mpsc::Sender<(NodeId, ByteStream)>) -> Self {
        Self {
            peer,
            door,
            inbound: Inbound { peer, slots: Arc::new(Semaphore::new(BLOBS_PER_PEER_MAX)), accepted },
            talks: Vec::new(),
            talk_next: 0,
            talk_wanted: false,
            talk_opening: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            asked: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            answering: BTreeSet::new(),
            blobs_wanted: VecDeque::new(),
            events: VecDeque::new(),
            said: false,
            used: Instant::now(),
        }
    }

    /// Sends on the talk we opened, else on one the peer opened, else opens one. Gives the bytes back when full.
    fn say(&mut self, framed: Vec<u8>) -> Result<Option<TalkId>, Vec<u8>> {
        self.used = Instant::now();
        if let Some(held) = self.talks.iter_mut().max_by_key(|held| (held.ours, held.id)) {
            held.talk.queue(framed)?;
            return Ok(Some(held.id));
        }
        if self.waiting_bytes + framed.len() > WRITE_BYTES_MAX {
            return Err(framed);
        }
        self.talk_wanted = true;
        self.waiting_bytes += framed.len();
        self.waiting.push_back(framed);
        Ok(None)
    }

    fn ask(&mut self, id: u64, question: Question, framed: Vec<u8>) {
        if self.asked.len() >= QUESTIONS_MAX {
            return self.answered(id, Err(CallError::Busy));
        }
        match self.say(framed) {
            Ok(talk) => {
                self.asked.insert(id, Open { question, talk });
            }
            Err(_) => self.answered(id, Err(CallError::Busy)),
        }
    }

    fn answered(&mut self, id: u64, result: Result<Answer, CallError>) {
        self.events.push_back(FromHandler::Answered { id, result });
    }

    fn forget(&mut self, id: u64) {
        if self.asked.remove(&id).is_some() {
            self.forgotten.insert(id);
            if self.forgotten.len() > FORGOTTEN_MAX {
                self.forgotten.pop_first();
            }
        }
    }

    fn answer(&mut self, talk: TalkId, id: u64, framed: Vec<u8>) {
        self.answering.remove(&(talk, id));
        self.used = Instant::now();
        let Some(at) = self.talks.iter().position(|held| held.id == talk) else { return };
        if self.talks[at].talk.queue(framed).is_err() {
            self.end(at, End::Offence(Offence::DoesNotRead));
        }
    }

    fn tell(&mut self, framed: Vec<u8>) {
        // Nobody waits for a notice: where there is no room, the next one says more.
        let _ = self.say(framed);
    }

    fn hold(&mut self, ours: bool, mut stream: Stream) {
        // A held stream must not hold the connection; see `connection_keep_alive`.
        stream.ignore_for_keep_alive();
        let id = TalkId(self.talk_next);
        self.talk_next = self.talk_next.wrapping_add(1);
        self.talks.push(Held { id, ours, talk: Talk::new(stream) });
        if !ours && self.talks.iter().filter(|held| !held.ours).count() > PEER_TALKS_MAX {
            let oldest = self.talks.iter().position(|held| !held.ours).unwrap_or(0);
            self.end(oldest, End::Broken("the peer opened too many".into()));
        }
        if !self.waiting.is_empty() {
            self.move_waiting(id);
        }
    }

    fn move_waiting(&mut self, id: TalkId) {
        let Some(held) = self.talks.iter_mut().find(|held| held.id == id) else { return };
        self.waiting_bytes = 0;
        self.talk_wanted = false;
        for framed in self.waiting.drain(..) {
            // The queue is new and as large as what may wait.
            let _ = held.talk.queue(framed);
        }
        for open in self.asked.values_mut() {
            open.talk.get_or_insert(id);
        }
    }

    /// A talk is over; what was asked on it stays unanswered.
    fn end(&mut self, at: usize, end: End) {
        let held = self.talks.remove(at);
        self.answering.retain(|(talk, _)| *talk != held.id);
        let why = match end {
            End::Broken(why) => why,
            End::Offence(offence) => {
                let why = offence.to_string();
                self.events.push_back(FromHandler::Offended(offence));
                why
            }
        };
        self.fail_asked(Some(held.id), CallError::Unreachable(format!("the stream broke: {why}")));
    }

    fn fail_asked(&mut self, talk: Option<TalkId>, error: CallError) {
        let lost: Vec<_> =
            self.asked.iter().filter(|(_, open)| open.talk == talk).map(|(id, _)| *id).collect();
        for id in lost {
            self.asked.remove(&id);
            self.answered(id, Err(error.clone()));
        }
    }

    fn talk_failed(&mut self, error: CallError) {
        self.talk_opening = false;
        if self.talks.is_empty() {
            self.waiting.clear();
            self.waiting_bytes = 0;
            self.talk_wanted = false;
            self.fail_asked(None, error);
        }
    }

    fn on_frame(&mut self, talk: TalkId, frame: Frame) {
        self.used = Instant::now();
        match frame {
            Frame::Request { id, request } => self.on_question(talk, id, request),
            Frame::Response { id, response } => self.on_answer(id, response),
            Frame::Notice(notice) => {
                self.events.push_back(FromHandler::Told(Box::new(self.door.notice(notice))))
            }
        }
    }

    fn on_question(&mut self, talk: TalkId, id: u64, request: Request) {
        if self.answering.contains(&(talk, id)) {
            return self.events.push_back(FromHandler::Offended(Offence::SameNumber));
        }
        if self.answering.len() >= ANSWERS_MAX {
            return self.refuse(talk, id, RefusalReason::Overloaded);
        }
        match self.door.question(self.peer, request) {
            Ok(asked) => {
                self.answering.insert((talk, id));
                self.events.push_back(FromHandler::Asked { talk, id, asked });
            }
            Err(Turned::Refused(reason)) => self.refuse(talk, id, reason),
            Err(Turned::Offence(offence)) => {
                let message = offence.to_string();
                self.events.push_back(FromHandler::Offended(offence));
                self.refuse(talk, id, RefusalReason::Spec { message });
            }
        }
    }

    fn refuse(&mut self, talk: TalkId, id: u64, reason: RefusalReason) {
        let response = Response::Refused(Refusal { reason, advert: None });
        // A refusal without an advert is far below the cap.
        if let Ok(framed) = framed(&Frame::Response { id, response }) {
            self.answer(talk, id, framed);
        }
    }

    fn on_answer(&mut self, id: u64, response: Response) {
        let Some(open) = self.asked.remove(&id) else {
            if !self.forgotten.remove(&id) {
                self.events.push_back(FromHandler::Offended(Offence::Unasked));
            }
            return;
        };
        match self.door.answer(self.peer, open.question, response) {
            Ok(answer) => self.answered(id, Ok(answer)),
            Err(offence) => {
                self.answered(id, Err(CallError::Protocol(offence.to_string())));
                self.events.push_back(FromHandler::Offended(offence));
            }
        }
    }

    /// Moves bytes on all talks until a frame made an event or nothing moves.
    fn poll_talks(&mut self, cx: &mut Context<'_>) {
        let mut at = 0;
        while at < self.talks.len() && self.events.is_empty() {
            match self.poll_talk(at, cx) {
                Poll::Ready(Ok(frame)) => {
                    let talk = self.talks[at].id;
                    self.on_frame(talk, frame);
                }
                Poll::Ready(Err(end)) => self.end(at, end),
                Poll::Pending => at += 1,
            }
        }
    }

    fn poll_talk(&mut self, at: usize, cx: &mut Context<'_>) -> Poll<Result<Frame, End>> {
        let talk = &mut self.talks[at].talk;
        talk.poll_write(cx)?;
        talk.poll_frame(cx)
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = Inbound;
    type OutboundProtocol = Outbound;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Inbound> {
        SubstreamProtocol::new(self.inbound.clone(), ()).with_timeout(OPEN_WITHIN)
    }

    fn connection_keep_alive(&self) -> bool {
        !self.asked.is_empty() || !self.answering.is_empty() || self.used.elapsed() < IN_USE
    }

    fn on_behaviour_event(&mut self, event: ToHandler) {
        match event {
            ToHandler::Ask { id, question, framed } => self.ask(id, question, framed),
            ToHandler::Forget { id } => self.forget(id),
            ToHandler::Answer { talk, id, framed } => self.answer(talk, id, framed),
            ToHandler::Tell { framed } => self.tell(framed),
            ToHandler::OpenBlob(reply) if self.blobs_wanted.len() < BLOBS_PER_PEER_MAX => {
                self.blobs_wanted.push_back(reply);
            }
            ToHandler::OpenBlob(reply) => reply.send(Err(OpenError::Busy)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Outbound, Opening, FromHandler>> {
        if self.events.is_empty() {
            // Whoever waits for a frame hears of it before the next is judged, which takes a signature's time.
            if std::mem::take(&mut self.said) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.poll_talks(cx);
        }
        if let Some(event) = self.events.pop_front() {
            self.said = true;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        let (upgrade, opening) = if self.talk_wanted && !self.talk_opening {
            self.talk_opening = true;
            (Outbound::Talk, Opening::Talk)
        } else if let Some(reply) = self.blobs_wanted.pop_front() {
            (Outbound::Blob, Opening::Blob(reply))
        } else {
            return Poll::Pending;
        };
        let protocol = SubstreamProtocol::new(upgrade, opening).with_timeout(OPEN_WITHIN);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Inbound, Outbound, (), Opening>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info: () }) => {
                match protocol {
                    Accepted::Talk(stream) => self.hold(false, stream),
                    Accepted::Blob => {}
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                match (protocol, info) {
                    (Opened::Talk(stream), _) => {
                        self.talk_opening = false;
                        self.hold(true, stream);
                    }
                    (Opened::Blob(stream), Opening::Blob(reply)) => reply.send(Ok(stream)),
                    (Opened::Blob(_), Opening::Talk) => {}
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => match info {
                Opening::Talk => self.talk_failed(talk_error(error)),
                Opening::Blob(reply) => reply.send(Err(blob_error(error))),
            },
            // Addresses and protocol lists are identify's; a stream that a peer failed to open is its loss.
            _ => {}
        }
    }
}

fn talk_error(error: StreamUpgradeError<OpenError>) -> CallError {
    match error {
        StreamUpgradeError::Timeout => CallError::TimedOut,
        StreamUpgradeError::Apply(OpenError::Unreachable(why) | OpenError::Failed(why)) => {
            CallError::Unreachable(why)
        }
        StreamUpgradeError::Apply(error @ (OpenError::PeerBusy | OpenError::Busy | OpenError::TimedOut)) => {
            CallError::Unreachable(error.to_string())
        }
        StreamUpgradeError::NegotiationFailed => CallError::Protocol("it does not speak /ion/talk/1".into()),
        StreamUpgradeError::Io(error) => CallError::Unreachable(innermost(&error)),
    }
}

fn blob_error(error: StreamUpgradeError<OpenError>) -> OpenError {
    match error {
        StreamUpgradeError::Timeout => OpenError::TimedOut,
        StreamUpgradeError::Apply(error) => error,
        StreamUpgradeError::NegotiationFailed => OpenError::Failed("it does not speak /ion/blob/2".into()),
        StreamUpgradeError::Io(error) => OpenError::Failed(innermost(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{error::Error, io};

    /// As transports wrap what happened: each tells its cause, and has it as its source.
    #[derive(Debug, thiserror::Error)]
    #[error("connection error: {0}")]
    struct Wrapped(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn a_cause_is_told_once() {
        let wrapped = || {
            let inner = Wrapped(Box::new(io::Error::other("reset by peer")));
            StreamUpgradeError::Io(io::Error::other(Wrapped(Box::new(inner))))
        };
        assert_eq!(talk_error(wrapped()), CallError::Unreachable("reset by peer".to_owned()));
        assert_eq!(blob_error(wrapped()), OpenError::Failed("reset by peer".to_owned()));
        let failed = StreamUpgradeError::Apply(OpenError::Failed("reset by peer".to_owned()));
        assert_eq!(talk_error(failed), CallError::Unreachable("reset by peer".to_owned()));
    }
}
