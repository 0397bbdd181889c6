//! A blob between two nodes' network and blob services, against a raw stream of the same transport and plain TCP.

use super::Figure;
use crate::{
    blobs::{BlobStore, Blobs},
    net::{self, Net, NetConfig, yardstick},
};
use anyhow::{bail, ensure};
use ion_protocol::{Bytes, NetworkId, NodeId, key::SecretKey};
use ion_scheduler::{Input, input::FetchId};
use std::{io::Write as _, path::Path, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const MIB: f64 = 1_048_576.0;
/// Bytes written at once by the yardsticks.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) async fn figures(dir: &Path, bytes: u64) -> anyhow::Result<Vec<Figure>> {
    let rate = |seconds: f64| bytes as f64 / MIB / seconds;
    let blob = rate(blob_seconds(dir, bytes).await?);
    let raw = rate(yardstick::raw_stream_copy(bytes).await.map_err(anyhow::Error::msg)?.as_secs_f64());
    let tcp = rate(tcp_seconds(bytes).await?);
    let size = Bytes(bytes);
    Ok(vec![
        Figure::new(format!("transfer: a verified, stored blob of {size}"), blob, "MiB/s")
            .against("raw libp2p stream", raw)
            .target("at least 0.6"),
        Figure::new(format!("transfer: the same blob of {size}"), blob, "MiB/s").against("raw TCP copy", tcp),
        Figure::new("transfer: raw libp2p stream (TCP, Noise, Yamux)", raw, "MiB/s")
            .against("raw TCP copy", tcp),
        Figure::new("transfer: raw TCP copy", tcp, "MiB/s"),
    ])
}

struct End {
    node: NodeId,
    net: Net,
    inputs: mpsc::Receiver<Input>,
}

async fn end(dir: &Path, seed: u8) -> anyhow::Result<End> {
    let (tx, inputs) = mpsc::channel(256);
    let key = SecretKey::from_seed(&[seed; 32]);
    let node = key.node_id();
    let config = NetConfig {
        key,
        network: NetworkId::named("bench"),
        role: net::Role::Full,
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        bootstrap: Vec::new(),
        peer_cache: dir.join(format!("peers-{seed}")),
        external: Vec::new(),
    };
    Ok(End { node, net: net::start(config, tx).await?, inputs })
}

async fn blob_seconds(dir: &Path, bytes: u64) -> anyhow::Result<f64> {
    let (mut sender, mut receiver) = (end(dir, 11).await?, end(dir, 12).await?);
    let addresses = loop {
        match sender.inputs.recv().await {
            Some(Input::Addresses(addresses)) if !addresses.is_empty() => break addresses,
            Some(_) => {}
            None => bail!("the sender's network side ended"),
        }
    };
    let held = BlobStore::open(&dir.join("sender"), Bytes(bytes * 2))?;
    let wanted = BlobStore::open(&dir.join("receiver"), Bytes(bytes * 2))?;
    let file = dir.join("blob");
    let hash = tokio::task::spawn_blocking({
        let (held, file) = (held.clone(), file.clone());
        move || -> anyhow::Result<_> {
            write_noise(&file, bytes)?;
            let hash = held.import(&file, Bytes(bytes))?.0;
            // What the disk still has to take of this would be taken during the transfer.
            rustix::fs::sync();
            Ok(hash)
        }
    })
    .await??;
    let (served_tx, _served) = mpsc::channel(256);
    let serving = Blobs::start(held, opener(&sender.net), served_tx);
    let streams = tokio::spawn(async move {
        while let Some((peer, stream)) = sender.net.blob_streams.recv().await {
            serving.serve(peer, stream);
        }
    });
    let drain = tokio::spawn(async move { while sender.inputs.recv().await.is_some() {} });
    let drain_receiver = tokio::spawn(async move { while receiver.inputs.recv().await.is_some() {} });
    let (tx, mut results) = mpsc::channel(256);
    let fetching = Blobs::start(wanted.clone(), opener(&receiver.net), tx);
    let start = Instant::now();
    fetching
        .fetch(FetchId(1), sender.node, addresses, vec![(hash, Bytes(bytes))], false)
        .map_err(|busy| anyhow::anyhow!("{busy}"))?;
    let seconds = loop {
        match results.recv().await {
            Some(Input::Fetched { result, .. }) => {
                result.map_err(anyhow::Error::msg)?;
                break start.elapsed().as_secs_f64();
            }
            Some(_) => {}
            None => bail!("the blob service ended"),
        }
    };
    ensure!(wanted.contains(&hash), "the blob is not there after its transfer");
    [streams, drain, drain_receiver].iter().for_each(tokio::task::JoinHandle::abort);
    receiver.net.handle.shutdown().await;
    Ok(seconds)
}

fn opener(net: &Net) -> crate::blobs::Opener {
    let handle = net.handle.clone();
    Arc::new(move |peer, addresses| {
        let opened = handle.open_blob_stream(peer, addresses);
        Box::pin(async move { opened.await.map(|s| s as _).map_err(|e| e.to_string()) })
    })
}

fn write_noise(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut piece = vec![0; PIECE_BYTES];
    let mut out = std::fs::File::create(file)?;
    let mut left = bytes;
    while left > 0 {
        rng.fill(&mut piece);
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        out.write_all(&piece[..take])?;
        left -= take as u64;
    }
    Ok(())
}

async fn tcp_seconds(bytes: u64) -> anyhow::Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let sender = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let piece = vec![7; PIECE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            stream.write_all(&piece[..take]).await?;
            left -= take as u64;
        }
        stream.shutdown().await
    });
    let mut stream = TcpStream::connect(address).await?;
    let mut piece = vec![0; PIECE_BYTES];
    let start = Instant::now();
    let mut received = 0;
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            n => received += n as u64,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    sender.await??;
    ensure!(received == bytes, "TCP lost bytes");
    Ok(seconds)
}
