//! Containers as users know them: the one library that every front end calls.
//!
//! The engine records containers, turns an image and a request into a bundle, has a monitor run it,
//! and answers what became of it. It knows no protocol and no command line; front ends translate.
//! What one process may leave half done when it is killed, the next one finds and mends: `state` has
//! the table of what can be found, `heal` what is done about it.
//!
//! Front ends use [`Engine`], fill the structures of [`request`], read words by [`parse`], show what
//! [`view`] has, and print an [`EngineError`]'s chain and hints.
#![forbid(unsafe_code)]

mod assemble;
mod attachment;
mod config;
mod control;
mod copy;
mod core;
mod engine;
pub mod error;
mod events;
mod exec;
mod filter;
mod handler;
mod heal;
mod hostfiles;
mod identity;
mod images;
mod info;
mod init;
mod inspect;
mod launch;
mod list;
mod lock;
mod logs;
mod migrate;
pub mod parse;
mod paths;
mod plan;
mod process;
mod prune;
mod records;
pub mod request;
mod signal;
mod state;
mod stats;
mod top;
pub mod view;
mod volumes;
mod wait;
mod watch;

pub use attachment::{AttachEvent, Attachment, ExitStatus};
pub use config::{CgroupManager, EngineConfig};
pub use copy::CopyOptions;
pub use engine::{Engine, EventStream};
pub use error::{EngineError, ErrorKind};
pub use events::EventsOptions;
pub use filter::{Filter, ListFilter};
pub use handler::HandlerConfig;
pub use logs::LogStream;
pub use prune::PruneOptions;
pub use request::{
    Attach, ContainerRequest, ExecRequest, ImageSource, LogsOptions, RemoveOptions, StartOptions,
    StopOptions, Streams, TerminalSize, WaitCondition,
};
pub use signal::Signal;
pub use view::RuntimeInfo;
