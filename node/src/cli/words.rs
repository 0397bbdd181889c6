//! What happened, in words: one sentence an event.

use crate::events::job_of;
use ion_protocol::{fault::Fault, message::LeaseState, record::JobEnd};
use ion_scheduler::event::Event;

/// The event as a line for people.
pub fn event(event: &Event) -> String {
    let text = match event {
        Event::JobAccepted { job } => format!("job {} is accepted and will end", job.short()),
        Event::JobRefused { job, why } => format!("job {} is not taken on: {why}", job.short()),
        Event::NobodyFits { rejected, .. } if rejected.is_empty() => {
            format!(
                "no offers are known yet; looking, for at most {}",
                ion_scheduler::Config::default().seek_max
            )
        }
        Event::NobodyFits { rejected, .. } => {
            let reasons: Vec<String> = rejected.iter().take(3).map(|r| r.sentence()).collect();
            let more = rejected.len().saturating_sub(3);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("nobody fits: {}{more}", reasons.join("; "))
        }
        Event::Chosen { attempt, provider, model, engine, candidates, .. } => {
            format!("try {attempt}: chose {} ({}) of {candidates}", provider.short(), engine.label(model))
        }
        Event::OrderAccepted { provider, .. } => format!("{} took the order", provider.short()),
        Event::OrderRefused { provider, reason, .. } => format!("{} refused: {reason}", provider.short()),
        Event::Progress { provider, state, .. } => format!("{} {}", provider.short(), lease(state)),
        Event::AttemptLost { attempt, provider, silent, why, .. } => {
            let silence = if silent.0 > 0 { format!(" after {silent} of silence") } else { String::new() };
            format!("try {attempt} is lost: {}{silence} ({why}); re-running elsewhere", provider.short())
        }
        Event::Delivering { provider, .. } => format!("{} delivers", provider.short()),
        Event::NoRoom { provider, why, .. } => {
            format!("the results wait at {}: {why}", provider.short())
        }
        Event::Checking { blocks, .. } => format!("running {blocks} blocks again here"),
        Event::Checked { check, .. } => check.to_string(),
        Event::DeliveryFalse { attempt, provider, difference, .. } => format!(
            "try {attempt} is false: {} signed for bytes that the program does not give ({difference}); \
             re-running elsewhere",
            provider.short()
        ),
        Event::Challenging { provider, device, beside, bound } => {
            let who = provider.short();
            let beside = if *beside > 0 { format!(", and {beside} others at once") } else { String::new() };
            format!("challenging device {device} of {who}, which has {bound} for it{beside}")
        }
        Event::ChallengeDeclined { provider, device, why } => {
            format!("the challenge of device {device} of {} came to nothing: {why}", provider.short())
        }
        Event::Challenged { provider, device, judgement, took, bound } => {
            let who = provider.short();
            format!("the challenge of device {device} of {who} {judgement}, after {took} of at most {bound}")
        }
        Event::ChallengeTaken { challenger, device } => {
            format!("device {device} computes what {} challenged it to", challenger.short())
        }
        Event::ChallengeLetGo { challenger, device } => {
            format!(
                "device {device} lets go of the challenge by {} for what matters more",
                challenger.short()
            )
        }
        Event::JobEnded { end, .. } => end_of_job(end),
        Event::LeaseTaken { job, requester, .. } => {
            format!("took job {} of {}", job.short(), requester.short())
        }
        Event::LeaseRefused { job, requester, reason, .. } => {
            format!("refused job {} of {}: {reason}", job.short(), requester.short())
        }
        Event::ReceiptSigned { job, price, fault: None, .. } => {
            format!("finished job {} for {price}; receipt signed", job.short())
        }
        Event::ReceiptSigned { job, fault: Some(fault), .. } => {
            format!("job {} failed: {fault}", job.short())
        }
        Event::ReceiptSettled { job, requester, price, .. } => {
            format!("job {} is settled: {} owes {price}", job.short(), requester.short())
        }
        Event::LeaseReleased { job, why, .. } => format!("job {} ended without pay: {why}", job.short()),
        Event::OfferSeen { provider, devices } => format!("{} offers {devices} device(s)", provider.short()),
        Event::RecordFailed { why } => format!("the journal could not be written: {why}"),
        Event::Drained => "nothing runs any more".to_owned(),
    };
    super::output::printable(&text)
}

/// The event where other jobs' stand beside it: it says whose it is.
pub fn event_of_many(happened: &Event) -> String {
    let text = event(happened);
    match job_of(happened).map(|job| job.short()) {
        Some(job) if !text.contains(&job) => format!("job {job}: {text}"),
        Some(_) | None => text,
    }
}

/// Where a provider stands with a job.
pub fn lease(state: &LeaseState) -> String {
    match state {
        LeaseState::Unknown => "does not know the job".to_owned(),
        LeaseState::Waiting => "waits for a device".to_owned(),
        LeaseState::Staging { done, total } => {
            format!("fetches inputs: {} of {}", ion_protocol::Bytes(*done), ion_protocol::Bytes(*total))
        }
        LeaseState::Running { done, total } => format!("runs: {done} of {total} launches"),
        LeaseState::Finished => "finished".to_owned(),
        LeaseState::Released => "stopped".to_owned(),
    }
}

/// The same without a subject: a line of its own.
pub fn state(state: &LeaseState) -> String {
    match state {
        LeaseState::Staging { done, total } => {
            format!("fetching inputs: {} of {}", ion_protocol::Bytes(*done), ion_protocol::Bytes(*total))
        }
        LeaseState::Running { done, total } => format!("running: {done} of {total} launches"),
        LeaseState::Unknown | LeaseState::Waiting | LeaseState::Finished | LeaseState::Released => {
            lease(state)
        }
    }
}

/// How a job ended.
pub fn end_of_job(end: &JobEnd) -> String {
    match end {
        JobEnd::Done { attempt } => format!("done at try {attempt}"),
        JobEnd::Failed { fault } => format!("failed: {fault}"),
        JobEnd::Cancelled => "cancelled".to_owned(),
    }
}

/// What the owner of a job can do about a fault.
pub fn fault_hint(fault: &Fault) -> &'static str {
    use ion_protocol::fault::Blame;
    if let Fault::Results { .. } = fault {
        return "make room on the disk of the data directory, or raise `--blob-quota`; then run it again";
    }
    match fault.blame() {
        Blame::Job => {
            "the program is wrong and fails everywhere; try it with `ion exec JOB.toml --backend cpu`"
        }
        Blame::Limit => "raise the limit in the manifest's [limits], or make the program smaller",
        Blame::Host => "`ion why` says who was tried and what would change it; then run it again",
        Blame::Cancelled => "run it again when you like",
    }
}
