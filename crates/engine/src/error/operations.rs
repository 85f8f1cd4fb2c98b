//! One enum an operation: a choice of the causes that it can fail for.

use super::{
    EngineError, EnvironmentError, ErrorKind, FileError, FindError, ImageError, Interrupted,
    MonitorError, NoLogError, NoVolumeError, ParseError, PathError, RecordError, RequestError,
    RootError, RuntimeError, StateError,
};

/// Declares an operation's error as a choice of causes.
macro_rules! operation_errors {
    ($($(#[$doc:meta])* $name:ident { $($cause:ident($type:ty)),+ $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $(
                #[doc = concat!("See [`", stringify!($type), "`].")]
                #[error(transparent)]
                $cause(#[from] $type),
            )+
        }

        impl EngineError for $name {
            fn kind(&self) -> ErrorKind {
                match self {
                    $(Self::$cause(error) => EngineError::kind(error),)+
                }
            }

            fn hints(&self) -> Vec<String> {
                match self {
                    $(Self::$cause(error) => EngineError::hints(error),)+
                }
            }
        }
    )*};
}

operation_errors! {
    /// What goes wrong when a container's state is told or mended; a part of most operations.
    HealError {
        Records(RecordError), File(FileError), Monitor(MonitorError), Runtime(RuntimeError),
        Root(RootError),
    }
    /// Why the engine could not be opened.
    OpenError {
        Environment(EnvironmentError), Records(RecordError), File(FileError), Image(ImageError),
        Heal(HealError),
    }
    /// Why a container could not be created.
    CreateError {
        Request(RequestError), Image(ImageError), Find(FindError), Records(RecordError),
        File(FileError), Root(RootError), Runtime(RuntimeError), Remove(RemoveError),
        State(StateError), Interrupted(Interrupted),
    }
    /// Why a container could not be started or restarted.
    StartError {
        Find(FindError), State(StateError), Records(RecordError), File(FileError), Root(RootError),
        Monitor(MonitorError), Runtime(RuntimeError), Heal(HealError), Stop(StopError),
        Path(PathError), Interrupted(Interrupted),
    }
    /// Why a container could not be run.
    RunError { Create(CreateError), Start(StartError), Interrupted(Interrupted) }
    /// Why a client could not attach, or lost its attachment.
    AttachError {
        Find(FindError), State(StateError), Records(RecordError), Monitor(MonitorError),
        Heal(HealError), File(FileError), Interrupted(Interrupted),
    }
    /// Why a command could not be executed in a container.
    ExecError {
        Find(FindError), State(StateError), Records(RecordError), File(FileError),
        Monitor(MonitorError), Request(RequestError), Heal(HealError), Interrupted(Interrupted),
    }
    /// Why a container could not be stopped.
    StopError {
        Find(FindError), State(StateError), Records(RecordError), Monitor(MonitorError),
        Heal(HealError), Interrupted(Interrupted),
    }
    /// Why a container could not be signalled, paused or resumed.
    SignalError {
        Find(FindError), State(StateError), Records(RecordError), Monitor(MonitorError),
        Heal(HealError), Interrupted(Interrupted),
    }
    /// Why the program of a monitor could not be replaced.
    MigrateError {
        Find(FindError), Records(RecordError), Monitor(MonitorError), File(FileError),
        Heal(HealError), Interrupted(Interrupted),
    }
    /// Why a container could not be removed.
    RemoveError {
        Find(FindError), State(StateError), Records(RecordError), Stop(StopError),
        Heal(HealError), File(FileError), Interrupted(Interrupted),
    }
    /// Why something could not be looked up: list, inspect, top, stats, wait, info.
    QueryError {
        Find(FindError), State(StateError), Records(RecordError), File(FileError),
        Image(ImageError), Runtime(RuntimeError), Heal(HealError), Parse(ParseError),
        Interrupted(Interrupted),
    }
    /// Why logs could not be read.
    LogsError {
        Find(FindError), Records(RecordError), File(FileError), Heal(HealError), NoLog(NoLogError),
        Interrupted(Interrupted),
    }
    /// Why events could not be read.
    EventsError {
        Records(RecordError), File(FileError), Heal(HealError), Interrupted(Interrupted),
    }
    /// Why files could not be copied into or out of a container.
    CopyError {
        Find(FindError), Records(RecordError), State(StateError), Root(RootError), Path(PathError),
        Heal(HealError), File(FileError), Interrupted(Interrupted),
    }
    /// Why a container could not be renamed or updated.
    UpdateError {
        Find(FindError), Records(RecordError), Request(RequestError), Runtime(RuntimeError),
        State(StateError), Heal(HealError), Interrupted(Interrupted),
    }
    /// Why something could not be cleaned up or pruned.
    PruneError {
        Find(FindError), Records(RecordError), File(FileError), Heal(HealError),
        Remove(RemoveError), Image(ImageError), Interrupted(Interrupted),
    }
    /// Why a volume could not be created, listed or removed.
    VolumeError {
        Missing(NoVolumeError), Records(RecordError), File(FileError), Parse(ParseError),
        Remove(RemoveError), Interrupted(Interrupted),
    }
    /// Why an image could not be removed, loaded or pruned.
    ImagesError { Image(ImageError), Records(RecordError), Interrupted(Interrupted) }
}
