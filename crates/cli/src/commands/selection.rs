//! Commands on several things: which they are, and going on when one of them fails.

use std::future::poll_fn;
use std::task::Poll;

use berth_engine::view::ContainerStatus;
use berth_engine::{Engine, ErrorKind, ListFilter};
use tokio::sync::Semaphore;

use crate::args::container::{CidFiles, Selection};
use crate::failure::{FAILED, Failure};
use crate::output;

/// The containers that a command is about: those named, those in ID files, or all that `fits`.
pub async fn containers(
    engine: &Engine,
    selection: &Selection,
    files: Option<&CidFiles>,
    fits: impl Fn(ContainerStatus) -> bool,
) -> Result<Vec<String>, Failure> {
    let mut names = selection.containers.clone();
    for file in files.map(|files| files.files.as_slice()).unwrap_or_default() {
        let id = std::fs::read_to_string(file)
            .map_err(|error| Failure::cannot(format!("read {}", file.display()), &error))?;
        names.push(id.trim().to_owned());
    }
    if selection.all {
        return all(engine, fits).await;
    }
    if names.is_empty() {
        return Err(Failure::invalid("no container is named").with_hint("--all takes all of them"));
    }
    Ok(names)
}

/// The IDs of all containers whose state `fits`.
pub async fn all(
    engine: &Engine,
    fits: impl Fn(ContainerStatus) -> bool,
) -> Result<Vec<String>, Failure> {
    let list = engine.list(ListFilter { all: true, ..ListFilter::default() }).await?;
    Ok(list.into_iter().filter(|it| fits(it.state.status)).map(|it| it.id).collect())
}

/// How many things are done at the same time: each takes a thread, and mostly waits.
const AT_ONCE: usize = 128;

/// Does things at the same time; gives their results in the order in which they were given.
pub async fn together<F: Future>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let gate = Semaphore::new(AT_ONCE);
    let mut running: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            Box::pin(async {
                let _place = gate.acquire().await;
                task.await
            })
        })
        .collect();
    let mut results: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut all_ready = true;
        let unfinished = running.iter_mut().zip(&mut results).filter(|(_, it)| it.is_none());
        for (task, result) in unfinished {
            match task.as_mut().poll(context) {
                Poll::Ready(value) => *result = Some(value),
                Poll::Pending => all_ready = false,
            }
        }
        if all_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// Counts what failed while the rest goes on.
#[derive(Debug, Default)]
pub struct Tally {
    failed: Option<u8>,
}

impl Tally {
    /// Takes a result: a failure is printed and remembered.
    pub fn take<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        self.take_with(result, Failure::exit_code)
    }

    /// The same, for commands that tell by their exit code what failed.
    pub fn take_with<T>(
        &mut self,
        result: Result<T, Failure>,
        code: impl Fn(&Failure) -> u8,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(failure) => {
                output::failure(&failure);
                let code = code(&failure);
                self.failed = Some(match self.failed {
                    None => code,
                    Some(before) if before == code => code,
                    Some(_) => FAILED,
                });
                None
            }
        }
    }

    /// What the command exits with: 0, or the code that all failures have in common.
    pub fn exit_code(&self) -> u8 {
        self.failed.unwrap_or(0)
    }
}

/// The exit codes of `rm`, `rmi` and `volume rm`: 1 for what is not there, 2 for what is in use.
pub fn removal_code(failure: &Failure) -> u8 {
    match failure.kind() {
        ErrorKind::NotFound => 1,
        ErrorKind::Conflict => 2,
        _ => failure.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_done_together_overlap_and_keep_their_order() {
        let event_loop = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let barrier = tokio::sync::Barrier::new(100);
        let tasks = (0..100).map(|number| {
            let barrier = &barrier;
            async move {
                // One after the other they would wait here for ever.
                barrier.wait().await;
                number
            }
        });
        let results = event_loop.block_on(together(tasks));
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn failures_of_one_kind_keep_their_code() {
        let missing = || Err::<(), _>(Failure::new(ErrorKind::NotFound, "no such thing"));
        let mut tally = Tally::default();
        assert_eq!(tally.exit_code(), 0);
        assert_eq!(tally.take(Ok(1)), Some(1));
        assert_eq!(tally.take_with(missing(), removal_code), None);
        assert_eq!(tally.exit_code(), 1);
        let used = Err::<(), _>(Failure::new(ErrorKind::Conflict, "in use"));
        tally.take_with(used, removal_code);
        assert_eq!(tally.exit_code(), 125);
    }
}
