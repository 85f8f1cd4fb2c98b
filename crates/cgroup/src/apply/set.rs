//! Writing one property of the configuration to one file, with errors that name both.

use crate::directory::Directory;
use crate::error::{ApplyError, FileError};

/// The files of one controller.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    /// Absent when the controller is.
    pub(crate) directory: Option<&'a Directory>,
    /// Its name, for errors.
    pub(crate) controller: &'static str,
}

impl<'a> Files<'a> {
    pub(crate) fn need(&self, field: &str) -> Result<&'a Directory, ApplyError> {
        self.directory.ok_or_else(|| ApplyError::NoController {
            field: field.to_owned(),
            controller: self.controller,
        })
    }

    /// Sets a file.
    pub(crate) fn set(&self, field: &str, file: &str, value: &str) -> Result<(), ApplyError> {
        let directory = self.need(field)?;
        directory
            .write(file, value)
            .map_err(|e| explain(directory, field, self.controller, file, e))
    }

    /// Sets a number.
    pub(crate) fn number(
        &self,
        field: &str,
        file: &str,
        value: impl ToString,
    ) -> Result<(), ApplyError> {
        self.set(field, file, &value.to_string())
    }

    /// Sets the first of these files that exists.
    pub(crate) fn set_first(
        &self,
        field: &str,
        files: &[&str],
        value: &str,
    ) -> Result<(), ApplyError> {
        let directory = self.need(field)?;
        let file = files.iter().find(|f| directory.has(f)).or(files.last()).unwrap_or(&"");
        self.set(field, file, value)
    }
}

/// What a failed write means.
pub(crate) fn explain(
    directory: &Directory,
    field: &str,
    controller: &'static str,
    file: &str,
    source: FileError,
) -> ApplyError {
    let absent = matches!(&source, FileError::Open { .. }) && source.errno() == Some(libc::ENOENT);
    // When the whole group is gone, saying so is better than blaming the kernel.
    if !absent || !directory.has("cgroup.procs") {
        return ApplyError::File { field: field.to_owned(), source };
    }
    let lacking = match directory.read("cgroup.controllers") {
        Ok(list) => !list.split_whitespace().any(|c| c == controller),
        Err(_) => false,
    };
    if lacking {
        ApplyError::NoController { field: field.to_owned(), controller }
    } else {
        ApplyError::NoFile { field: field.to_owned(), file: file.to_owned() }
    }
}

/// Whether the kernel said that the value does not fit (yet).
pub(crate) fn is_refused(error: &ApplyError) -> bool {
    matches!(error, ApplyError::File { source, .. }
        if matches!(source.errno(), Some(libc::EINVAL | libc::EBUSY)))
}

pub(crate) fn invalid(field: &str, value: impl ToString, reason: &'static str) -> ApplyError {
    ApplyError::Invalid { field: field.to_owned(), value: value.to_string(), reason }
}
