//! What `/proc/PID/stat` tells of a process (proc_pid_stat(5)).

/// When a process began, in clock ticks since boot.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = read(pid)?;
    field(&stat, 22)?.parse().ok()
}

/// The wait status of a process that has ended and has not been reaped.
///
/// `began` tells it from another one with the same ID. Whoever may not look into the process reads
/// a status of 0 in any case, so that it is only believed where another file, which needs the same
/// right, can be read.
pub(super) fn zombie_status(pid: i32, began: u64) -> Option<i32> {
    std::fs::read(format!("/proc/{pid}/personality")).ok()?;
    let stat = read(pid)?;
    let same = field(&stat, 22)?.parse() == Ok(began);
    if same && field(&stat, 3)? == "Z" { field(&stat, 52)?.parse().ok() } else { None }
}

fn read(pid: i32) -> Option<String> {
    // The command may be any bytes; only what follows it is looked at.
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A field by its number in the manual page, from 3 on: what follows the command in parentheses.
fn field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_confuse() {
        let stat =
            format!("7 (a) b) Z {}", (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));
        assert_eq!(field(&stat, 3), Some("Z"));
        assert_eq!(field(&stat, 22), Some("22"));
        assert_eq!(field(&stat, 52), Some("52"));
    }

    #[test]
    fn the_status_of_a_zombie_is_read_and_of_a_living_process_is_not() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x; exit 9"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let began = start_time(pid).unwrap();
        assert_eq!(zombie_status(pid, began), None);
        drop(child.stdin.take());
        let status = std::iter::repeat_with(|| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            zombie_status(pid, began)
        });
        assert_eq!(status.take(1000).flatten().next(), Some(9 << 8));
        assert_eq!(zombie_status(pid, began + 1), None);
        child.wait().unwrap();
        assert_eq!(zombie_status(pid, began), None);
    }
}
