//! The options of `run` and `create` as the engine's request.

use std::path::{Path, PathBuf};

use berth_engine::parse;
use berth_engine::request::{LogRequest, MountRequest, StdinMode};
use berth_engine::{ContainerRequest, ImageSource};

use crate::args::container::Environment;
use crate::args::create::{
    ContainerOptions, FileOptions, GeneralOptions, NamespaceOptions, ProcessOptions,
    SecurityOptions,
};
use crate::failure::Failure;

/// What the engine is asked to make. `stdin` depends on whether anybody will attach.
pub fn build(options: ContainerOptions, stdin: StdinMode) -> Result<ContainerRequest, Failure> {
    let ContainerOptions { words, general, process, files, resources, security, namespaces } =
        options;
    let mut words = words.into_iter();
    let image = words.next().unwrap_or_default();
    let source = if files.rootfs {
        ImageSource::Rootfs(absolute(Path::new(&image))?)
    } else {
        ImageSource::Reference(image)
    };
    let mut request = ContainerRequest::new(source);
    request.command = words.collect();
    request.stdin = stdin;
    request.resources = resources.into_resources();
    apply_general(&mut request, general)?;
    apply_process(&mut request, process)?;
    apply_files(&mut request, files)?;
    apply_security(&mut request, security);
    apply_namespaces(&mut request, namespaces);
    Ok(request)
}

fn apply_general(request: &mut ContainerRequest, options: GeneralOptions) -> Result<(), Failure> {
    request.name = options.name;
    request.replace = options.replace;
    request.tty = options.tty;
    request.remove = options.rm;
    request.restart = options.restart;
    for file in &options.label_file {
        for line in lines(&read(file)?) {
            let (key, value) = parse::key_value(line)?;
            request.labels.insert(key, value);
        }
    }
    request.labels.extend(options.label);
    request.annotations.extend(options.annotation);
    request.stop_signal = options.stop_signal;
    request.stop_timeout = options.stop_timeout;
    let mut log = LogRequest { driver: options.log_driver, ..LogRequest::default() };
    for option in &options.log_opt {
        parse::log_option(&mut log, option)?;
    }
    request.log = log;
    Ok(())
}

fn apply_process(request: &mut ContainerRequest, options: ProcessOptions) -> Result<(), Failure> {
    let host = host_environment();
    if options.env_host {
        request.env.extend(host.iter().cloned());
    }
    request.env.extend(environment(&options.environment)?);
    request.unset_env.extend(options.unsetenv);
    request.unset_env_all = options.unsetenv_all;
    request.entrypoint = options.entrypoint;
    request.user = options.user;
    request.group_add = options.group_add;
    request.umask = options.umask;
    request.workdir = options.workdir;
    request.init = options.init;
    request.init_path = options.init_path;
    request.ulimits = options.ulimit;
    request.oom_score_adj = options.oom_score_adj;
    Ok(())
}

fn apply_files(request: &mut ContainerRequest, options: FileOptions) -> Result<(), Failure> {
    request.mounts = mounts(&options)?;
    request.volumes_from = options.volumes_from;
    request.image_volumes = options.image_volume;
    request.read_only = options.read_only;
    request.read_only_tmpfs = options.read_only_tmpfs;
    request.shm_size = options.shm_size;
    request.devices = options.device;
    request.device_cgroup_rules = options.device_cgroup_rule;
    Ok(())
}

fn mounts(options: &FileOptions) -> Result<Vec<MountRequest>, Failure> {
    if options.volume.is_empty() && options.mount.is_empty() && options.tmpfs.is_empty() {
        return Ok(Vec::new());
    }
    let directory = current_directory()?;
    let volumes = options.volume.iter().map(|text| parse::volume(text, &directory));
    let mounts = options.mount.iter().map(|text| parse::mount(text, &directory));
    let tmpfs = options.tmpfs.iter().map(|text| parse::tmpfs(text));
    Ok(volumes.chain(mounts).chain(tmpfs).collect::<Result<_, _>>()?)
}

fn apply_security(request: &mut ContainerRequest, options: SecurityOptions) {
    request.cap_add = options.cap_add;
    request.cap_drop = options.cap_drop;
    request.privileged = options.privileged;
    request.security = options.security_opt;
    request.sysctls.extend(options.sysctl);
}

fn apply_namespaces(request: &mut ContainerRequest, options: NamespaceOptions) {
    request.network = options.network;
    request.hostname = options.hostname;
    request.add_hosts = options.add_host;
    request.no_hosts = options.no_hosts;
    request.dns = options.dns;
    request.dns_search = options.dns_search;
    request.dns_options = options.dns_option;
    request.pid = options.pid;
    request.ipc = options.ipc;
    request.uts = options.uts;
    request.cgroupns = options.cgroupns;
    request.userns = options.userns;
    request.cgroup_parent = options.cgroup_parent;
}

/// `--env` and `--env-file` with what they take from our own environment.
pub fn environment(options: &Environment) -> Result<Vec<(String, String)>, Failure> {
    if options.env.is_empty() && options.env_file.is_empty() {
        return Ok(Vec::new());
    }
    let files: Vec<String> =
        options.env_file.iter().map(|file| read(file)).collect::<Result<_, _>>()?;
    Ok(parse::environment(&files, &options.env, &host_environment())?)
}

/// Our environment, as far as it is text.
fn host_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::cannot(format!("read {}", file.display()), &error))
}

/// Lines that are neither empty nor comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn current_directory() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::cannot("find the current directory", &error))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::cannot(format!("find {}", path.display()), &error))
}
