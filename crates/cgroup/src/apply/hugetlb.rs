//! Huge pages, the same on both versions but for the files' names.

use berth_spec::runtime::LinuxHugepageLimit;

use super::set::{Files, invalid};
use crate::cgroup::Cgroup;
use crate::directory::Directory;
use crate::error::ApplyError;
use crate::hierarchy::{HierarchyKind, Layout};

pub(super) fn apply(cgroup: &Cgroup, limits: &[LinuxHugepageLimit]) -> Result<(), ApplyError> {
    if limits.is_empty() {
        return Ok(());
    }
    let directory = match cgroup.controller("hugetlb") {
        Some(directory) => Some(directory),
        None if cgroup.layout() == Layout::V2 => {
            cgroup.unified().filter(|d| super::v2::enable_for(d, "hugetlb"))
        }
        // On a hybrid machine nobody may have handed it down yet; zero limits are not worth that.
        None => {
            let wanted = limits.iter().any(|l| l.limit != 0);
            cgroup.unified().filter(|d| wanted && super::v2::enable_for(d, "hugetlb"))
        }
    };
    for (index, limit) in limits.iter().enumerate() {
        one(directory, index, limit)?;
    }
    Ok(())
}

fn one(
    directory: Option<&Directory>,
    index: usize,
    limit: &LinuxHugepageLimit,
) -> Result<(), ApplyError> {
    let field = format!("hugepageLimits[{index}]");
    let size = &limit.page_size;
    if !size.ends_with('B') || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(invalid(&format!("{field}.pageSize"), size, "expected a size such as 2MB"));
    }
    // Callers send a zero limit for every size that they know of: without the controller nothing
    // can be accounted, and no page is given out by default either.
    let Some(found) = directory else {
        let files = Files { directory, controller: "hugetlb" };
        return if limit.limit == 0 { Ok(()) } else { files.need(&field).map(|_| ()) };
    };
    let (file, reserved) = match found.kind {
        HierarchyKind::Unified => {
            (format!("hugetlb.{size}.max"), format!("hugetlb.{size}.rsvd.max"))
        }
        _ => (
            format!("hugetlb.{size}.limit_in_bytes"),
            format!("hugetlb.{size}.rsvd.limit_in_bytes"),
        ),
    };
    if limit.limit == 0 && !found.has(&file) {
        return Ok(());
    }
    let files = Files { directory, controller: "hugetlb" };
    files.number(&field, &file, limit.limit)?;
    // Reservations (5.7) are limited too, so that exceeding is an error for mmap and not SIGBUS.
    if found.has(&reserved) { files.number(&field, &reserved, limit.limit) } else { Ok(()) }
}
