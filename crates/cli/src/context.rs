//! What a command needs, made when it first asks for it.
//!
//! Opening the engine, the image store and the event loop each cost time, so a command that only
//! prints its help pays for none of them.

use std::cell::OnceCell;

use berth_engine::{CgroupManager, Engine, EngineConfig};
use tokio::runtime::{Builder, Runtime};

use crate::args::{self, GlobalOptions};
use crate::failure::Failure;

/// The engine, the store and the event loop of one command.
#[derive(Debug)]
pub struct Context {
    config: EngineConfig,
    engine: OnceCell<Engine>,
    store: OnceCell<berth_image::Store>,
    event_loop: OnceCell<Runtime>,
}

impl Context {
    /// Takes the global options; nothing is opened yet.
    pub fn new(options: &GlobalOptions) -> Result<Self, Failure> {
        Ok(Self {
            config: config(options)?,
            engine: OnceCell::new(),
            store: OnceCell::new(),
            event_loop: OnceCell::new(),
        })
    }

    /// Where things are.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The engine.
    pub fn engine(&self) -> Result<&Engine, Failure> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::open(self.config.clone())?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The image store, which needs no engine for listing and loading.
    pub fn store(&self) -> Result<&berth_image::Store, Failure> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.images());
        }
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = berth_image::Store::open(&self.config.root).map_err(Failure::image)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Runs a future on an event loop of this thread.
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if let Some(event_loop) = self.event_loop.get() {
            return event_loop.block_on(future);
        }
        let event_loop = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Failure::cannot("start the event loop", &error))?;
        self.event_loop.get_or_init(|| event_loop).block_on(future)
    }
}

impl Drop for Context {
    /// A helper thread that still blocks, say on a stream that never ends, must not keep us.
    fn drop(&mut self) {
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.shutdown_background();
        }
    }
}

fn config(options: &GlobalOptions) -> Result<EngineConfig, Failure> {
    let mut config = EngineConfig::load(options.config.as_deref())?;
    if let Some(root) = &options.root {
        config.root.clone_from(root);
    }
    if let Some(runroot) = &options.runroot {
        config.runroot.clone_from(runroot);
    }
    if let Some(runtime) = &options.runtime {
        config.runtime.clone_from(runtime);
    }
    config.cgroup_manager = match options.cgroup_manager {
        None => config.cgroup_manager,
        Some(args::CgroupManager::Cgroupfs) => CgroupManager::Cgroupfs,
        Some(args::CgroupManager::Systemd) => CgroupManager::Systemd,
    };
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_before_the_environment() {
        let options = GlobalOptions {
            root: Some("/x".into()),
            runroot: Some("/y".into()),
            runtime: Some("runc".into()),
            cgroup_manager: Some(args::CgroupManager::Systemd),
            ..GlobalOptions::default()
        };
        let config = config(&options).unwrap();
        assert_eq!(config.root.to_str(), Some("/x"));
        assert_eq!(config.runroot.to_str(), Some("/y"));
        assert_eq!(config.runtime, "runc");
        assert_eq!(config.cgroup_manager, CgroupManager::Systemd);
    }
}
