//! Calls, answers, notices, blob streams, and what bad peers get.

use super::{samples::*, *};
use ion_protocol::{
    Attempt, Signed,
    deal::RefusalReason,
    message::{LeaseState, Notice},
};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn query() -> Request {
    Request::Query { job: JOB, attempt: Attempt(1) }
}

#[tokio::test]
async fn two_nodes_ask_each_other() {
    for listen in ["/ip4/127.0.0.1/tcp/0", QUIC] {
        let (mut a, mut b) = (node(1).listen(&[]).start().await, node(2).listen(&[listen]).start().await);
        let call = a.call(b.id, &b.addresses.clone(), query(), 60_000);
        let inbound = b.query(a.id).await;
        b.net.handle.answer(inbound, Response::Lease(LeaseState::Waiting)).unwrap();
        assert!(matches!(a.answer_to(call).await, Ok(Answer::Lease(LeaseState::Waiting))));
        a.connected(b.id).await;
        b.connected(a.id).await;

        // The other way, without an address, on what is held already.
        let call = b.call(a.id, &[], query(), 60_000);
        let inbound = a.query(b.id).await;
        a.net.handle.answer(inbound, Response::Lease(LeaseState::Finished)).unwrap();
        assert!(matches!(b.answer_to(call).await, Ok(Answer::Lease(LeaseState::Finished))));

        let state = LeaseState::Running { done: 1, total: 2 };
        b.net.handle.notice(a.id, Notice::Progress { job: JOB, attempt: Attempt(3), state }).unwrap();
        let heard = a
            .wait("a notice", |input| match input {
                Input::Peer { said: PeerInput::Progress { attempt, state, .. }, .. } => {
                    Some((*attempt, *state))
                }
                _ => None,
            })
            .await;
        assert_eq!(heard, (Attempt(3), state));

        let peers = a.net.handle.peers().await;
        assert_eq!((peers.len(), peers[0].node), (1, b.id));
        b.stop().await;
        a.disconnected(id(2)).await;
        a.stop().await;
    }
}

#[tokio::test]
async fn a_round_trip_is_measured_soon() {
    let (mut a, b) = (node(1).start().await, node(2).start().await);
    a.call(b.id, &b.addresses, query(), 60_000);
    let began = Instant::now();
    let round_trip = a
        .wait("a round trip", |input| match input {
            Input::Peer { said: PeerInput::RoundTrip(millis), .. } => Some(*millis),
            _ => None,
        })
        .await;
    assert!(round_trip >= Millis(1));
    assert!(began.elapsed() < behaviour::PING_EVERY, "before the second one is due");
}

#[tokio::test]
async fn an_order_and_its_acceptance_pass_the_door() {
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    let order = Signed::sign(order(1, b.id), &network(), &key(1));
    let hash = order.hash();
    let call = a.call(b.id, &b.addresses.clone(), Request::Order(order.signed().clone()), 60_000);
    let (inbound, seen) = b
        .wait("an order", |input| match input {
            Input::Peer { said: PeerInput::Order { inbound, order }, .. } => Some((*inbound, order.hash())),
            _ => None,
        })
        .await;
    assert_eq!(seen, hash);
    let acceptance = Signed::sign(acceptance(2, a.id, hash), &network(), &key(2));
    b.net.handle.answer(inbound, Response::Accepted(acceptance.signed().clone())).unwrap();
    match a.answer_to(call).await {
        Ok(Answer::Accepted(accepted)) => assert_eq!(accepted.order, hash),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_signed_by_another_is_no_answer() {
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    let order = Signed::sign(order(1, b.id), &network(), &key(1));
    let call = a.call(b.id, &b.addresses.clone(), Request::Order(order.signed().clone()), 60_000);
    let inbound = b
        .wait("an order", |input| match input {
            Input::Peer { said: PeerInput::Order { inbound, .. }, .. } => Some(*inbound),
            _ => None,
        })
        .await;
    let forged = Signed::sign(acceptance(3, a.id, order.hash()), &network(), &key(3));
    b.net.handle.answer(inbound, Response::Accepted(forged.signed().clone())).unwrap();
    assert!(matches!(a.answer_to(call).await, Err(CallError::Protocol(_))));
}

#[tokio::test]
async fn a_badly_signed_order_stays_outside_and_its_sender_is_shut_out() {
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    let good = Signed::sign(order(1, b.id), &network(), &key(1));
    let bad = Signed::from_parts(good.signed().body_bytes().to_vec(), [7; 64]);
    let addresses = b.addresses.clone();
    let call = a.call(b.id, &addresses, Request::Order(bad.clone()), 60_000);
    match a.answer_to(call).await {
        Ok(Answer::Refused { reason: RefusalReason::Spec { message }, .. }) => {
            assert!(message.contains("signature"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..8 {
        a.call(b.id, &addresses, Request::Order(bad.clone()), 60_000);
    }
    a.disconnected(b.id).await;
    b.disconnected(a.id).await;
    let call = a.call(b.id, &addresses, query(), 2_000);
    assert!(a.answer_to(call).await.is_err(), "it stays shut out");
    let orders = |input: &Input| matches!(input, Input::Peer { said: PeerInput::Order { .. }, .. });
    assert!(!b.kept.iter().any(orders), "no such order goes further");
}

#[tokio::test]
async fn who_cannot_be_reached_is_said() {
    let mut a = node(1).start().await;
    let call = a.call(id(9), &[], query(), 60_000);
    assert!(matches!(a.answer_to(call).await, Err(CallError::Unreachable(_))));
    let call = a.call(id(9), &[NOBODY.to_owned()], query(), 60_000);
    assert!(matches!(a.answer_to(call).await, Err(CallError::Unreachable(_))));
    for byte in 2..10 {
        // Among them ids that are no point of the curve, so that nobody can be them.
        let call = a.call(NodeId([byte; 32]), &[], query(), 60_000);
        assert!(matches!(a.answer_to(call).await, Err(CallError::Unreachable(_))));
    }
    let call = a.call(a.id, &a.addresses.clone(), query(), 60_000);
    assert!(matches!(a.answer_to(call).await, Err(CallError::Unreachable(_))), "nor does a node ask itself");
}

#[tokio::test]
async fn a_silent_peer_times_out_and_its_late_answer_is_nothing() {
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    // What it waits is for the answer, not for a connection.
    let call = a.call(b.id, &b.addresses.clone(), query(), 60_000);
    let inbound = b.query(a.id).await;
    b.net.handle.answer(inbound, Response::Lease(LeaseState::Waiting)).unwrap();
    assert!(a.answer_to(call).await.is_ok());
    let call = a.call(b.id, &[], query(), 2_000);
    let inbound = b.query(a.id).await;
    assert!(matches!(a.answer_to(call).await, Err(CallError::TimedOut)));
    b.net.handle.answer(inbound, Response::Lease(LeaseState::Unknown)).unwrap();
    let call = a.call(b.id, &[], query(), 60_000);
    let inbound = b.query(a.id).await;
    b.net.handle.answer(inbound, Response::Lease(LeaseState::Waiting)).unwrap();
    assert!(matches!(a.answer_to(call).await, Ok(Answer::Lease(LeaseState::Waiting))));
}

#[tokio::test]
async fn a_dead_peer_leaves_no_call_open() {
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    let call = a.call(b.id, &b.addresses.clone(), query(), 60_000);
    b.query(a.id).await;
    b.stop().await;
    assert!(matches!(a.answer_to(call).await, Err(CallError::Unreachable(_))));
}

#[tokio::test]
async fn a_flood_of_questions_is_bounded() {
    const FLOOD: usize = 200;
    let (mut a, mut b) = (node(1).start().await, node(2).start().await);
    let calls: Vec<_> = (0..FLOOD).map(|_| a.call(b.id, &b.addresses.clone(), query(), 60_000)).collect();
    let mut open = Vec::new();
    for _ in 0..ANSWERS_MAX {
        open.push(b.query(a.id).await);
    }
    let mut refused = 0;
    while refused < FLOOD - ANSWERS_MAX {
        a.wait("a refusal", |input| match input {
            Input::Answer {
                result: Ok(Answer::Refused { reason: RefusalReason::Overloaded, .. }), ..
            } => Some(()),
            _ => None,
        })
        .await;
        refused += 1;
    }
    for inbound in open {
        b.net.handle.answer(inbound, Response::Lease(LeaseState::Waiting)).unwrap();
    }
    for _ in 0..ANSWERS_MAX {
        a.wait("an answer", |input| match input {
            Input::Answer { call, result: Ok(Answer::Lease(_)), .. } => calls.contains(call).then_some(()),
            _ => None,
        })
        .await;
    }
    let queries = |input: &&Input| matches!(input, Input::Peer { said: PeerInput::Query { .. }, .. });
    assert_eq!(b.kept.iter().filter(queries).count(), 0, "no more than {ANSWERS_MAX} came through");
}

#[tokio::test]
async fn blob_streams_carry_bytes_over_both_transports() {
    const BYTES: usize = 8 << 20;
    for listen in ["/ip4/127.0.0.1/tcp/0", QUIC] {
        let (a, mut b) = (node(1).listen(&[]).start().await, node(2).listen(&[listen]).start().await);
        let mut rng = fastrand::Rng::with_seed(8);
        let sent: Vec<u8> = (0..BYTES).map(|_| rng.u8(..)).collect();
        let mut stream = a.net.handle.open_blob_stream(b.id, b.addresses.clone()).await.unwrap();
        let (from, mut taken) = b.net.blob_streams.recv().await.unwrap();
        assert_eq!(from, a.id);
        let send = async {
            stream.write_all(&sent).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            word
        };
        let receive = async {
            let mut got = Vec::new();
            taken.read_to_end(&mut got).await.unwrap();
            taken.write_all(b"done").await.unwrap();
            taken.shutdown().await.unwrap();
            got
        };
        let (word, got) =
            tokio::time::timeout(DEADLINE, async { tokio::join!(send, receive) }).await.unwrap();
        assert_eq!(&word, b"done");
        assert!(got == sent, "{listen}: the bytes differ");
    }
}

#[tokio::test]
async fn too_many_blob_streams_are_told_busy() {
    let (a, mut b) = (node(1).start().await, node(2).start().await);
    let mut held = Vec::new();
    for _ in 0..BLOBS_PER_PEER_MAX {
        held.push(a.net.handle.open_blob_stream(b.id, b.addresses.clone()).await.unwrap());
    }
    let refused = a.net.handle.open_blob_stream(b.id, Vec::new()).await;
    assert_eq!(refused.err(), Some(OpenError::PeerBusy));
    // One that is given back makes room.
    drop(b.net.blob_streams.recv().await.unwrap());
    assert!(a.net.handle.open_blob_stream(b.id, Vec::new()).await.is_ok());
    let nobody = a.net.handle.open_blob_stream(id(9), Vec::new()).await;
    assert!(matches!(nobody.err(), Some(OpenError::Unreachable(_))));
}

#[tokio::test]
async fn a_driver_that_does_not_listen_is_told_busy() {
    // What can be under way: inputs, the outbox, the command queue, and a few in hands.
    const MOST: u64 = 2_000;
    let a = node(1).start().await;
    let mut sent = 0;
    let busy = loop {
        let call = a.net.handle.call(CallId(sent), id(9), Vec::new(), query(), Millis(60_000));
        sent += 1;
        if call.is_err() || sent > MOST {
            break call;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(busy, Err(Busy), "after {sent}");
}
