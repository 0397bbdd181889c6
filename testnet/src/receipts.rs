//! Receipts as both sides hold them: listed, exported and verified through the command line, and once more here, from
//! the exported bytes alone.

use crate::cluster::Cluster;
use anyhow::{Context, Result, anyhow, bail};
use ion_protocol::{
    Attempt, DocHash, JobId, NetworkId, NodeId, Signed,
    receipt::{Receipt, SettledReceipt},
    signed::Document,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One receipt in a node's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its id: the hash of the provider's half.
    pub receipt: DocHash,
    /// `provider` or `requester`: this node's part in it.
    pub side: String,
    /// What it says.
    #[serde(flatten)]
    pub body: Receipt,
    /// The requester's half; of interest is whether it is there.
    #[serde(default)]
    pub countersignature: Option<Value>,
}

impl Listed {
    /// Which try of which job for whom it is about.
    pub fn about(&self) -> (JobId, Attempt, NodeId) {
        (self.body.job, self.body.attempt, self.body.requester)
    }

    /// Whether both have signed.
    pub fn is_settled(&self) -> bool {
        self.countersignature.is_some()
    }
}

/// Everything `ion receipts list` shows at a node.
pub fn list(cluster: &Cluster, node: usize) -> Result<Vec<Listed>> {
    let name = cluster[node].name();
    let values = cluster.ion.ask_list(&cluster[node].spec.data_dir, &["receipts", "list", "--limit", "0"])?;
    let one = |value| serde_json::from_value(value).with_context(|| format!("a receipt of {name}"));
    values.into_iter().map(one).collect()
}

/// An exported receipt, as `ion receipts export` writes it.
#[derive(Clone, Debug, Deserialize)]
struct Exported {
    network: String,
    receipt: Parts,
    countersignature: Option<Parts>,
}

#[derive(Clone, Debug, Deserialize)]
struct Parts {
    body: String,
    signature: String,
}

impl Parts {
    fn signed<T: Document>(&self) -> Result<Signed<T>> {
        let signature = hex::decode(&self.signature)?;
        let signature = signature.try_into().map_err(|_| anyhow!("a signature that is not 64 bytes"))?;
        Ok(Signed::from_parts(hex::decode(&self.body)?, signature))
    }
}

/// Exports a receipt into `dir`; answers the file.
pub fn export(cluster: &Cluster, node: usize, hash: &DocHash, dir: &Path) -> Result<PathBuf> {
    let file = dir.join(format!("{}-{}.json", cluster[node].name(), hash.short()));
    let finished = cluster.ion.finish(
        &cluster[node].spec.data_dir,
        [
            "receipts".as_ref(),
            "export".as_ref(),
            hash.to_string().as_ref(),
            "--out".as_ref(),
            file.as_os_str(),
        ],
    )?;
    if finished.code != Some(0) {
        bail!("`ion receipts export` at {} failed: {}", cluster[node].name(), finished.errors.trim());
    }
    Ok(file)
}

/// Verifies an exported receipt here, by its bytes alone. Both halves must be there.
pub fn verify(file: &Path) -> Result<SettledReceipt> {
    let exported: Exported = serde_json::from_slice(&fs::read(file)?)?;
    let network = NetworkId::named(&exported.network);
    let half = exported.countersignature.context("the requester's half is missing")?;
    Ok(SettledReceipt::verify(&network, exported.receipt.signed()?, half.signed()?)?)
}

/// Verifies an exported receipt with `ion receipts verify`, which needs no node: its data directory is an empty one.
pub fn verify_by_command(cluster: &Cluster, file: &Path) -> Result<()> {
    let nobody = cluster.subdir("nobody")?;
    let finished = cluster.ion.finish(&nobody, ["receipts".as_ref(), "verify".as_ref(), file.as_os_str()])?;
    if finished.code != Some(0) {
        bail!("`ion receipts verify {}` says: {}", file.display(), finished.errors.trim());
    }
    Ok(())
}

/// That `node` holds the receipt of this try with both signatures, and that it proves itself offline, by the program
/// and here. Answers its id.
pub fn prove(cluster: &Cluster, node: usize, job: &JobId, attempt: Attempt, dir: &Path) -> Result<DocHash> {
    let name = cluster[node].name();
    let listed = list(cluster, node)?
        .into_iter()
        .find(|listed| (listed.body.job, listed.body.attempt) == (*job, attempt))
        .with_context(|| format!("{name} holds no receipt of job {} attempt {attempt}", job.short()))?;
    let file = export(cluster, node, &listed.receipt, dir)?;
    verify_by_command(cluster, &file)?;
    let settled = verify(&file).with_context(|| format!("the receipt exported by {name}"))?;
    if settled.receipt.hash() != listed.receipt {
        bail!("{name} lists {} and exports {}", listed.receipt.short(), settled.receipt.hash().short());
    }
    Ok(listed.receipt)
}
