//! How the cards are, look after look, from a child that asks NVIDIA's management library.
//!
//! Tells what the owner's rules need and nothing else. A child that falls silent or dies takes its knowledge along: what
//! is not known holds no device back. Tests: `node/tests/workers.rs`.

use super::child::{Spawner, read_frame};
use crate::owner::{Facts, rules};
use ion_gpu::{
    nvml::{Card, Look},
    worker::{Task, frame::Frame},
};
use std::time::Duration;
use tokio::{
    io::BufReader,
    sync::mpsc,
    time::{sleep, timeout},
};

/// What is known of devices by their index.
pub type Sights = Vec<(u16, Facts)>;

/// A child that says nothing for so long knows nothing any more.
const SILENCE: Duration = Duration::from_secs(5);
/// A child that ended is started again after this: a driver under repair is not asked all the time.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// How one child's looking ended.
enum End {
    /// There is nothing to ask.
    NoLibrary,
    /// Nobody wants to know.
    Unheard,
    /// It died, hung or talked nonsense.
    Broke,
}

/// Tells of the devices with these names, in the order of their index, until nobody listens or there is nothing to ask.
pub async fn watch(spawner: Spawner, uuids: Vec<String>, to: mpsc::Sender<Sights>) {
    let mut watch = Watch { spawner, uuids, to, ours_were_seen: false };
    loop {
        match watch.one_child().await {
            End::Unheard => return,
            End::NoLibrary => {
                let _ = watch.tell(&[]).await;
                return;
            }
            End::Broke => {
                if !watch.tell(&[]).await {
                    return;
                }
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

struct Watch {
    spawner: Spawner,
    uuids: Vec<String>,
    to: mpsc::Sender<Sights>,
    /// Whether the library's numbers were seen to be those of this system.
    ours_were_seen: bool,
}

impl Watch {
    async fn one_child(&mut self) -> End {
        let Ok(child) = self.spawner.probe(Task::Watch).await else { return End::Broke };
        let mut stdout = BufReader::new(child.stdout);
        loop {
            match timeout(SILENCE, read_frame::<Look>(&mut stdout)).await {
                Ok(Ok(Some(Frame::Message(Look::Cards(cards))))) => {
                    if !self.tell(&cards).await {
                        return End::Unheard;
                    }
                }
                Ok(Ok(Some(Frame::Message(Look::NoLibrary)))) => return End::NoLibrary,
                Ok(Ok(Some(Frame::Bytes(_)) | None) | Err(_)) | Err(_) => return End::Broke,
            }
        }
    }

    /// `false` when nobody listens.
    async fn tell(&mut self, cards: &[Card]) -> bool {
        let ours = self.spawner.started();
        let listed = |card: &Card| card.processes.iter().flatten().any(|pid| ours.contains(pid));
        self.ours_were_seen |= cards.iter().any(listed);
        let facts = |uuid: &String| {
            let Some(card) = cards.iter().find(|card| card.uuid == *uuid) else { return Facts::default() };
            let others =
                card.processes.as_ref().and_then(|listed| rules::others(listed, &ours, self.ours_were_seen));
            Facts { readings: card.readings, others }
        };
        let sights = self.uuids.iter().enumerate().map(|(index, uuid)| (index as u16, facts(uuid))).collect();
        self.to.send(sights).await.is_ok()
    }
}
