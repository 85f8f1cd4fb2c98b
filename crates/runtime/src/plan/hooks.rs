//! Hooks that the new process runs by itself, in the container's namespaces (config.md, "Hooks").

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt as _;

use berth_spec::runtime::Hook;
use berth_spec::state::State;

use super::{c_path, c_string};
use crate::config::ConfigError;
use crate::sys::Pointers;

/// A hook, ready to be executed.
#[derive(Debug)]
pub(crate) struct HookPlan {
    /// The program.
    pub path: CString,
    /// What errors call it.
    pub label: String,
    /// Its arguments.
    pub arguments: Pointers,
    /// Its environment; the runtime's where it is given none, as callers of runc and crun expect.
    pub environment: Pointers,
    /// Whether it is given none. A startContainer hook then has the process', as it has always been
    /// with runc.
    pub inherits: bool,
    /// Seconds until it is killed.
    pub timeout: Option<i64>,
    /// The state for its standard input, without the process id: what goes before and after.
    pub state: (Vec<u8>, Vec<u8>),
    /// Keep what the pointers point to.
    _strings: (Vec<CString>, Vec<CString>),
}

impl HookPlan {
    /// Prepares hooks; `state` is what they are told, the process id left out.
    pub(crate) fn all(hooks: &[Hook], state: &State) -> Result<Vec<Self>, ConfigError> {
        let one = |(number, hook)| Self::new(number, hook, state);
        hooks.iter().enumerate().map(one).collect()
    }

    fn new(number: usize, hook: &Hook, state: &State) -> Result<Self, ConfigError> {
        let arguments = strings(&hook.args, "hooks.args")?;
        let arguments =
            if arguments.is_empty() { vec![c_path(&hook.path, "hooks.path")?] } else { arguments };
        let given = strings(&hook.env, "hooks.env")?;
        let inherits = given.is_empty();
        let environment = if inherits { own_environment() } else { given };
        Ok(Self {
            path: c_path(&hook.path, "hooks.path")?,
            label: crate::hooks::label(number, hook),
            arguments: Pointers::new(&arguments, 0),
            environment: Pointers::new(&environment, 0),
            inherits,
            timeout: hook.timeout,
            state: split_state(state),
            _strings: (arguments, environment),
        })
    }
}

/// The runtime's own environment.
fn own_environment() -> Vec<CString> {
    let variable = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    std::env::vars_os().filter_map(variable).collect()
}

fn strings(texts: &[String], field: &str) -> Result<Vec<CString>, ConfigError> {
    texts.iter().map(|text| c_string(text, field)).collect()
}

/// The state's JSON, cut where the process id goes.
fn split_state(state: &State) -> (Vec<u8>, Vec<u8>) {
    let state = State { pid: None, ..state.clone() };
    let text = serde_json::to_vec(&state).unwrap_or_default();
    let rest = text.get(1..).unwrap_or_default();
    (b"{\"pid\":".to_vec(), [b",", rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_spec::state::ContainerState;

    #[test]
    fn the_state_with_its_process_id_is_whole_again() {
        let state = State {
            oci_version: "1.0.2".to_owned(),
            id: "a".to_owned(),
            status: ContainerState::Creating,
            pid: Some(1),
            bundle: "/b".into(),
            annotations: std::collections::BTreeMap::default(),
        };
        let (before, after) = split_state(&state);
        let text = [&before, &b"42"[..], &after].concat();
        let read: State = serde_json::from_slice(&text).unwrap();
        assert_eq!(read, State { pid: Some(42), ..state });
    }
}
