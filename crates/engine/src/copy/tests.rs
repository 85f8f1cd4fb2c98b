//! Docker's rules for `cp`, and hostile archives.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use super::*;

fn place(root: &Path, path: &str) -> Place {
    Place {
        root: open_root(root).unwrap(),
        path: keep_end(Path::new(path), &clean(Path::new(path))),
        name: PlaceName(None),
        _lock: None,
    }
}

/// A scratch directory with `from` and `to` as two roots.
fn scratch() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["from/dir/sub", "to/there"] {
        std::fs::create_dir_all(scratch.path().join(name)).unwrap();
    }
    std::fs::write(scratch.path().join("from/file"), "content").unwrap();
    std::fs::write(scratch.path().join("from/dir/inner"), "inner").unwrap();
    std::fs::write(scratch.path().join("from/dir/sub/deep"), "deep").unwrap();
    std::fs::write(scratch.path().join("to/old"), "old").unwrap();
    scratch
}

fn copy(scratch: &Path, from: &str, to: &str) -> Result<(), PathError> {
    let options = CopyOptions { overwrite: false, archive: true };
    transfer(
        &place(&scratch.join("from"), from),
        Path::new(from),
        &place(&scratch.join("to"), to),
        Path::new(to),
        options,
        None,
    )
}

fn text(scratch: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(scratch.join("to").join(path)).ok()
}

#[test]
fn a_file_goes_where_docker_puts_it() {
    let scratch = scratch();
    let path = scratch.path();
    copy(path, "/file", "/new").unwrap();
    assert_eq!(text(path, "new").unwrap(), "content");
    copy(path, "/file", "/there").unwrap();
    assert_eq!(text(path, "there/file").unwrap(), "content");
    copy(path, "/file", "/old").unwrap();
    assert_eq!(text(path, "old").unwrap(), "content");
    assert!(matches!(copy(path, "/file", "/missing/"), Err(PathError::NotFound(_))));
    assert!(matches!(copy(path, "/file", "/old/"), Err(PathError::NotDirectory(_))));
    assert!(matches!(copy(path, "/none", "/new"), Err(PathError::NotFound(_))));
    assert!(matches!(copy(path, "/file", "/none/x"), Err(PathError::NotFound(_))));
}

#[test]
fn a_directory_goes_where_docker_puts_it() {
    let scratch = scratch();
    let path = scratch.path();
    copy(path, "/dir", "/fresh").unwrap();
    assert_eq!(text(path, "fresh/inner").unwrap(), "inner");
    copy(path, "/dir", "/there").unwrap();
    assert_eq!(text(path, "there/dir/sub/deep").unwrap(), "deep");
    copy(path, "/dir/.", "/there").unwrap();
    assert_eq!(text(path, "there/inner").unwrap(), "inner");
    assert!(matches!(copy(path, "/dir", "/old"), Err(PathError::InTheWay { .. })));
}

#[test]
fn links_stay_links_and_hard_links_stay_one_file() {
    use std::os::unix::fs::MetadataExt as _;
    let scratch = scratch();
    let path = scratch.path();
    std::os::unix::fs::symlink("/etc/passwd", path.join("from/dir/link")).unwrap();
    std::fs::hard_link(path.join("from/dir/inner"), path.join("from/dir/twin")).unwrap();
    copy(path, "/dir", "/there").unwrap();
    let to = path.join("to/there/dir");
    assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    let inode = |name: &str| std::fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("inner"), inode("twin"));
}

#[test]
fn a_link_in_the_target_never_leads_out_of_its_root() {
    let scratch = scratch();
    let path = scratch.path();
    std::fs::create_dir(path.join("outside")).unwrap();
    std::os::unix::fs::symlink("../../outside", path.join("to/escape")).unwrap();
    // Within the root `../../outside` is `/outside`, which is not there.
    assert!(copy(path, "/file", "/escape/file").is_err());
    std::fs::create_dir(path.join("to/outside")).unwrap();
    copy(path, "/file", "/escape/file").unwrap();
    assert_eq!(text(path, "outside/file").unwrap(), "content");
    assert!(std::fs::read_dir(path.join("outside")).unwrap().next().is_none());
}

#[test]
fn a_hostile_archive_changes_nothing_outside() {
    let scratch = scratch();
    let path = scratch.path();
    std::fs::write(path.join("victim"), "safe").unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &[u8], kind: tar::EntryType, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    };
    add(b"../../victim", tar::EntryType::Regular, "", b"bad");
    add(b"/victim", tar::EntryType::Regular, "", b"bad");
    add(b"out", tar::EntryType::Symlink, "../..", b"");
    add(b"out/victim", tar::EntryType::Regular, "", b"bad");
    let archive = builder.into_inner().unwrap();
    let root = open_root(&path.join("to")).unwrap();
    let options = CopyOptions { overwrite: false, archive: true };
    let owner = Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    extract::read(root.as_fd(), Path::new("/"), &mut archive.as_slice(), options, owner).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("victim")).unwrap(), "safe");
}

#[test]
fn a_directory_and_a_file_replace_each_other_only_when_told() {
    let scratch = scratch();
    let path = scratch.path();
    std::fs::create_dir_all(path.join("to/there/file/full")).unwrap();
    assert!(matches!(copy(path, "/file", "/there"), Err(PathError::InTheWay { .. })));
    let mut bytes = Vec::new();
    let from = place(&path.join("from"), "/file");
    archive::write(from.root.as_fd(), &from.path, Path::new("file"), &mut bytes).unwrap();
    bytes.flush().unwrap();
    let root = open_root(&path.join("to")).unwrap();
    let options = CopyOptions { overwrite: true, archive: true };
    extract::read(root.as_fd(), Path::new("/there"), &mut bytes.as_slice(), options, None).unwrap();
    assert_eq!(text(path, "there/file").unwrap(), "content");
}
