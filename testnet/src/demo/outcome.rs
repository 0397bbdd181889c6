//! What the demo shows at its end.

use crate::table::{Align, Table};
use ion_protocol::{Millis, NanoIo, Nanos};
use serde::Serialize;
use std::path::PathBuf;

/// Everything that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// From start to end, the build not counted.
    #[serde(rename = "took_ms")]
    pub took: Millis,
    /// Who took part.
    pub nodes: Vec<NodeLine>,
    /// What was computed.
    pub jobs: Vec<JobLine>,
    /// Who died, and what came of it.
    pub death: Death,
    /// The Mandelbrot set.
    pub picture: PathBuf,
    /// Left in place, if asked for.
    pub kept: Option<PathBuf>,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct NodeLine {
    /// As in the table.
    pub name: String,
    /// `network node`, `provider`, `light node`.
    pub role: String,
    /// Its public key.
    pub id: String,
}

/// One job.
#[derive(Clone, Debug, Serialize)]
pub struct JobLine {
    /// What it computes.
    pub title: String,
    /// Its id.
    pub job: String,
    /// The try that succeeded.
    pub attempt: u32,
    /// Who ran it.
    pub provider: String,
    /// The device's model.
    pub device: String,
    /// What executed the kernels.
    pub engine: String,
    /// From the order to the first byte moved.
    #[serde(rename = "waiting_ms")]
    pub waiting: Millis,
    /// Inputs and outputs.
    #[serde(rename = "moving_ms")]
    pub moving: Millis,
    /// In the provider's worker.
    #[serde(rename = "running_ms")]
    pub running: Millis,
    /// Metered in kernels.
    #[serde(rename = "device_time_ns")]
    pub device_time: Nanos,
    /// Owed.
    #[serde(rename = "price_nano_io")]
    pub price: NanoIo,
    /// What was compared with the independent computation.
    pub checked: String,
    /// The receipt's id, equal on both sides.
    pub receipt: String,
}

/// A provider's death.
#[derive(Clone, Debug, Serialize)]
pub struct Death {
    /// Who.
    pub provider: String,
    /// What it was working on.
    pub job: String,
    /// Of how many launches it had finished how many, when last heard of.
    pub done: u64,
    /// All launches.
    pub total: u64,
    /// From the kill until the light node counted the attempt as lost.
    #[serde(rename = "noticed_ms")]
    pub noticed: Millis,
    /// Why it did, in its own words.
    pub why: String,
    /// Who ran the job again.
    pub rerun_on: String,
    /// From the kill to the job's end.
    #[serde(rename = "recovered_ms")]
    pub recovered: Millis,
}

impl Outcome {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new()];
        lines.extend(self.job_table().lines());
        lines.push(String::new());
        lines.extend(self.receipt_table().lines());
        let death = &self.death;
        lines.extend([
            String::new(),
            format!(
                "  {} died by kill -9 while it ran \"{}\" ({} of {} launches done).",
                death.provider, death.job, death.done, death.total
            ),
            format!("  The light node noticed after {} ({}).", death.noticed, death.why),
            format!(
                "  All {} launches ran again on {}; the job was done {} after the kill.",
                death.total, death.rerun_on, death.recovered
            ),
            String::new(),
            format!("  The picture: {}", self.picture.display()),
        ]);
        lines.extend(
            self.kept.iter().map(|dir| format!("  Keys, journals, jobs and logs: {}", dir.display())),
        );
        lines.extend([
            String::new(),
            format!(
                "{} jobs done, every result right, every receipt proven on both sides, in {}.",
                self.jobs.len(),
                self.took
            ),
        ]);
        lines
    }

    fn job_table(&self) -> Table {
        let mut table = Table::new(&[
            ("job", Align::Left),
            ("provider", Align::Left),
            ("device", Align::Left),
            ("engine", Align::Left),
            ("waiting", Align::Right),
            ("moving", Align::Right),
            ("running", Align::Right),
            ("price", Align::Right),
            ("result", Align::Left),
        ]);
        for job in &self.jobs {
            table.row(vec![
                job.title.clone(),
                job.provider.clone(),
                job.device.clone(),
                job.engine.clone(),
                job.waiting.to_string(),
                job.moving.to_string(),
                job.running.to_string(),
                job.price.to_string(),
                job.checked.clone(),
            ]);
        }
        table
    }

    fn receipt_table(&self) -> Table {
        let mut table = Table::new(&[
            ("receipt of", Align::Left),
            ("receipt", Align::Left),
            ("signed by", Align::Left),
            ("countersigned by", Align::Left),
            ("verified offline", Align::Left),
        ]);
        for job in &self.jobs {
            table.row(vec![
                job.title.clone(),
                job.receipt.chars().take(16).collect(),
                job.provider.clone(),
                "light".to_owned(),
                "at both, and equal".to_owned(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_never_hidden() {
        let outcome = Outcome {
            took: Millis(42_000),
            nodes: Vec::new(),
            jobs: vec![JobLine {
                title: "saxpy over 1 024 elements".to_owned(),
                job: "00".to_owned(),
                attempt: 1,
                provider: "provider-2".to_owned(),
                device: "Some Processor".to_owned(),
                engine: "CPU: ptx jit".to_owned(),
                waiting: Millis(3),
                moving: Millis(20),
                running: Millis(1500),
                device_time: Nanos(1_000_000),
                price: NanoIo(2_500_000),
                checked: "1 024 values equal, bit for bit".to_owned(),
                receipt: "0123456789abcdef0123".to_owned(),
            }],
            death: Death {
                provider: "provider-3".to_owned(),
                job: "long walk".to_owned(),
                done: 7,
                total: 20,
                noticed: Millis(12),
                why: "connection lost".to_owned(),
                rerun_on: "provider-1".to_owned(),
                recovered: Millis(9000),
            },
            picture: PathBuf::from("p.png"),
            kept: None,
        };
        let text = outcome.lines().join("\n");
        for part in [
            "provider-2",
            "Some Processor",
            "CPU: ptx jit",
            "1.50 s",
            "0.0025 IO",
            "0123456789abcdef  provider-2",
            "provider-3 died by kill -9",
            "noticed after 12 ms",
            "All 20 launches ran again on provider-1",
            "1 jobs done, every result right",
        ] {
            assert!(text.contains(part), "no \"{part}\" in:\n{text}");
        }
    }
}
