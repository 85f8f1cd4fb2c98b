//! The engine: every operation that a front end can call.
//!
//! The methods are thin: each hands its synchronous work to tokio's blocking pool in one piece, and
//! waits asynchronously for what takes its time (streams, exits, logs).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use berth_image::RemoveMode;
use berth_monitor::protocol::Target;

use crate::attachment::Attachment;
use crate::config::EngineConfig;
use crate::copy::CopyOptions;
use crate::core::Core;
use crate::error::*;
use crate::events::EventsOptions;
use crate::filter::{Filter, ListFilter};
use crate::launch::{Purpose, Started};
use crate::logs::LogStream;
use crate::prune::PruneOptions;
use crate::request::*;
use crate::signal::Signal;
use crate::view::*;
use crate::watch::Watch;

/// The engine. Cheap to clone; all state is on disk, so any number may be open at once, in one
/// process or in many.
///
/// Its methods want a tokio runtime with I/O and time enabled; `current_thread` is enough. A
/// container is named by its name, its id or a unique prefix of its id.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
}

/// Events, as they come.
#[derive(Debug)]
pub struct EventStream {
    core: Arc<Core>,
    options: EventsOptions,
    seen: BTreeSet<(jiff::Timestamp, String, String)>,
    ready: VecDeque<Event>,
    last_look: bool,
}

impl EventStream {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Event>, EventsError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.last_look {
                return Ok(None);
            }
            let is_over = self.options.until.is_some_and(|until| jiff::Timestamp::now() > until);
            self.last_look = !self.options.follow || is_over;
            let core = Arc::clone(&self.core);
            let options = self.options.clone();
            let mut seen = std::mem::take(&mut self.seen);
            let task = tokio::task::spawn_blocking(move || {
                let events = core.events(&options, &mut seen);
                (seen, events)
            });
            let (seen, events) = task.await.map_err(|_| Interrupted)?;
            self.seen = seen;
            self.ready.extend(events?);
            if self.ready.is_empty() && !self.last_look {
                let common = self.core.paths.events();
                let mut paths = vec![self.core.paths.runroot.clone(), common];
                paths.extend(runs(&self.core));
                let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
                Watch::new(&paths).changed().await;
            }
        }
    }
}

/// The run directories of all containers.
fn runs(core: &Core) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(core.paths.runs());
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

impl Engine {
    /// Opens the engine: makes its directories and database where they are missing, and settles
    /// what a reboot left behind. It reads and writes a few files and does not wait for anything
    /// else, so it is not async.
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        Ok(Self { core: Arc::new(Core::open(config)?) })
    }

    /// Its configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.core.config
    }

    /// The image store. Removing goes through [`Engine::remove_image`], which knows the containers.
    pub fn images(&self) -> &berth_image::Store {
        &self.core.images
    }

    /// Does synchronous work on the blocking pool.
    async fn work<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Interrupted> + Send + 'static,
        F: FnOnce(&Arc<Core>) -> Result<T, E> + Send + 'static,
    {
        let core = Arc::clone(&self.core);
        tokio::task::spawn_blocking(move || work(&core)).await.map_err(|_| Interrupted)?
    }

    /// Records a container. Its files and its process come with its first start.
    pub async fn create(&self, request: ContainerRequest) -> Result<Created, CreateError> {
        self.work(move |core| Ok(core.create(request, Purpose::Create)?.created)).await
    }

    /// Starts a created or exited container.
    pub async fn start(
        &self,
        container: &str,
        options: StartOptions,
    ) -> Result<Option<Attachment>, StartError> {
        let word = container.to_owned();
        let started = self.work(move |core| core.start(&word, options)).await?;
        self.attachment(started, options)
    }

    /// The attachment of whoever started a container.
    fn attachment(
        &self,
        started: Started,
        options: StartOptions,
    ) -> Result<Option<Attachment>, StartError> {
        if options.attach == Attach::None {
            return Ok(None);
        }
        let target = Target::container(started.id);
        let owner = Some(Arc::clone(&self.core));
        match Attachment::new(started.connection, target, owner) {
            Ok(attachment) => Ok(Some(attachment)),
            Err(AttachError::File(error)) => Err(error.into()),
            Err(_) => Err(Interrupted.into()),
        }
    }

    /// `create` and `start` in one, faster than one after the other. When it fails after the record
    /// was made, nothing of the container is left if it was to be removed (`--rm`), else the
    /// container stays, `created`.
    pub async fn run(
        &self,
        request: ContainerRequest,
        options: StartOptions,
    ) -> Result<Running, RunError> {
        let (created, started) = self
            .work(move |core| -> Result<_, RunError> {
                let recorded = core.create(request, Purpose::Run)?;
                let id = recorded.created.id.clone();
                match core.launch(recorded.record, options, &recorded.lock) {
                    Ok(started) => Ok((recorded.created, started)),
                    Err(error) => {
                        core.let_go(&id, recorded.lock);
                        Err(error.into())
                    }
                }
            })
            .await?;
        let attachment = self.attachment(started, options)?;
        Ok(Running { created, attachment })
    }

    /// Attaches to a running container.
    pub async fn attach(
        &self,
        container: &str,
        streams: Streams,
    ) -> Result<Attachment, AttachError> {
        let word = container.to_owned();
        let (id, connection) = self
            .work(move |core| -> Result<_, AttachError> {
                let (record, observed) = core.settled::<AttachError>(&word)?;
                crate::control::must_be_active(&record, &observed, "attach to")?;
                let mut connection = core.monitor(&record.id)?;
                let slow = berth_monitor::protocol::SlowClient::Wait;
                connection
                    .attach(&record.id, crate::launch::wire_streams(streams), slow)
                    .map_err(MonitorError::request("attach to", &record.id))?;
                Ok((record.id, connection))
            })
            .await?;
        Attachment::new(connection, Target::container(id), None)
    }

    /// Executes a command in a running container.
    pub async fn exec(
        &self,
        container: &str,
        request: ExecRequest,
    ) -> Result<ExecSession, ExecError> {
        let word = container.to_owned();
        let is_attached = request.attach.is_some();
        let session = self.work(move |core| core.exec(&word, &request)).await?;
        let target = Target::exec(session.container, session.id.clone());
        let attachment = if is_attached {
            match Attachment::new(session.connection, target, None) {
                Ok(attachment) => Some(attachment),
                Err(AttachError::File(error)) => return Err(error.into()),
                Err(_) => return Err(Interrupted.into()),
            }
        } else {
            None
        };
        Ok(ExecSession { id: session.id, pid: session.pid, attachment })
    }

    /// Stops a container: its stop signal, then SIGKILL. It stays stopped, whatever its restart
    /// policy.
    pub async fn stop(&self, container: &str, options: StopOptions) -> Result<Stopped, StopError> {
        let word = container.to_owned();
        self.work(move |core| core.stop(&word, options)).await
    }

    /// Sends a signal to a container's first process. After SIGKILL its restart policy does not
    /// bring it back.
    pub async fn kill(&self, container: &str, signal: Signal) -> Result<(), SignalError> {
        let word = container.to_owned();
        self.work(move |core| core.kill(&word, signal)).await
    }

    /// Stops a container if it runs and starts it.
    pub async fn restart(&self, container: &str, options: StopOptions) -> Result<(), StartError> {
        let word = container.to_owned();
        self.work(move |core| {
            core.stop(&word, options)?;
            core.start(&word, StartOptions::default()).map(drop)
        })
        .await
    }

    /// Has the monitor of a container execute the installed program in place, if it is another:
    /// pid, children, log and clients stay. `None` when no monitor runs for the container.
    pub async fn migrate(&self, container: &str) -> Result<Option<MigratedMonitor>, MigrateError> {
        let word = container.to_owned();
        self.work(move |core| core.migrate(&word)).await
    }

    /// Removes a container; gives its id.
    pub async fn remove(
        &self,
        container: &str,
        options: RemoveOptions,
    ) -> Result<String, RemoveError> {
        let word = container.to_owned();
        self.work(move |core| core.remove(&word, options)).await
    }

    /// Lists containers, newest first. Reads files only.
    pub async fn list(&self, filter: ListFilter) -> Result<Vec<ContainerSummary>, QueryError> {
        self.work(move |core| core.list(&filter)).await
    }

    /// The full id of a container.
    pub async fn resolve(&self, container: &str) -> Result<String, QueryError> {
        let word = container.to_owned();
        self.work(move |core| Ok(core.find::<QueryError>(&word)?.id)).await
    }

    /// A container's state alone.
    pub async fn state(&self, container: &str) -> Result<ContainerState, QueryError> {
        let word = container.to_owned();
        self.work(move |core| Ok(core.settled::<QueryError>(&word)?.1.state)).await
    }

    /// Everything about a container, in podman's and docker's form.
    pub async fn inspect(
        &self,
        container: &str,
        size: bool,
    ) -> Result<serde_json::Value, QueryError> {
        let word = container.to_owned();
        self.work(move |core| core.inspect(&word, size)).await
    }

    /// A container's log.
    pub async fn logs(
        &self,
        container: &str,
        options: LogsOptions,
    ) -> Result<LogStream, LogsError> {
        let word = container.to_owned();
        let wanted = options.clone();
        let (id, reader, ready) = self.work(move |core| core.open_log(&word, &wanted)).await?;
        Ok(LogStream::new(Arc::clone(&self.core), id, options, reader, ready))
    }

    /// A container's processes. Descriptors are podman's (`pid`, `hpid`, `user`, `comm`, `args`, …);
    /// empty gives `user pid ppid pcpu etime tty time args`.
    pub async fn top(&self, container: &str, descriptors: &[String]) -> Result<Top, QueryError> {
        let (word, descriptors) = (container.to_owned(), descriptors.to_vec());
        self.work(move |core| core.top(&word, &descriptors)).await
    }

    /// Freezes a container.
    pub async fn pause(&self, container: &str) -> Result<(), SignalError> {
        let word = container.to_owned();
        self.work(move |core| core.pause(&word)).await
    }

    /// Thaws a container.
    pub async fn unpause(&self, container: &str) -> Result<(), SignalError> {
        let word = container.to_owned();
        self.work(move |core| core.unpause(&word)).await
    }

    /// What a path in a container is. The container may be stopped.
    pub async fn stat_path(&self, container: &str, path: &Path) -> Result<PathStat, CopyError> {
        let (word, path) = (container.to_owned(), path.to_owned());
        self.work(move |core| core.stat_path(&word, &path)).await
    }

    /// Extracts a tar stream below a directory of the container (docker's PUT archive).
    pub async fn copy_to(
        &self,
        container: &str,
        directory: &Path,
        archive: Box<dyn Read + Send>,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let (word, path, mut archive) = (container.to_owned(), directory.to_owned(), archive);
        self.work(move |core| core.copy_to(&word, &path, archive.as_mut(), options)).await
    }

    /// Writes a path of the container as a tar stream, its last component first (docker's GET
    /// archive).
    pub async fn copy_from(
        &self,
        container: &str,
        path: &Path,
        archive: Box<dyn Write + Send>,
    ) -> Result<PathStat, CopyError> {
        let (word, path, mut archive) = (container.to_owned(), path.to_owned(), archive);
        self.work(move |core| core.copy_from(&word, &path, archive.as_mut())).await
    }

    /// `cp HOST CONTAINER:PATH` with docker's rules for trailing slashes, `/.`, and what exists.
    pub async fn copy_from_host(
        &self,
        host: &Path,
        container: &str,
        path: &Path,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let (host, word, path) = (host.to_owned(), container.to_owned(), path.to_owned());
        self.work(move |core| core.copy_from_host(&host, &word, &path, options)).await
    }

    /// `cp CONTAINER:PATH HOST` with the same rules.
    pub async fn copy_to_host(
        &self,
        container: &str,
        path: &Path,
        host: &Path,
        options: CopyOptions,
    ) -> Result<(), CopyError> {
        let (host, word, path) = (host.to_owned(), container.to_owned(), path.to_owned());
        self.work(move |core| core.copy_to_host(&word, &path, &host, options)).await
    }

    /// One sample of each container's use of resources; of all running ones when none is named.
    pub async fn stats(
        &self,
        containers: &[String],
    ) -> Result<Vec<ContainerStatistics>, QueryError> {
        let words = containers.to_vec();
        self.work(move |core| core.stats(&words)).await
    }

    /// Renames a container.
    pub async fn rename(&self, container: &str, name: &str) -> Result<(), UpdateError> {
        let (word, name) = (container.to_owned(), name.to_owned());
        self.work(move |core| core.rename(&word, &name)).await
    }

    /// Changes limits, and the restart policy if one is given, of a container, running or not.
    pub async fn update(
        &self,
        container: &str,
        resources: Resources,
        restart: Option<RestartPolicy>,
    ) -> Result<(), UpdateError> {
        let word = container.to_owned();
        self.work(move |core| core.update(&word, &resources, restart)).await
    }

    /// Cleans up after an exited container, and removes it with `--rm`: what the monitor calls
    /// through `container cleanup ID`. Does nothing for one that runs or is gone.
    pub async fn cleanup(&self, container: &str) -> Result<(), PruneError> {
        let word = container.to_owned();
        self.work(move |core| {
            let record = match core.find::<PruneError>(&word) {
                Ok(record) => record,
                Err(PruneError::Find(FindError::NotFound(_))) => return Ok(()),
                Err(error) => return Err(error),
            };
            Ok(core.clean_up_now(&record.id)?)
        })
        .await
    }

    /// Removes containers that don't run.
    pub async fn prune(&self, filters: &[Filter]) -> Result<Pruned, PruneError> {
        let filters = filters.to_vec();
        self.work(move |core| core.prune(&filters)).await
    }

    /// Mends what killed processes left behind, and removes what the options name.
    pub async fn system_prune(&self, options: PruneOptions) -> Result<Pruned, PruneError> {
        self.work(move |core| core.system_prune(&options)).await
    }

    /// Creates a volume; the name is generated when absent.
    pub async fn volume_create(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, VolumeError> {
        let name = name.map(str::to_owned);
        self.work(move |core| core.create_volume(name.as_deref(), &labels)).await
    }

    /// Lists volumes, by name.
    pub async fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        self.work(move |core| core.list_volumes()).await
    }

    /// Removes a volume; with `force` its containers too.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), VolumeError> {
        let name = name.to_owned();
        self.work(move |core| core.remove_volume(&name, force)).await
    }

    /// Removes volumes that no container uses; gives their names.
    pub async fn volume_prune(&self) -> Result<Vec<String>, VolumeError> {
        self.work(move |core| core.prune_volumes()).await
    }

    /// Finds an image; the embedded one is loaded when it is asked for and not there.
    pub async fn image(&self, name: &str) -> Result<berth_image::Image, ImagesError> {
        let name = name.to_owned();
        self.work(move |core| Ok(core.image(&name)?)).await
    }

    /// Removes an image, or one of its names; knows which containers use it.
    pub async fn remove_image(
        &self,
        name: &str,
        mode: RemoveMode,
    ) -> Result<berth_image::Removed, ImagesError> {
        let name = name.to_owned();
        self.work(move |core| core.remove_image(&name, mode)).await
    }

    /// Removes dangling images; with `all`, every image that no container uses.
    pub async fn prune_images(&self, all: bool) -> Result<berth_image::Removed, ImagesError> {
        self.work(move |core| core.prune_images(all)).await
    }

    /// Events of containers, from their files.
    #[expect(clippy::unused_async, reason = "as the other operations that give a stream")]
    pub async fn events(&self, options: EventsOptions) -> Result<EventStream, EventsError> {
        Ok(EventStream {
            core: Arc::clone(&self.core),
            options,
            seen: BTreeSet::new(),
            ready: VecDeque::new(),
            last_look: false,
        })
    }

    /// What there is: versions, paths, the machine.
    pub async fn info(&self) -> Result<Info, QueryError> {
        self.work(move |core| core.info()).await
    }
}
