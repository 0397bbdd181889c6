//! `ion receipts`

use super::{
    CliError,
    args::{self, Common, ReceiptsArgs, ReceiptsVerb},
    block_on, job_ref, output, start,
};
use crate::{
    control::{
        ControlError,
        api::{ControlRequest, ControlResponse, ReceiptFilter, ReceiptView, Side},
    },
    show::{Proof, ReceiptFile},
};
use ion_protocol::{
    DocHash, NanoIo,
    receipt::{Countersignature, Receipt, Status},
};
use serde::Serialize;
use std::{io::Write, os::unix::fs::PermissionsExt, path::Path};

/// Receipts of this node, and proofs of anybody's.
pub fn receipts(common: &Common, args: ReceiptsArgs) -> Result<(), CliError> {
    match args.verb {
        ReceiptsVerb::List { job, side, limit } => list(common, job, side, limit),
        ReceiptsVerb::Show { prefix } => {
            let (file, node_runs) = fetch(common, prefix)?;
            report(common, &file.verify()?, Some(node_runs))
        }
        ReceiptsVerb::Verify { file } => report(common, &ReceiptFile::read(&file)?.verify()?, None),
        ReceiptsVerb::Export { prefix, out } => export(common, prefix, out.as_deref()),
    }
}

fn list(common: &Common, job: Option<String>, side: Option<args::Side>, limit: u32) -> Result<(), CliError> {
    block_on(async {
        let mut source = start::connect_or_read(common).await?;
        let job = match job {
            Some(prefix) => Some(job_ref::find(&mut source.client, &prefix).await?),
            None => None,
        };
        let side = side.map(|side| match side {
            args::Side::Provider => Side::Provider,
            args::Side::Requester => Side::Requester,
        });
        let filter = ReceiptFilter { job, side, limit };
        match source.client.ask(ControlRequest::Receipts { filter }).await? {
            ControlResponse::Receipts(receipts) if common.json => output::json(&source.told_all(&receipts)),
            ControlResponse::Receipts(receipts) => table(&receipts),
            other => Err(ControlError::unexpected("receipts", &other).into()),
        }
    })
}

fn table(receipts: &[ReceiptView]) -> Result<(), CliError> {
    if receipts.is_empty() {
        return output::line("no receipts yet");
    }
    let headings = ["RECEIPT", "JOB", "AGE", "SIDE", "WITH", "DEVICE", "STATUS", "TIME", "PRICE"];
    let mut table = output::Table::new(&headings);
    for view in receipts {
        let r = &view.body;
        let (side, with) = match view.side {
            Side::Provider => ("provider", r.requester),
            Side::Requester => ("requester", r.provider),
        };
        table.row([
            view.receipt.short(),
            r.job.short(),
            output::age(r.finished),
            side.to_owned(),
            with.short(),
            r.engine.label(&r.device),
            short_status(view),
            r.device_time.to_string(),
            r.price.to_string(),
        ]);
    }
    table.print()?;
    let owed = |side: Side| {
        let both = receipts.iter().filter(|view| view.side == side && view.countersignature.is_some());
        NanoIo(both.fold(0, |sum: u64, view| sum.saturating_add(view.body.price.0)))
    };
    output::line(&format!("signed by both: earned {}, owed {}", owed(Side::Provider), owed(Side::Requester)))
}

fn status(receipt: &Receipt) -> String {
    match &receipt.status {
        Status::Done => "done".to_owned(),
        Status::Failed(fault) => format!("failed: {fault}"),
    }
}

/// What fits a table; `ion receipts show` has all of it.
fn short_status(view: &ReceiptView) -> String {
    const CHARS: usize = 40;
    let half = if view.countersignature.is_some() { "" } else { ", not countersigned" };
    let whole = format!("{}{half}", status(&view.body));
    match whole.char_indices().nth(CHARS) {
        Some((at, _)) => format!("{}…", &whole[..at]),
        None => whole,
    }
}

/// The receipt, and whether a running node gave it.
fn fetch(common: &Common, prefix: String) -> Result<(ReceiptFile, bool), CliError> {
    block_on(async {
        let mut source = start::connect_or_read(common).await?;
        match source.client.ask(ControlRequest::Receipt { prefix }).await? {
            ControlResponse::Receipt(view) => Ok((ReceiptFile::of(*view)?, source.node_runs)),
            ControlResponse::NoReceipt { message } => {
                Err(CliError::usage(message, "`ion receipts list` shows all there are"))
            }
            other => Err(ControlError::unexpected("a receipt", &other).into()),
        }
    })
}

#[derive(Serialize)]
struct ProofJson<'a> {
    verified: bool,
    signed_by: &'static str,
    receipt: DocHash,
    #[serde(flatten)]
    body: &'a Receipt,
    countersignature: Option<&'a Countersignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_runs: Option<bool>,
}

/// Says what a receipt proves; `node_runs` where a node was asked for it.
fn report(common: &Common, proof: &Proof, node_runs: Option<bool>) -> Result<(), CliError> {
    let receipt = proof.receipt().body();
    let (signed_by, countersignature) = match proof {
        Proof::Settled(settled) => ("both", Some(settled.countersignature.body())),
        Proof::ProviderOnly(_) => ("provider", None),
    };
    if common.json {
        return output::json(&ProofJson {
            verified: true,
            signed_by,
            receipt: proof.hash(),
            body: receipt,
            countersignature,
            node_runs,
        });
    }
    let r = receipt;
    let checked = countersignature.map_or("the requester has not signed".to_owned(), |c| c.check.to_string());
    let lines = [
        format!("receipt    {}", proof.hash()),
        format!("job        {}, try {}", r.job, r.attempt),
        format!("provider   {}", r.provider),
        format!("requester  {}", r.requester),
        format!("device     {}", r.engine.label(&r.device)),
        format!("status     {}", status(r)),
        format!(
            "times      waited {}, moved data {}, ran {} ({} on the device)",
            r.waited, r.moved, r.ran, r.device_time
        ),
        format!("price      {} at {} a second", r.price, r.price_per_second),
        format!("inputs     {}", hex::encode(r.input_root)),
        format!("outputs    {}", hex::encode(r.output_root)),
        format!("between    {}", r.states),
        format!("checked    {checked}"),
        match proof {
            Proof::Settled(_) => format!("verified   both signatures hold: the requester owes {}", r.price),
            Proof::ProviderOnly(_) => {
                "verified   the provider's signature holds; the requester has not signed".to_owned()
            }
        },
    ];
    output::line(&lines.map(|l| output::printable(&l)).join("\n"))
}

fn export(common: &Common, prefix: String, out: Option<&Path>) -> Result<(), CliError> {
    let (file, node_runs) = fetch(common, prefix)?;
    let text =
        serde_json::to_string_pretty(&file).map_err(|e| CliError::node(format!("no JSON: {e}"), ""))?;
    let Some(path) = out else { return output::line(&text) };
    write(path, &text).map_err(|e| {
        let message = format!("could not write {}: {e}", path.display());
        CliError::usage(message, "name a file in a directory you may write to with `--out`")
    })?;
    if common.json {
        let receipt = file.verify()?.hash();
        return output::json(
            &serde_json::json!({ "file": path, "receipt": receipt, "node_runs": node_runs }),
        );
    }
    output::note(&format!("wrote {}; anybody can check it with `ion receipts verify`", path.display()));
    Ok(())
}

/// Whole or not at all; an older file of this name is replaced.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::Permissions::from_mode(0o666);
    let mut temp = tempfile::Builder::new().prefix(".ion-").permissions(mode).tempfile_in(dir)?;
    temp.write_all(text.as_bytes())?;
    temp.write_all(b"\n")?;
    temp.as_file().sync_all()?;
    temp.persist(path)?;
    Ok(())
}
