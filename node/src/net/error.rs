//! What can go wrong at the network's boundary, in words that name the way out.

/// Why the network side did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Text that is no address, or none we can use.
    #[error("`{text}` given with `{flag}` is not an address this node can use: {why}")]
    BadAddress {
        /// The option it came with.
        flag: &'static str,
        /// What was typed.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too many addresses.
    #[error("{found} addresses given with `{flag}`; expected at most {expected}")]
    TooManyAddresses {
        /// The option they came with.
        flag: &'static str,
        /// How many.
        found: usize,
        /// How many are taken.
        expected: usize,
    },
    /// Somebody else listens there.
    #[error("port {port} is in use (`{address}`); choose another with `--listen`")]
    PortInUse {
        /// The port.
        port: u16,
        /// The whole address.
        address: String,
    },
    /// The machine does not let us listen there.
    #[error("cannot listen on `{address}`: {why}; choose another address with `--listen`")]
    Listen {
        /// Where.
        address: String,
        /// What the machine says.
        why: String,
    },
    /// The transport could not be set up.
    #[error("the network transport could not be set up: {0}")]
    Transport(String),
}

/// The command channel to the swarm loop is full, or the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network side of this node is too busy")]
pub struct Busy;

/// Why there is no blob stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No direct connection could be made.
    #[error("the peer could not be reached ({0})")]
    Unreachable(String),
    /// The peer has too many blob streams; ask again later.
    #[error("the peer has too many blob streams open; try again")]
    PeerBusy,
    /// This node has too much to do.
    #[error("this node is too busy to open a stream")]
    Busy,
    /// Connected, but no stream came of it in time.
    #[error("the peer did not open the stream in time")]
    TimedOut,
    /// The peer speaks no blob protocol, or broke off.
    #[error("the peer opened no stream ({0})")]
    Failed(String),
}
