//! What the machine has, asked of children: one for the driver, one for the processor, at the same time.

use super::{
    BackendChoice, Patience, WorkersConfig,
    child::{Spawner, VISIBLE_DEVICES, how, millis},
    job_memory, measured,
};
use crate::clock::wall;
use ion_gpu::{
    power::Measured,
    probe::{Answer, CudaState, ProbeReport, Question},
    worker::{EngineChoice, Task, frame},
};
use ion_protocol::{codec, hardware::Device, limits::DEVICES_MAX};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Why a probing child gave no answer.
enum Silence {
    Crashed(String),
    Hung(Duration),
    Babbled(String),
}

/// How children come to a device.
#[derive(Clone, Debug)]
pub struct Way {
    pub engine: EngineChoice,
    /// Where the driver has to be told to show it, and nothing else.
    pub shown: Option<String>,
}

/// The report, and the way to each of its devices.
pub async fn probe(spawner: &Spawner, config: &WorkersConfig, patience: Patience) -> (ProbeReport, Vec<Way>) {
    let ask_cuda = async {
        match config.backend {
            BackendChoice::Cpu => Cuda::of(nothing(CudaState::NotAsked)),
            BackendChoice::Auto | BackendChoice::Cuda => {
                let known = known(config).await;
                let cuda = match ask(spawner, Question::Cuda, &known, patience.driver).await {
                    Ok(answer) => Cuda::of(answer),
                    Err(silence) => Cuda::of(nothing(state(silence))),
                };
                let mut cuda = cuda.with_parts(spawner, &known, patience.driver).await;
                cuda.answer = note(config, cuda.answer).await;
                cuda
            }
        }
    };
    let ask_cpu = async {
        match config.backend {
            BackendChoice::Cuda => Ok(None),
            BackendChoice::Auto | BackendChoice::Cpu => {
                let question = Question::Cpu { memory: job_memory(config) };
                ask(spawner, question, &[], patience.processor).await.map(Some)
            }
        }
    };
    let (Cuda { answer: cuda, ways }, cpu) = tokio::join!(ask_cuda, ask_cpu);
    let (cpu, cpu_trouble) = match cpu {
        Ok(cpu) => (cpu, None),
        Err(silence) => (None, Some(words(silence))),
    };
    let nvrtc = cuda.nvrtc || cpu.as_ref().is_some_and(|cpu| cpu.nvrtc);
    let no_gpus = cuda.devices.is_empty();
    let of_cpu = cpu.as_ref().and_then(|cpu| cpu.isolation.clone());
    let isolation = if no_gpus { of_cpu } else { cuda.isolation };
    let lent = |device: Device| Device { memory: config.keep_free.of(device.memory), ..device };
    let uuids = if no_gpus { vec![String::new()] } else { cuda.uuids };
    let gpus = ways.into_iter().zip(cuda.devices).map(|(way, (_, device))| (way, lent(device)));
    let mut found: Vec<(Way, Device)> = gpus.collect();
    if found.is_empty() {
        let way = || Way { engine: EngineChoice::Cpu, shown: None };
        found.extend(cpu.into_iter().flat_map(|cpu| cpu.devices).map(|(_, device)| (way(), device)));
    }
    let (ways, devices) = found
        .into_iter()
        .enumerate()
        .map(|(index, (way, device))| (way, Device { index: index as u16, ..device }))
        .unzip();
    let cards = cuda.cards;
    (ProbeReport { cuda: cuda.cuda, cpu_trouble, nvrtc, devices, uuids, cards, isolation }, ways)
}

/// What the driver's children said, and the way to each device of theirs.
struct Cuda {
    answer: Answer,
    ways: Vec<Way>,
}

impl Cuda {
    fn of(answer: Answer) -> Self {
        let way = |ordinal| Way { engine: EngineChoice::Cuda { ordinal }, shown: None };
        let ways = answer.devices.iter().map(|(ordinal, _)| way(*ordinal)).collect();
        Self { answer, ways }
    }

    /// Adds the parts of partitioned cards (MIG) that the driver did not show: it shows one to a process, so each is asked for in
    /// one of its own. An owner who chose devices has chosen.
    async fn with_parts(mut self, spawner: &Spawner, known: &[Measured], patience: Duration) -> Self {
        if std::env::var_os(VISIBLE_DEVICES).is_some() {
            return self;
        }
        let seen = self.answer.uuids.clone();
        let unseen = self.answer.cards.iter().flatten().filter(|card| !seen.contains(&card.uuid));
        let room = DEVICES_MAX.saturating_sub(seen.len());
        let parts: Vec<(String, String)> = unseen
            .filter_map(|card| Some((card.uuid.clone(), card.part_of.as_ref().map(|_| card.model.clone())?)))
            .take(room)
            .collect();
        let asked = parts.into_iter().map(|(uuid, model)| async move {
            let spawner = spawner.showing(Some(uuid.clone()));
            let answer = ask(&spawner, Question::Cuda, known, patience).await;
            (uuid, model, answer.unwrap_or_else(|silence| nothing(state(silence))))
        });
        for (uuid, model, answer) in futures::future::join_all(asked).await {
            self.add(uuid, &model, answer);
        }
        self
    }

    fn add(&mut self, uuid: String, model: &str, part: Answer) {
        let all = &mut self.answer;
        if let ([(ordinal, device)], [found]) = (&part.devices[..], &part.uuids[..])
            && *found == uuid
        {
            if all.devices.is_empty() {
                all.cuda = part.cuda;
            }
            all.devices.push((*ordinal, device.clone()));
            all.uuids.push(uuid.clone());
            all.measured.extend(part.measured);
            all.isolation = all.isolation.take().or(part.isolation);
            self.ways.push(Way { engine: EngineChoice::Cuda { ordinal: *ordinal }, shown: Some(uuid) });
        } else if let CudaState::Works { left_out, .. } = &mut all.cuda {
            left_out.push(format!("{uuid}, a part of {model}: shown alone, the driver says: {}", part.cuda));
        }
    }
}

/// What was measured of the cards before.
async fn known(config: &WorkersConfig) -> Vec<Measured> {
    let Some(file) = config.measured.clone() else { return Vec::new() };
    tokio::task::spawn_blocking(move || measured::read(&file, wall())).await.unwrap_or_default()
}

/// Keeps what was measured now.
async fn note(config: &WorkersConfig, mut answer: Answer) -> Answer {
    let found = std::mem::take(&mut answer.measured);
    if let Some(file) = config.measured.clone() {
        // It is for the next start: whatever goes wrong is told there, in the log.
        let _ = tokio::task::spawn_blocking(move || measured::note(&file, found, wall())).await;
    }
    answer
}

fn nothing(cuda: CudaState) -> Answer {
    let (devices, uuids, measured) = (Vec::new(), Vec::new(), Vec::new());
    Answer { cuda, nvrtc: false, devices, uuids, cards: None, measured, isolation: None }
}

fn state(silence: Silence) -> CudaState {
    match silence {
        Silence::Crashed(how) => CudaState::ProbeCrashed { how },
        Silence::Hung(after) => CudaState::ProbeHung { after: millis(after) },
        Silence::Babbled(what) => CudaState::ProbeBabbled { what },
    }
}

fn words(silence: Silence) -> String {
    match silence {
        Silence::Crashed(how) => format!("the child that measures the processor died ({how})"),
        Silence::Hung(after) => format!("measuring the processor took longer than {}", millis(after)),
        Silence::Babbled(what) => format!("the child that measures the processor made no sense ({what})"),
    }
}

/// Asks one child, tells it what is known, and waits for its answer and its end.
async fn ask(
    spawner: &Spawner,
    question: Question,
    known: &[Measured],
    patience: Duration,
) -> Result<Answer, Silence> {
    let answered = timeout(patience, async {
        let mut probe = spawner
            .probe(Task::Probe(question))
            .await
            .map_err(|error| Silence::Crashed(format!("it could not be started: {error}")))?;
        if let Some(mut stdin) = probe.process.stdin.take() {
            // A child that died says so by its end.
            let _ = stdin.write_all(&frame::message_frame(&known.to_vec())).await;
        }
        // One byte more than an answer can have, so that a flood is seen as one and not read to its end.
        let mut said = Vec::new();
        let most = (frame::HEADER_BYTES + frame::MESSAGE_BYTES_MAX + 1) as u64;
        let _ = (&mut probe.stdout).take(most).read_to_end(&mut said).await;
        match parse(&said) {
            Ok(answer) => Ok(answer),
            Err(what) if said.is_empty() || what.is_none() => {
                let status = probe.process.wait().await;
                Err(Silence::Crashed(status.map_or_else(|error| error.to_string(), how)))
            }
            Err(what) => Err(Silence::Babbled(what.unwrap_or_default())),
        }
    });
    answered.await.unwrap_or(Err(Silence::Hung(patience)))
}

/// The one frame of an answer; `Err(None)` where it ends too soon.
fn parse(said: &[u8]) -> Result<Answer, Option<String>> {
    let Some((head, payload)) = said.split_first_chunk() else { return Err(None) };
    let (kind, len) = frame::parse_header(*head).map_err(|error| Some(error.to_string()))?;
    if payload.len() < len {
        return Err(None);
    }
    if payload.len() > len || kind != frame::Kind::Message {
        return Err(Some("more than one answer".to_owned()));
    }
    codec::decode(payload, frame::MESSAGE_BYTES_MAX).map_err(|error| Some(error.to_string()))
}
