//! Good peers on disk, so that a restarted node finds the network although the bootstrap is gone.
//!
//! One line a peer: node id, when last seen (milliseconds since 1970), addresses. Written whole and renamed; a file
//! that is damaged in any way is left out with a warning, for it is only a memory.

use super::recent::Recent;
use crate::files::open_file;
use ion_protocol::{
    NodeId, UnixMillis,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
};
use libp2p::Multiaddr;
use std::{
    io::{self, Read, Write},
    path::Path,
};

/// Peers remembered.
pub(super) const PEERS_MAX: usize = 256;
/// A file above this is not ours.
const FILE_BYTES_MAX: u64 = 512 * 1024;
/// First line.
const HEADER: &str = "ion peer cache 1";

/// A peer worth coming back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub seen: UnixMillis,
    pub addresses: Vec<Multiaddr>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct PeerCache {
    peers: Recent<NodeId, Remembered>,
    changed: bool,
}

impl PeerCache {
    /// What the file holds; nothing where there is none or it is damaged.
    pub fn load(path: &Path) -> Self {
        let peers = match read(path) {
            Ok(text) => parse(&text).unwrap_or_else(|why| {
                tracing::warn!("the peer cache `{}` is damaged ({why}) and left out", path.display());
                Vec::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!("the peer cache `{}` cannot be read: {error}", path.display());
                Vec::new()
            }
        };
        let mut cache = Self { peers: Recent::new(PEERS_MAX), changed: false };
        for (node, remembered) in peers {
            cache.peers.put(node, remembered);
        }
        cache
    }

    /// Remembers a good peer.
    pub fn remember(&mut self, node: NodeId, seen: UnixMillis, mut addresses: Vec<Multiaddr>) {
        addresses.retain(is_word);
        if !addresses.is_empty() {
            self.peers.put(node, Remembered { seen, addresses });
            self.changed = true;
        }
    }

    /// Remembers a node that only others spoke of, as long as there is room for many good peers: then even a node that
    /// worked with nobody finds the network again. It never displaces, and comes after everybody met.
    pub fn heard_of(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        if self.peers.iter().count() < PEERS_MAX / 2 && self.peers.get(&node).is_none() {
            self.remember(node, UnixMillis(0), addresses);
        }
    }

    /// Those seen last, first.
    pub fn latest(&self, count: usize) -> Vec<(NodeId, Vec<Multiaddr>)> {
        let mut all: Vec<_> = self.peers.iter().collect();
        all.sort_by_key(|(node, remembered)| (std::cmp::Reverse(remembered.seen), **node));
        all.into_iter().take(count).map(|(node, remembered)| (*node, remembered.addresses.clone())).collect()
    }

    /// The file's text, if it would differ from what was last taken.
    pub fn take_changed(&mut self) -> Option<String> {
        std::mem::take(&mut self.changed).then(|| self.text())
    }

    fn text(&self) -> String {
        let line = |(node, remembered): (&NodeId, &Remembered)| {
            let addresses: String =
                remembered.addresses.iter().map(|address| format!(" {address}")).collect();
            format!("{node} {}{addresses}\n", remembered.seen.0)
        };
        format!("{HEADER}\n{}", self.peers.iter().map(line).collect::<String>())
    }
}

/// Whether an address can stand in a line: a name in one may be any text, a line end and a peer of its choice included.
fn is_word(address: &Multiaddr) -> bool {
    let text = address.to_string();
    text.len() <= ADDRESS_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Puts the whole text in place of the file. Blocks; call it where that may be.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_file(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<(NodeId, Remembered)>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(format!("it does not begin with `{HEADER}`"));
    }
    if !text.ends_with('\n') {
        return Err("its last line is cut off".into());
    }
    let peers: Vec<_> =
        lines.take(PEERS_MAX).map(parse_line).collect::<Option<_>>().ok_or("a line is no peer")?;
    Ok(peers)
}

fn parse_line(line: &str) -> Option<(NodeId, Remembered)> {
    let mut words = line.split(' ');
    let node = words.next()?.parse().ok()?;
    let seen = UnixMillis(words.next()?.parse().ok()?);
    let addresses: Vec<_> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    (!addresses.is_empty() && addresses.len() <= ADDRESSES_MAX)
        .then_some((node, Remembered { seen, addresses }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn address(port: u16) -> Vec<Multiaddr> {
        vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()]
    }

    fn node(i: u16) -> NodeId {
        let mut id = [7; 32];
        id[..2].copy_from_slice(&i.to_le_bytes());
        NodeId(id)
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let mut cache = PeerCache::load(&path);
        assert!(cache.latest(9).is_empty());
        cache.remember(node(1), UnixMillis(10), address(1));
        cache.remember(node(2), UnixMillis(20), [address(2), address(3)].concat());
        write(&path, &cache.take_changed().unwrap()).unwrap();
        assert_eq!(cache.take_changed(), None);
        let again = PeerCache::load(&path);
        assert_eq!(again.latest(9), cache.latest(9));
        assert_eq!(again.latest(1)[0].0, node(2));
    }

    #[test]
    fn it_stays_bounded() {
        let mut cache = PeerCache::load(Path::new("/nonexistent/peers"));
        (0..2 * PEERS_MAX as u16).for_each(|i| cache.remember(node(i), UnixMillis(i.into()), address(i)));
        assert_eq!(cache.latest(usize::MAX).len(), PEERS_MAX);
    }

    #[test]
    fn hearsay_displaces_nobody_and_comes_last() {
        let mut cache = PeerCache::load(Path::new("/nonexistent/peers"));
        cache.remember(node(1), UnixMillis(10), address(1));
        (1..2 * PEERS_MAX as u16).for_each(|i| cache.heard_of(node(i), address(i)));
        assert_eq!(cache.latest(usize::MAX).len(), PEERS_MAX / 2);
        assert_eq!(cache.latest(1), [(node(1), address(1))]);
    }

    /// Names in addresses are any text, and strangers choose them.
    #[test]
    fn an_address_that_is_not_one_word_writes_no_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let mut cache = PeerCache::load(&path);
        cache.remember(node(1), UnixMillis(10), address(1));
        let planted = format!("/dns4/x\n{} 99 /ip4/6.6.6.6/tcp/6", node(666));
        let long = format!("/dns4/{}/tcp/1", "x".repeat(ADDRESS_BYTES_MAX));
        for text in [&planted, "/dns4/a b/tcp/1", "/ip4/6.6.6.6/tcp/6/sni/\r", &long] {
            let bad: Multiaddr = text.parse().unwrap();
            cache.heard_of(node(2), vec![bad.clone()]);
            cache.remember(node(3), UnixMillis(20), [address(3), vec![bad]].concat());
        }
        write(&path, &cache.take_changed().unwrap()).unwrap();
        let again = PeerCache::load(&path);
        assert_eq!(again.latest(9), [(node(3), address(3)), (node(1), address(1))]);
    }

    #[test]
    fn a_damaged_file_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let mut cache = PeerCache::load(&path);
        (0..5).for_each(|i| cache.remember(node(i), UnixMillis(1), address(i)));
        let good = cache.take_changed().unwrap();
        let garbage = vec![0xff; 1000];
        for bytes in
            [&good.as_bytes()[..good.len() - 7], b"", b"\n\n", &garbage, b"ion peer cache 1\nx y z\n"]
        {
            fs::write(&path, bytes).unwrap();
            assert!(PeerCache::load(&path).latest(9).is_empty());
        }
        fs::write(&path, &good).unwrap();
        assert_eq!(PeerCache::load(&path).latest(9).len(), 5);
    }
}
