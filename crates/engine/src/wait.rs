//! Waiting for a container to be in a state.

use std::sync::Arc;

use berth_monitor::protocol::{SlowClient, Streams as WireStreams, Target};

use crate::attachment::{AttachEvent, Attachment};
use crate::core::Core;
use crate::engine::Engine;
use crate::error::{HealError, Interrupted, QueryError};
use crate::request::WaitCondition;
use crate::view::{ContainerState, ContainerStatus, WaitOutcome};
use crate::watch::Watch;

/// What one look at a container gives.
enum Look {
    /// It is as the condition says.
    Done(WaitOutcome),
    /// It runs; its monitor will tell of its end.
    Listen(Box<berth_monitor::client::Connection>),
    /// Not yet.
    NotYet,
}

impl Engine {
    /// Waits until a container is as the condition says. Of one that is removed meanwhile the exit
    /// code is told if its end was seen.
    pub async fn wait(
        &self,
        container: &str,
        condition: WaitCondition,
    ) -> Result<WaitOutcome, QueryError> {
        let id = self.resolve(container).await?;
        let run = self.core.paths.run(&id);
        let watch = Watch::new(&[&run, &self.core.paths.runs()]);
        let mut seen = None;
        let mut first = self.state(&id).await.ok();
        loop {
            match self.look(&id, condition, first.take()).await? {
                Look::Done(outcome) => {
                    return Ok(WaitOutcome { exit_code: outcome.exit_code.or(seen) });
                }
                Look::NotYet => watch.changed().await,
                Look::Listen(connection) => {
                    let ended = self.listen(&id, *connection).await;
                    if let Some(code) = ended {
                        seen = code;
                        if condition != WaitCondition::Removed {
                            self.settle_end(&id).await;
                            return Ok(WaitOutcome { exit_code: code });
                        }
                    }
                }
            }
        }
    }

    /// The exit code that the monitor tells; `None` when it was lost before the end.
    async fn listen(
        &self,
        id: &str,
        connection: berth_monitor::client::Connection,
    ) -> Option<Option<i32>> {
        let attachment = Attachment::new(connection, Target::container(id), None).ok()?;
        loop {
            match attachment.next().await {
                Ok(Some(AttachEvent::Exited(status))) => return Some(status.code),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Lets whoever cleans up come to an end, so that a waiter finds the container settled.
    async fn settle_end(&self, id: &str) {
        let (core, id) = (Arc::clone(&self.core), id.to_owned());
        // A failure is for the one who cleans up to tell.
        let _ = tokio::task::spawn_blocking(move || core.clean_up_now(&id)).await;
    }

    async fn look(
        &self,
        id: &str,
        condition: WaitCondition,
        first: Option<ContainerState>,
    ) -> Result<Look, QueryError> {
        let (core, id) = (Arc::clone(&self.core), id.to_owned());
        let task =
            tokio::task::spawn_blocking(move || look(&core, &id, condition, first.is_some()));
        task.await.map_err(|_| Interrupted)?
    }
}

fn look(
    core: &Core,
    id: &str,
    condition: WaitCondition,
    is_first: bool,
) -> Result<Look, QueryError> {
    let gone = Look::Done(WaitOutcome { exit_code: None });
    let Some(record) = core.records().container(id)? else { return Ok(gone) };
    let settled = core.settle(record).map_err(|error: HealError| QueryError::Heal(error))?;
    let Some((record, observed)) = settled else { return Ok(gone) };
    let status = observed.state.status;
    let lives = status.is_active() || status == ContainerStatus::Restarting;
    let is_starting = status == ContainerStatus::Created && record.launch.is_some();
    let done = match condition {
        WaitCondition::Stopped => !lives && !is_starting,
        WaitCondition::NextExit => false,
        WaitCondition::Running => status == ContainerStatus::Running,
        WaitCondition::Created => status == ContainerStatus::Created,
        WaitCondition::Paused => status == ContainerStatus::Paused,
        WaitCondition::Removed => false,
    };
    // An exit between two looks is one, too.
    let was_next_exit = condition == WaitCondition::NextExit
        && !is_first
        && status == ContainerStatus::Exited
        && observed.status.is_some();
    if done || was_next_exit {
        // One that never ran has nothing to wait for, and counts as a success.
        let never_ran = condition == WaitCondition::Stopped
            && status == ContainerStatus::Created
            && observed.state.error.is_none();
        let exit_code = if never_ran { Some(0) } else { observed.state.exit_code };
        return Ok(Look::Done(WaitOutcome { exit_code }));
    }
    let waits_for_end = matches!(
        condition,
        WaitCondition::Stopped | WaitCondition::NextExit | WaitCondition::Removed
    );
    if lives
        && waits_for_end
        && let Ok(mut connection) = core.monitor(id)
        && connection.attach(id, WireStreams::NONE, SlowClient::Wait).is_ok()
    {
        return Ok(Look::Listen(Box::new(connection)));
    }
    Ok(Look::NotYet)
}
