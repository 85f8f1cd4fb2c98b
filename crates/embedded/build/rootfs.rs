//! The image's root file system, as a tar archive.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::{BuildError, at};

/// When everything in the image was made: 2026-01-01T00:00:00Z.
pub const TIME: u64 = 1_767_225_600;

/// An entry of the archive.
enum Entry {
    Directory { mode: u32, owner: u64 },
    File { mode: u32, data: Vec<u8> },
    Link(String),
}

/// Where the program lies.
const PROGRAM: &str = "bin/berth-applets";

/// The uncompressed layer: directories, the program, a link to it for every applet, and the files
/// below `files`.
pub fn layer(program: &[u8], applets: &[String], files: &Path) -> Result<Vec<u8>, BuildError> {
    let mut entries = BTreeMap::new();
    for name in ["bin", "dev", "etc", "home", "proc", "run", "sys", "usr", "var", "var/tmp", "www"]
    {
        let mode = if name == "var/tmp" { 0o1777 } else { 0o755 };
        entries.insert(name.to_owned(), Entry::Directory { mode, owner: 0 });
    }
    entries.insert("tmp".to_owned(), Entry::Directory { mode: 0o1777, owner: 0 });
    entries.insert("root".to_owned(), Entry::Directory { mode: 0o700, owner: 0 });
    entries.insert("home/guest".to_owned(), Entry::Directory { mode: 0o755, owner: 1000 });
    entries.insert("sbin".to_owned(), Entry::Link("bin".to_owned()));
    entries.insert("usr/bin".to_owned(), Entry::Link("../bin".to_owned()));
    entries.insert("usr/sbin".to_owned(), Entry::Link("../bin".to_owned()));
    entries.insert(PROGRAM.to_owned(), Entry::File { mode: 0o755, data: program.to_vec() });
    for applet in applets {
        entries.insert(format!("bin/{applet}"), Entry::Link("berth-applets".to_owned()));
    }
    add_files(files, "", &mut entries)?;
    pack(&entries).map_err(BuildError::Archive)
}

/// Adds the files below a directory of the source tree.
fn add_files(
    directory: &Path,
    prefix: &str,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), BuildError> {
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            add_files(&path, &format!("{name}/"), entries)?;
            entries.entry(name).or_insert(Entry::Directory { mode: 0o755, owner: 0 });
        } else {
            let data = fs::read(&path).map_err(at(&path))?;
            entries.insert(name, Entry::File { mode: 0o644, data });
        }
    }
    Ok(())
}

/// Writes the entries in the order of their names, so that a directory comes before what is in it.
fn pack(entries: &BTreeMap<String, Entry>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (name, entry) in entries {
        let mut header = Header::new_ustar();
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match entry {
            Entry::Directory { mode, owner } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                header.set_uid(*owner);
                header.set_gid(*owner);
                archive.append_data(&mut header, format!("{name}/"), io::empty())?;
            }
            Entry::File { mode, data } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(data.len() as u64);
                archive.append_data(&mut header, name, data.as_slice())?;
            }
            Entry::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                archive.append_link(&mut header, name, target)?;
            }
        }
    }
    archive.into_inner()
}
