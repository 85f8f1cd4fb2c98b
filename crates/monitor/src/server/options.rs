//! The command line of `berth-monitor`, which only the client library writes.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What a monitor is told at its start.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) directory: PathBuf,
    /// The connection to whoever launched it.
    pub(super) sync_fd: Option<RawFd>,
    /// The cleanup command and its first arguments.
    pub(super) cleanup: Vec<OsString>,
    pub(super) runtime_root: PathBuf,
    pub(super) scope: Option<String>,
    /// It lives until it is told to end.
    pub(super) stay: bool,
    /// It takes up the containers of a monitor that was killed.
    pub(super) adopt: bool,
    /// It takes over from itself: the descriptor holds the state.
    pub(super) resume: Option<RawFd>,
    /// It only says whether it could.
    pub(super) check_resume: Option<RawFd>,
    /// The arguments as they were, for the program that takes over.
    pub(super) raw: Vec<OsString>,
}

/// Why the command line can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OptionsError {
    #[error("unknown option {0:?}")]
    Unknown(OsString),
    #[error("{0} needs a value")]
    Value(&'static str),
    #[error("{0} needs a number")]
    Number(&'static str),
    #[error("--directory and --runtime-root must be absolute paths")]
    Path,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut value = |name| arguments.next().ok_or(OptionsError::Value(name));
            let name = argument.to_str().unwrap_or_default();
            match name {
                "--directory" => options.directory = value("--directory")?.into(),
                "--sync-fd" => options.sync_fd = Some(number(value("--sync-fd")?, "--sync-fd")?),
                "--cleanup-command" => options.cleanup.insert(0, value("--cleanup-command")?),
                "--cleanup-arg" => options.cleanup.push(value("--cleanup-arg")?),
                "--runtime-root" => options.runtime_root = value("--runtime-root")?.into(),
                "--scope" => {
                    let scope = value("--scope")?;
                    options.scope = Some(scope.to_string_lossy().into_owned());
                }
                "--stay" => options.stay = true,
                "--adopt" => options.adopt = true,
                "--resume" => options.resume = Some(number(value("--resume")?, "--resume")?),
                "--check-resume" => {
                    let descriptor = number(value("--check-resume")?, "--check-resume")?;
                    options.check_resume = Some(descriptor);
                }
                _ => return Err(OptionsError::Unknown(argument)),
            }
        }
        if options.check_resume.is_none()
            && (!options.directory.is_absolute() || !options.runtime_root.is_absolute())
        {
            return Err(OptionsError::Path);
        }
        options.raw = options.to_arguments();
        Ok(options)
    }

    /// The arguments that a program that takes over gets, apart from what it takes over.
    fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec!["--directory".into(), self.directory.clone().into()];
        arguments.extend(["--runtime-root".into(), self.runtime_root.clone().into()]);
        if let Some((command, rest)) = self.cleanup.split_first() {
            arguments.extend(["--cleanup-command".into(), command.clone()]);
            for argument in rest {
                arguments.extend(["--cleanup-arg".into(), argument.clone()]);
            }
        }
        if self.stay {
            arguments.push("--stay".into());
        }
        arguments
    }
}

fn number(text: OsString, name: &'static str) -> Result<RawFd, OptionsError> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number > 2)
        .ok_or(OptionsError::Number(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, OptionsError> {
        Options::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn what_a_client_writes_is_read() {
        let options = parse(&[
            "--directory",
            "/d",
            "--runtime-root",
            "/r",
            "--sync-fd",
            "3",
            "--cleanup-command",
            "/bin/berth",
            "--cleanup-arg",
            "--root",
            "--cleanup-arg",
            "--adopt",
            "--stay",
        ])
        .unwrap();
        assert_eq!(options.sync_fd, Some(3));
        assert_eq!(options.cleanup, ["/bin/berth", "--root", "--adopt"]);
        assert!(options.stay && !options.adopt);
        assert_eq!(
            options.raw,
            [
                "--directory",
                "/d",
                "--runtime-root",
                "/r",
                "--cleanup-command",
                "/bin/berth",
                "--cleanup-arg",
                "--root",
                "--cleanup-arg",
                "--adopt",
                "--stay",
            ]
        );
    }

    #[test]
    fn what_nobody_writes_is_refused() {
        for bad in [
            &["--directory", "d", "--runtime-root", "/r"][..],
            &["--directory", "/d"],
            &["--directory"],
            &["--directory", "/d", "--runtime-root", "/r", "--sync-fd", "2"],
            &["--directory", "/d", "--runtime-root", "/r", "-x"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
