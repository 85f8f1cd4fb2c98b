//! The HOME variable, from the container's /etc/passwd, for a process that was given none.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};

/// Room for `HOME=` and a path.
pub(crate) type Buffer = [u8; 1024];

/// The variable for a user.
pub(crate) fn variable(uid: u32, buffer: &mut Buffer) -> &CStr {
    let length =
        open().and_then(|file| look_up(&file, uid, buffer)).filter(|&length| length > HOME.len());
    match length {
        Some(length) => {
            buffer[length] = 0;
            CStr::from_bytes_until_nul(&buffer[..=length]).unwrap_or(c"HOME=/")
        }
        None => c"HOME=/",
    }
}

const HOME: &[u8] = b"HOME=";

fn open() -> Option<OwnedFd> {
    // Must not wait, should the image have a FIFO there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(c"/etc/passwd", flags, Mode::empty()).ok()?;
    let status = rustix::fs::fstat(&file).ok()?;
    (FileType::from_raw_mode(status.st_mode) == FileType::RegularFile).then_some(file)
}

/// Reads line by line in pieces; lines longer than a piece belong to nobody.
fn look_up(file: &OwnedFd, uid: u32, buffer: &mut Buffer) -> Option<usize> {
    let mut piece = [0u8; 4096];
    let mut filled = 0;
    loop {
        let read =
            rustix::io::retry_on_intr(|| rustix::io::read(file, &mut piece[filled..])).ok()?;
        let end = filled + read;
        let mut start = 0;
        while let Some(length) = piece[start..end].iter().position(|&byte| byte == b'\n') {
            if let Some(home) = home_of(&piece[start..start + length], uid) {
                return put(home, buffer);
            }
            start += length + 1;
        }
        if read == 0 {
            return home_of(&piece[start..end], uid).and_then(|home| put(home, buffer));
        }
        piece.copy_within(start..end, 0);
        filled = end - start;
        if filled == piece.len() {
            filled = 0;
        }
    }
}

fn put(home: &[u8], buffer: &mut Buffer) -> Option<usize> {
    let length = HOME.len() + home.len();
    // One byte stays for the NUL.
    if home.is_empty() || length >= buffer.len() {
        return None;
    }
    buffer[..HOME.len()].copy_from_slice(HOME);
    buffer[HOME.len()..length].copy_from_slice(home);
    Some(length)
}

/// The home directory of a line, if it is the user's.
fn home_of(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&byte| byte == b':');
    let number = fields.nth(2)?;
    let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    if number != uid {
        return None;
    }
    fields.nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up_in(text: &str, uid: u32) -> Option<String> {
        let file = tempfile::tempfile().unwrap();
        rustix::io::write(&file, text.as_bytes()).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        let mut buffer = [0; 1024];
        let length = look_up(&file.into(), uid, &mut buffer)?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[test]
    fn the_home_directory_of_a_user_is_found() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbad\n:::\nu:x:1000:1000::/home/u:/bin/sh";
        assert_eq!(look_up_in(text, 0).unwrap(), "HOME=/root");
        assert_eq!(look_up_in(text, 1000).unwrap(), "HOME=/home/u");
        assert_eq!(look_up_in(text, 7), None);
    }

    #[test]
    fn a_long_file_is_read_in_pieces() {
        let mut text = "x".repeat(10_000) + "\n";
        for uid in 1..2000 {
            text.push_str(&format!("u{uid}:x:{uid}:{uid}::/home/u{uid}:\n"));
        }
        assert_eq!(look_up_in(&text, 1999).unwrap(), "HOME=/home/u1999");
        let long = format!("u:x:5:5::/{}:\n", "h".repeat(2000));
        assert_eq!(look_up_in(&long, 5), None);
    }
}
