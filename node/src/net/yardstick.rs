//! What plain libp2p does on this machine at this moment, to measure the node against: a request-response echo over TCP
//! loopback with the node's own transport settings, and a raw copy over the node's own blob stream.
//!
//! For `ion bench` only; no node runs this.

use super::{Net, NetConfig, Role, behaviour::transport_settings, start};
use futures::StreamExt;
use ion_protocol::{
    Attempt, JobId, Millis, NetworkId, NodeId,
    key::SecretKey,
    message::{LeaseState, Request, Response},
};
use ion_scheduler::{
    Input,
    input::{CallId, PeerInput},
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise,
    request_response as rr, swarm::SwarmEvent, yamux,
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

/// Round trips before the first counted one: connection, negotiation, warm caches.
const WARM_UP: usize = 20;
/// What a raw copy writes at once; a blob group.
const COPY_BYTES: usize = 256 * 1024;
/// The largest echo.
const ECHO_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes in, the same bytes out.
#[derive(Clone, Default)]
struct Echo;

impl rr::Codec for Echo {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        read_all(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        read_all(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        futures::AsyncWriteExt::write_all(io, &bytes).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        futures::AsyncWriteExt::write_all(io, &bytes).await
    }
}

async fn read_all<T: futures::AsyncRead + Unpin>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut limited = futures::AsyncReadExt::take(io, ECHO_BYTES_MAX);
    futures::AsyncReadExt::read_to_end(&mut limited, &mut bytes).await?;
    Ok(bytes)
}

fn swarm(seed: u8) -> Result<Swarm<rr::Behaviour<Echo>>, String> {
    let key = Keypair::ed25519_from_bytes([seed; 32]).map_err(text)?;
    let protocols = [(StreamProtocol::new("/ion/yardstick/1"), rr::ProtocolSupport::Full)];
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(transport_settings(), noise::Config::new, yamux::Config::default)
        .map_err(text)?
        .with_behaviour(|_| rr::Behaviour::new(protocols, rr::Config::default()))
        .map_err(text)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn listening(swarm: &mut Swarm<rr::Behaviour<Echo>>) -> Result<Multiaddr, String> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().map_err(text)?).map_err(text)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok(address);
        }
    }
}

/// Listens on TCP loopback, tells where, and sends every request back, until it is dropped or cannot.
pub async fn echo(told: impl FnOnce(Multiaddr)) -> Result<(), String> {
    let mut swarm = swarm(102)?;
    let peer = *swarm.local_peer_id();
    told(listening(&mut swarm).await?.with(Protocol::P2p(peer)));
    loop {
        if let SwarmEvent::Behaviour(rr::Event::Message {
            message: rr::Message::Request { request, channel, .. },
            ..
        }) = swarm.select_next_some().await
        {
            // The asker may be gone; then nobody waits.
            let _ = swarm.behaviour_mut().send_response(channel, request);
        }
    }
}

/// Asks an [`echo`].
pub struct Asker {
    swarm: Swarm<rr::Behaviour<Echo>>,
    peer: PeerId,
}

impl Asker {
    /// Of the echo at `address`, connected and warm.
    pub async fn connect(address: Multiaddr) -> Result<Self, String> {
        let Some(Protocol::P2p(peer)) = address.iter().last() else {
            return Err(format!("{address} names no peer"));
        };
        let mut asker = Self { swarm: swarm(101)?, peer };
        asker.swarm.add_peer_address(peer, address);
        for _ in 0..WARM_UP {
            asker.round_trip(1).await?;
        }
        Ok(asker)
    }

    /// The time of one request-response round trip of `payload` bytes each way.
    pub async fn round_trip(&mut self, payload: usize) -> Result<Duration, String> {
        let began = Instant::now();
        self.swarm.behaviour_mut().send_request(&self.peer, vec![7; payload]);
        answered(&mut self.swarm).await?;
        Ok(began.elapsed())
    }
}

async fn answered(asker: &mut Swarm<rr::Behaviour<Echo>>) -> Result<(), String> {
    loop {
        match asker.select_next_some().await {
            SwarmEvent::Behaviour(rr::Event::Message { message: rr::Message::Response { .. }, .. }) => {
                return Ok(());
            }
            SwarmEvent::Behaviour(rr::Event::OutboundFailure { error, .. }) => return Err(error.to_string()),
            _ => {}
        }
    }
}

/// Two nodes' network sides in this process; the second listens on TCP loopback and says where.
struct Pair {
    asker: Net,
    asker_inputs: mpsc::Receiver<Input>,
    answerer: Net,
    answerer_inputs: mpsc::Receiver<Input>,
    answerer_id: NodeId,
    addresses: Vec<String>,
    _dir: tempfile::TempDir,
}

async fn pair() -> Result<Pair, String> {
    let dir = tempfile::tempdir().map_err(text)?;
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let config = |seed: u8, listen: &[&str]| NetConfig {
        key: key(seed),
        network: NetworkId::named("yardstick"),
        role: Role::Full,
        listen: listen.iter().map(|&address| address.to_owned()).collect(),
        bootstrap: Vec::new(),
        peer_cache: dir.path().join(seed.to_string()),
        external: Vec::new(),
    };
    let ((to_asker, asker_inputs), (to_answerer, mut answerer_inputs)) =
        (mpsc::channel(64), mpsc::channel(64));
    let asker = start(config(103, &[]), to_asker).await.map_err(text)?;
    let answerer = start(config(104, &["/ip4/127.0.0.1/tcp/0"]), to_answerer).await.map_err(text)?;
    let addresses = loop {
        let input = answerer_inputs.recv().await.ok_or("the network side ended")?;
        if let Input::Addresses(addresses) = input {
            break addresses;
        }
    };
    let answerer_id = key(104).node_id();
    Ok(Pair { asker, asker_inputs, answerer, answerer_inputs, answerer_id, addresses, _dir: dir })
}

/// Times of `n` calls with their answers over the node's own held stream, one after the other, from the asking driver's
/// command to its input: what a job's negotiation is made of.
pub async fn call_roundtrips(n: usize) -> Result<Vec<Duration>, String> {
    let mut pair = pair().await?;
    let answers = pair.answerer.handle.clone();
    let mut questions = pair.answerer_inputs;
    let task = tokio::spawn(async move {
        while let Some(input) = questions.recv().await {
            if let Input::Peer { said: PeerInput::Query { inbound, .. }, .. } = input {
                // The asker waits for each answer, so there is room.
                let _ = answers.answer(inbound, Response::Lease(LeaseState::Unknown));
            }
        }
    });
    let mut times = Vec::with_capacity(n);
    for turn in 0..WARM_UP + n {
        let (call, request) =
            (CallId(turn as u64), Request::Query { job: JobId([0; 16]), attempt: Attempt(1) });
        let began = Instant::now();
        let handle = &pair.asker.handle;
        handle.call(call, pair.answerer_id, pair.addresses.clone(), request, Millis(10_000)).map_err(text)?;
        loop {
            let input = pair.asker_inputs.recv().await.ok_or("the network side ended")?;
            if let Input::Answer { call: found, result, .. } = input
                && found == call
            {
                result.map_err(text)?;
                break;
            }
        }
        if turn >= WARM_UP {
            times.push(began.elapsed());
        }
    }
    pair.asker.handle.shutdown().await;
    pair.answerer.handle.shutdown().await;
    task.abort();
    Ok(times)
}

/// Time to copy `bytes` bytes over a blob stream between two nodes' network sides in this process, over TCP loopback,
/// from memory to nowhere.
pub async fn raw_stream_copy(bytes: u64) -> Result<Duration, String> {
    let pair = pair().await?;
    let drains = [pair.asker_inputs, pair.answerer_inputs]
        .map(|mut inputs| tokio::spawn(async move { while inputs.recv().await.is_some() {} }));
    let (asker, mut answerer) = (pair.asker, pair.answerer);
    let mut sink = asker.handle.open_blob_stream(pair.answerer_id, pair.addresses).await.map_err(text)?;
    let (_, mut source) = answerer.blob_streams.recv().await.ok_or("no stream came")?;
    let began = Instant::now();
    let reader = tokio::spawn(async move {
        let (mut buffer, mut got) = (vec![0; COPY_BYTES], 0);
        while got < bytes {
            match source.read(&mut buffer).await.map_err(text)? {
                0 => return Err(format!("the stream ended after {got} bytes")),
                read => got += read as u64,
            }
        }
        Ok(Instant::now())
    });
    let piece = vec![7; COPY_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(COPY_BYTES as u64);
        sink.write_all(&piece[..now as usize]).await.map_err(text)?;
        left -= now;
    }
    sink.flush().await.map_err(text)?;
    let ended = reader.await.map_err(text)??;
    asker.handle.shutdown().await;
    answerer.handle.shutdown().await;
    drains.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(ended - began)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort();
        times[times.len() / 2]
    }

    #[tokio::test]
    async fn they_measure_something() {
        const COPIED: u64 = 32 * 1024 * 1024 + 1;
        let (told, address) = oneshot::channel();
        let answers = tokio::spawn(echo(|address| told.send(address).unwrap()));
        let mut asker = Asker::connect(address.await.unwrap()).await.unwrap();
        let mut plain = Vec::new();
        for _ in 0..200 {
            plain.push(asker.round_trip(200).await.unwrap());
        }
        let plain = median(plain);
        answers.abort();
        let held = median(call_roundtrips(200).await.unwrap());
        let copy = raw_stream_copy(COPIED).await.unwrap();
        assert!(plain > Duration::ZERO && held > Duration::ZERO && copy > Duration::ZERO);
        println!("request-response {plain:?}, call {held:?}, {COPIED} bytes in {copy:?}");
    }
}
