//! Creating and starting: from a request to a record, from a record to a bundle, and to a monitor
//! that runs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_image::bundle::{DirectoryRoot, LayersRoot, RootLookup};
use berth_monitor::client::{self, Connection};
use berth_monitor::protocol as wire;
use berth_spec::image::ImageConfig;
use berth_spec::rootfs::{OverlayMount, RootfsMount};
use berth_spec::runtime::Spec;
use jiff::Timestamp;

use crate::assemble::{self, Assembled, Context};
use crate::config::CgroupManager;
use crate::core::Core;
use crate::error::{
    CreateError, FileError, ImageError, MonitorError, RecordError, RequestError, RootError,
    StartError, StateError,
};
use crate::handler::Runtime;
use crate::heal::snapshot_driver;
use crate::hostfiles::{self, HostFiles};
use crate::identity;
use crate::lock::ContainerLock;
use crate::paths::make_private;
use crate::plan::{Details, RootSource};
use crate::records::{ContainerRecord, NewContainer, Outcome};
use crate::request::{
    Attach, ContainerRequest, ImageSource, LogDriver, NetworkMode, RemoveOptions, RestartPolicy,
    StartOptions, StdinMode, Streams,
};
use crate::state::Remedy;
use crate::view::{ContainerStatus, Created};

/// The version of the specification that a configuration for other runtimes claims: all that they
/// are given has been in it since.
const FOREIGN_VERSION: &str = "1.0.2";

/// What a new container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be started some time.
    Create,
    /// To be started now: the record says so from the beginning.
    Run,
}

/// A recorded container, its lock held.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) record: ContainerRecord,
    pub(crate) created: Created,
    pub(crate) lock: ContainerLock,
}

/// A container that runs, and the connection that started it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) id: String,
    pub(crate) connection: Connection,
}

/// An image's part of a container.
struct Source {
    config: ImageConfig,
    root: RootSource,
    name: String,
    id: String,
    digest: String,
    _lease: Option<berth_image::Lease>,
}

impl Core {
    /// Records a container.
    pub(crate) fn create(
        &self,
        request: ContainerRequest,
        purpose: Purpose,
    ) -> Result<Recorded, CreateError> {
        let source = self.source(&request.image)?;
        let id = identity::new_id();
        let mut request = request;
        self.runtime(request.runtime.as_deref())?;
        // Whoever deals with the container later may have another default.
        request.runtime.get_or_insert_with(|| self.config.runtime.clone());
        self.join_volumes_from(&mut request)?;
        if request.replace {
            self.remove_namesake(&request)?;
        }
        let Assembled { mut details, warnings } = self.assemble(&id, request, &source)?;
        details.image_digest.clone_from(&source.digest);
        let launch = (purpose == Purpose::Run).then(|| self.launch_now());
        // From here on the container exists; its lock keeps healers off until it is settled.
        let lock = self.lock(&id)?;
        let volumes = assemble::volumes_of(&details.mounts);
        let created = Timestamp::now();
        let request = &details.request;
        let new = NewContainer {
            id: &id,
            name: request.name.as_deref(),
            created,
            image: &source.name,
            image_id: &source.id,
            remove: request.remove,
            launch: launch.as_ref(),
            details: &details,
            volumes: &volumes,
        };
        let inserted = self.records().insert(&new);
        let name = match inserted {
            Ok(name) => name,
            Err(error) => {
                lock.discard();
                return Err(error.into());
            }
        };
        let record = ContainerRecord {
            id: id.clone(),
            name: name.clone(),
            created,
            image: source.name,
            image_id: source.id,
            remove: details.request.remove,
            removing: false,
            launch,
            outcome: None,
            details,
        };
        crate::events::append(&self.paths.events(), &record, "create", &[]);
        Ok(Recorded { record, created: Created { id, name, warnings }, lock })
    }

    fn assemble(
        &self,
        id: &str,
        request: ContainerRequest,
        source: &Source,
    ) -> Result<Assembled, CreateError> {
        let run = self.paths.run(id);
        let init = match (&request.init, &request.init_path) {
            (true, None) => self.init_program()?,
            _ => None,
        };
        let lookup: Box<dyn RootLookup> = match &source.root {
            RootSource::Layers { layers, .. } => {
                Box::new(LayersRoot::open(layers).map_err(ImageError::file(&source.name))?)
            }
            RootSource::Directory(path) => {
                Box::new(DirectoryRoot::open(path).map_err(ImageError::file(&source.name))?)
            }
        };
        let context = Context {
            id,
            run: &run,
            volumes: &self.paths.volumes(),
            cgroup_manager: self.config.cgroup_manager,
            init: init.as_deref(),
            lookup: lookup.as_ref(),
        };
        Ok(assemble::assemble(&source.config, request, source.root.clone(), &context)?)
    }

    /// The image, its layers unpacked; or the root file system as it is.
    fn source(&self, image: &ImageSource) -> Result<Source, CreateError> {
        let name = match image {
            ImageSource::Reference(name) => name,
            ImageSource::Rootfs(path) => {
                let failed = |source| RequestError::HostFile {
                    option: "--rootfs",
                    path: path.clone(),
                    source,
                };
                let path = std::fs::canonicalize(path).map_err(failed)?;
                let mut config = ImageConfig::default();
                "linux".clone_into(&mut config.platform.os);
                return Ok(Source {
                    config,
                    name: path.to_string_lossy().into_owned(),
                    root: RootSource::Directory(path),
                    id: String::new(),
                    digest: String::new(),
                    _lease: None,
                });
            }
        };
        let lease = self.images.lease().map_err(ImageError::new(name))?;
        let found = self.image(name)?;
        let layers =
            self.images.unpack(&found, &berth_image::Silent).map_err(ImageError::new(name))?;
        let reference = found.reference.as_ref().map_or_else(|| name.clone(), ToString::to_string);
        Ok(Source {
            name: reference,
            id: hexadecimal(&found.id),
            digest: found.manifest_digest.to_string(),
            root: RootSource::Layers { driver: "overlay".to_owned(), layers },
            config: found.config,
            _lease: Some(lease),
        })
    }

    /// `--replace`: the container of that name goes, running or not.
    fn remove_namesake(&self, request: &ContainerRequest) -> Result<(), CreateError> {
        let Some(name) = &request.name else { return Ok(()) };
        let found: Result<ContainerRecord, CreateError> = self.find(name);
        match found {
            Ok(record) if record.name == *name => {
                let options = RemoveOptions { force: true, ..RemoveOptions::default() };
                self.remove(&record.id, options)?;
                Ok(())
            }
            Ok(_) | Err(CreateError::Find(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Starts a container that is created or exited.
    pub(crate) fn start(&self, word: &str, options: StartOptions) -> Result<Started, StartError> {
        let record: ContainerRecord = self.find::<StartError>(word)?;
        let lock = self.lock(&record.id)?;
        let gone = || crate::error::FindError::NotFound(word.to_owned());
        let (mut record, observed) = self.heal(&record.id)?.ok_or_else(gone)?;
        let is_idle =
            matches!(observed.state.status, ContainerStatus::Created | ContainerStatus::Exited);
        if !is_idle {
            return Err(StateError {
                action: "start",
                name: record.name,
                status: observed.state.status,
            }
            .into());
        }
        // Its last run has ended, and whoever is to clean up after it has not come to that.
        if record.launch.is_some() && observed.remedy == Remedy::None {
            self.clean_up(&record, &observed.state).map_err(StartError::Heal)?;
            if self.records().container(&record.id)?.is_none() {
                lock.discard();
                return Err(gone().into());
            }
        }
        let run = self.paths.run(&record.id);
        if !client::wait_until_gone(&run, Duration::from_secs(10)) {
            return Err(MonitorError::Slow { action: "end", id: record.id }.into());
        }
        let launch = self.launch_now();
        self.records().set_launch(&record.id, &launch)?;
        record.launch = Some(launch);
        self.launch(record, options, &lock)
    }

    /// Runs a recorded container whose lock is held and whose launch is recorded. A failure leaves
    /// it created, or removed with `--rm`.
    pub(crate) fn launch(
        &self,
        record: ContainerRecord,
        options: StartOptions,
        _lock: &ContainerLock,
    ) -> Result<Started, StartError> {
        let result = self.launch_steps(&record, options);
        if let Err(error) = &result {
            // The monitor, if one was started, ends when its connection does.
            let run = self.paths.run(&record.id);
            let _ = client::wait_until_gone(&run, Duration::from_secs(5));
            let failed = Outcome {
                error: Some(crate::events::one_line(error)),
                ..record.outcome.clone().unwrap_or_default()
            };
            let undone = self.undo(&record);
            if undone.is_ok() && !record.remove {
                let _ = self.records().set_outcome(&record.id, &failed);
            }
        }
        let connection = result?;
        Ok(Started { id: record.id, connection })
    }

    fn launch_steps(
        &self,
        record: &ContainerRecord,
        options: StartOptions,
    ) -> Result<Connection, StartError> {
        let id = record.id.as_str();
        let run = self.paths.run(id);
        make_private(&run)?;
        self.clear_run(id)?;
        // The monitor starts while the bundle is written.
        let launch = self.launch_options(id)?;
        let mut connection = client::launch(&launch)
            .map_err(|source| MonitorError::Launch { id: id.to_owned(), source })?;
        let mut mount = self.prepare_root(record)?;
        self.prepare_volumes(record, &mount)?;
        if let RootfsMount::Overlay(overlay) = &mut mount
            && record.remove
            && record.details.request.restart == RestartPolicy::No
        {
            // Nothing of it outlives the container: the kernel need not write it to the disk. Such
            // a file system is mounted once and never again.
            overlay.options.push("volatile".to_owned());
        }
        let spec = self.final_spec(record)?;
        self.write_bundle(record, &run, &spec, &mount)?;
        let create = self.create_request(record, &run, options)?;
        connection.create(create).map_err(MonitorError::request("start", id))?;
        Ok(connection)
    }

    fn create_request(
        &self,
        record: &ContainerRecord,
        run: &Path,
        options: StartOptions,
    ) -> Result<wire::CreateRequest, StartError> {
        let request = &record.details.request;
        let attach = match options.attach {
            Attach::None => None,
            Attach::Streams(streams) => Some(wire_streams(streams)),
        };
        Ok(wire::CreateRequest {
            id: record.id.clone(),
            directory: run.to_owned(),
            bundle: run.join("bundle"),
            runtime: self.runtime(request.runtime.as_deref())?.into(),
            cgroup_driver: match self.config.cgroup_manager {
                CgroupManager::Cgroupfs => wire::CgroupDriver::Cgroupfs,
                CgroupManager::Systemd => wire::CgroupDriver::Systemd,
            },
            log: match request.log.driver {
                LogDriver::None => wire::LogConfig::None,
                LogDriver::K8sFile => wire::LogConfig::Path {
                    path: self.paths.log(&record.id),
                    max_size: request.log.max_size.unwrap_or(0),
                    max_files: request.log.max_files.unwrap_or(1),
                },
            },
            terminal: request.tty,
            stdin: match request.stdin {
                StdinMode::Null => wire::StdinMode::Null,
                StdinMode::Once => wire::StdinMode::Once,
                StdinMode::Open => wire::StdinMode::Open,
            },
            cleanup: if attach.is_some() {
                wire::CleanupBy::Client
            } else {
                wire::CleanupBy::Monitor
            },
            attach,
            slow: wire::SlowClient::Wait,
            start: true,
            restart: match request.restart {
                RestartPolicy::No => wire::RestartPolicy::No,
                RestartPolicy::Always => wire::RestartPolicy::Always,
                RestartPolicy::UnlessStopped => wire::RestartPolicy::UnlessStopped,
                RestartPolicy::OnFailure { max } => wire::RestartPolicy::OnFailure { max },
            },
            console_size: options
                .size
                .map(|size| wire::TerminalSize { rows: size.rows, columns: size.columns }),
        })
    }

    /// The writable layer: made at the first start, found again at later ones.
    pub(crate) fn prepare_root(&self, record: &ContainerRecord) -> Result<RootfsMount, StartError> {
        let directory = self.paths.container(&record.id);
        make_private(&directory)?;
        Ok(self.root_mount(record, &directory)?)
    }

    /// How the root file system is mounted.
    pub(crate) fn root_mount(
        &self,
        record: &ContainerRecord,
        directory: &Path,
    ) -> Result<RootfsMount, RootError> {
        let (driver, layers) = match &record.details.root {
            RootSource::Directory(path) => {
                return Ok(RootfsMount::Directory { path: path.clone() });
            }
            RootSource::Layers { driver, layers } => (driver, layers),
        };
        if let Some(known) = self.existing_root(driver, layers, directory) {
            return Ok(known);
        }
        let driver = snapshot_driver(&record.id, driver)?;
        let failed = |source| RootError::Snapshot { id: record.id.clone(), source };
        // What a killed process had begun to make is of no use.
        driver.remove(directory).map_err(failed)?;
        driver.prepare(layers, directory).map_err(failed)
    }

    /// The root file system that an earlier start, or a copy into the container, has made.
    fn existing_root(
        &self,
        driver: &str,
        layers: &[PathBuf],
        directory: &Path,
    ) -> Option<RootfsMount> {
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        let root = directory.join("rootfs");
        match driver {
            "overlay" if work.is_dir() && upper.is_dir() => {
                Some(RootfsMount::Overlay(OverlayMount {
                    lower: layers.to_vec(),
                    upper: Some(upper),
                    work: Some(work),
                    options: self.images.overlay_options(),
                }))
            }
            "copy" if root.is_dir() => Some(RootfsMount::Directory { path: root }),
            _ => None,
        }
    }

    /// The configuration with what is found out at each start.
    fn final_spec(&self, record: &ContainerRecord) -> Result<Spec, StartError> {
        let Details { spec, default_seccomp, request, .. } = &record.details;
        let mut spec = spec.clone();
        if *default_seccomp {
            let filter = assemble::default_filter(&spec);
            spec.linux.get_or_insert_default().seccomp = Some(filter);
        }
        assemble::join(&mut spec, request, |word| self.process_of(word))?;
        if self.runtime(request.runtime.as_deref())? != Runtime::Builtin {
            // Older runtimes refuse what is newer than they are, whatever is in it.
            FOREIGN_VERSION.clone_into(&mut spec.oci_version);
        }
        Ok(spec)
    }

    /// A running container's first process.
    fn process_of(&self, word: &str) -> Result<i32, StartError> {
        let other: ContainerRecord = self.find::<StartError>(word)?;
        let observed = self.observe(&other)?;
        match observed.state.pid {
            Some(pid) if observed.state.status.is_active() => Ok(pid),
            _ => Err(StateError {
                action: "join a namespace of",
                name: other.name,
                status: observed.state.status,
            }
            .into()),
        }
    }

    fn write_bundle(
        &self,
        record: &ContainerRecord,
        run: &Path,
        spec: &Spec,
        mount: &RootfsMount,
    ) -> Result<(), StartError> {
        let bundle = run.join("bundle");
        make_private(&bundle)?;
        make_private(&bundle.join("rootfs"))?;
        let encode =
            |error: serde_json::Error| RecordError::Encode { id: record.id.clone(), source: error };
        write(&bundle.join("config.json"), &serde_json::to_vec(spec).map_err(encode)?)?;
        write(&bundle.join("rootfs.json"), &serde_json::to_vec(mount).map_err(encode)?)?;
        let request = &record.details.request;
        // Containers that share a network share what describes it.
        if let Some(NetworkMode::Container(word)) = &request.network {
            let other: ContainerRecord = self.find::<StartError>(word)?;
            for name in ["hosts", "resolv.conf"] {
                let text = std::fs::read(self.paths.run(&other.id).join(name)).unwrap_or_default();
                write(&run.join(name), &text)?;
            }
        } else {
            let host = HostFiles::read(request);
            let hostname = spec.hostname.clone().unwrap_or_else(|| {
                rustix::system::uname().nodename().to_string_lossy().into_owned()
            });
            let hosts = hostfiles::hosts(request, &host, &hostname, &record.name);
            write(&run.join("hosts"), hosts.as_bytes())?;
            write(&run.join("resolv.conf"), hostfiles::resolv_conf(request, &host).as_bytes())?;
        }
        let hostname = spec.hostname.clone().unwrap_or_default();
        write(&run.join("hostname"), format!("{hostname}\n").as_bytes())?;
        Ok(())
    }

    /// Lets go of the lock of a container whose start failed; for good if it was removed.
    pub(crate) fn let_go(&self, id: &str, lock: ContainerLock) {
        if matches!(self.records().container(id), Ok(None)) {
            lock.discard();
        }
    }
}

/// The hexadecimal part of a digest.
pub(crate) fn hexadecimal(digest: &berth_image::Digest) -> String {
    let text = digest.to_string();
    text.split_once(':').map_or(text.clone(), |(_, digits)| digits.to_owned())
}

pub(crate) fn wire_streams(streams: Streams) -> wire::Streams {
    wire::Streams { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr }
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), FileError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(FileError::new("write", path))
}
