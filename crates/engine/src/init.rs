//! The init program of `--init`.

use std::path::PathBuf;

use crate::core::Core;
use crate::error::FileError;

impl Core {
    /// The init program on the host: the configured one, or the built-in one, written to tmpfs once.
    pub(crate) fn init_program(&self) -> Result<Option<PathBuf>, FileError> {
        if let Some(path) = &self.config.init {
            return Ok(Some(path.clone()));
        }
        let path = self.paths.init();
        let length = berth_embedded::INIT.len() as u64;
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == length) {
            return Ok(Some(path));
        }
        // Whole or not at all, whoever else does the same.
        let temporary = path.with_extension(std::process::id().to_string());
        let write = || -> std::io::Result<()> {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&temporary, berth_embedded::INIT)?;
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o555))?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(FileError::new("write the init program", &path))?;
        Ok(Some(path))
    }
}
