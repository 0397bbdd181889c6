//! `ion challenge`

use super::{
    CliError,
    args::{ChallengeArgs, ChallengeVerb, Common},
    block_on, devices, output, receipts, start,
};
use crate::{
    control::{
        ControlClient, ControlError,
        api::{ChallengeRef, ChallengedView, ControlRequest, ControlResponse, OfferView},
    },
    show::TranscriptFile,
};
use ion_protocol::{Millis, NodeId, challenge::VerifiedTranscript};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Challenges devices, or checks what came of a challenge.
pub fn challenge(common: &Common, args: ChallengeArgs) -> Result<(), CliError> {
    if let Some(ChallengeVerb::Verify { file }) = args.verb {
        return verify(common, &file);
    }
    let views = block_on(async {
        let mut client = start::connect(common).await?;
        let targets = find(&mut client, &args.peers, args.device).await?;
        match client.ask(ControlRequest::Challenge { targets }).await? {
            ControlResponse::Challenged(views) => Ok(views),
            other => Err(ControlError::unexpected("the end of a challenge", &other).into()),
        }
    })?;
    let files = views
        .iter()
        .map(|view| write(view, args.out.as_deref(), views.len()))
        .collect::<Result<Vec<_>, _>>()?;
    report(common, &views, &files)?;
    let held =
        |view: &ChallengedView| view.transcript.as_ref().is_some_and(|t| t.shown.judgement.is_passed());
    if views.iter().all(held) {
        return Ok(());
    }
    let failed = views.iter().any(|view| view.transcript.is_some() && !held(view));
    Err(if failed {
        CliError::failed(
            "not every claim held",
            "`ion offers` shows whose did not; jobs go elsewhere where they can",
        )
    } else {
        CliError::failed(
            "not every device took the challenge",
            "the table says why; a device takes one while it is idle",
        )
    })
}

/// The providers that these digits begin.
async fn find(
    client: &mut ControlClient,
    peers: &[String],
    device: u16,
) -> Result<Vec<ChallengeRef>, CliError> {
    let offers = match client.ask(ControlRequest::Offers).await? {
        ControlResponse::Offers(offers) => offers,
        other => return Err(ControlError::unexpected("offers", &other).into()),
    };
    let find = |peer: &String| {
        let digits = peer.to_lowercase();
        let found: Vec<&OfferView> =
            offers.iter().filter(|offer| offer.provider.to_string().starts_with(&digits)).collect();
        match found[..] {
            [offer] if offer.devices.iter().any(|known| known.index == device) => {
                Ok(ChallengeRef { provider: offer.provider, device })
            }
            [offer] => {
                let (who, known) = (offer.provider.short(), devices::numbered(&offer.devices));
                Err(CliError::usage(
                    format!("{who} offers no device {device}; it offers {known}"),
                    "give one of these numbers with `--device`",
                ))
            }
            [] => {
                let shown: String = peer.chars().take(64).collect();
                Err(CliError::usage(
                    format!("no known provider's id begins with `{shown}`"),
                    "`ion offers` lists them",
                ))
            }
            _ => Err(CliError::usage(
                format!("{} providers' ids begin with `{digits}`", found.len()),
                "give more digits",
            )),
        }
    };
    peers.iter().map(find).collect()
}

/// Writes what was said, where something was and somebody wants it; gives the file's name.
fn write(view: &ChallengedView, out: Option<&Path>, of: usize) -> Result<Option<PathBuf>, CliError> {
    let (Some(out), Some(transcript)) = (out, &view.transcript) else { return Ok(None) };
    let mut name = out.as_os_str().to_owned();
    if of > 1 {
        name.push(format!(".{}", view.target.provider.short()));
    }
    let path = PathBuf::from(name);
    let text =
        serde_json::to_string_pretty(transcript).map_err(|e| CliError::node(format!("no JSON: {e}"), ""))?;
    receipts::write(&path, &text).map_err(|e| {
        let message = format!("could not write {}: {e}", path.display());
        CliError::usage(message, "name a file in a directory you may write to with `--out`")
    })?;
    Ok(Some(path))
}

/// One device, as programs read it.
#[derive(Serialize)]
struct Row<'a> {
    provider: NodeId,
    device: u16,
    /// `None` where it took no challenge.
    #[serde(flatten)]
    judgement: Option<&'a ion_protocol::challenge::Judgement>,
    passed: bool,
    #[serde(rename = "took_ms")]
    took: Option<Millis>,
    #[serde(rename = "bound_ms")]
    bound: Option<Millis>,
    claim_mops: Option<u64>,
    refused: &'a str,
    file: Option<&'a Path>,
}

fn report(common: &Common, views: &[ChallengedView], files: &[Option<PathBuf>]) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for (view, file) in views.iter().zip(files) {
        let said = view.transcript.as_ref();
        // What this node signed a moment ago is checked like anybody's.
        let verified = said.map(TranscriptFile::verify).transpose()?;
        rows.push(Row {
            provider: view.target.provider,
            device: view.target.device,
            judgement: said.map(|said| &said.shown.judgement),
            passed: said.is_some_and(|said| said.shown.judgement.is_passed()),
            took: said.map(|said| said.shown.took),
            bound: verified.as_ref().map(|verified| verified.challenge.bound),
            claim_mops: verified.as_ref().map(claim),
            refused: &view.refused,
            file: file.as_deref(),
        });
    }
    if common.json {
        return output::json(&rows);
    }
    let mut table = output::Table::new(&["PROVIDER", "DEVICE", "CLAIM", "TOOK", "AT MOST", "VERDICT"]);
    let or_dash = |text: Option<String>| text.unwrap_or("-".to_owned());
    for row in &rows {
        table.row([
            row.provider.short(),
            row.device.to_string(),
            or_dash(row.claim_mops.map(|mops| format!("{}.{} Gop/s", mops / 1_000, mops % 1_000 / 100))),
            or_dash(row.took.map(|took| took.to_string())),
            or_dash(row.bound.map(|bound| bound.to_string())),
            row.judgement.map_or_else(|| format!("not challenged: {}", row.refused), ToString::to_string),
        ]);
    }
    table.print()?;
    for file in files.iter().flatten() {
        output::note(&format!("wrote {}; anybody can check it with `ion challenge verify`", file.display()));
    }
    Ok(())
}

/// The claim that was held against the device.
fn claim(said: &VerifiedTranscript) -> u64 {
    let devices = &said.advert.devices;
    devices.iter().find(|device| device.index == said.challenge.device).map_or(0, |d| d.power.product_mops)
}

fn verify(common: &Common, file: &Path) -> Result<(), CliError> {
    let said = TranscriptFile::read(file)?.verify()?;
    let (challenge, verdict) = (&said.challenge, &said.verdict);
    if common.json {
        return output::json(&serde_json::json!({
            "verified": true,
            "challenge": challenge.hash(),
            "asked": challenge.body(),
            "claim_mops": claim(&said),
            "verdict": verdict.body(),
        }));
    }
    let beside: Vec<String> = challenge.beside.iter().map(NodeId::to_string).collect();
    let lines = [
        format!("challenge   {}", challenge.hash()),
        format!("challenger  {}", challenge.challenger),
        format!("provider    {}, device {}", challenge.provider, challenge.device),
        format!("claim       {} million operations a second", claim(&said)),
        format!(
            "product     {} rows of 256, {} columns of A: {} in all",
            challenge.shape.rows,
            challenge.shape.inner,
            challenge.shape.memory()
        ),
        format!("beside      {}", if beside.is_empty() { "nobody".to_owned() } else { beside.join(", ") }),
        format!("took        {} of at most {}, by the challenger's clock", verdict.took, challenge.bound),
        format!("verdict     {}", verdict.judgement),
        "verified    all signatures hold, and the verdict follows from what was said".to_owned(),
    ];
    output::line(&lines.map(|line| output::printable(&line)).join("\n"))
}
