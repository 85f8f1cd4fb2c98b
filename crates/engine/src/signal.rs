//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;

/// A signal's number (1 to 64). Parses from `15`, `TERM`, `SIGTERM`, `RTMIN+3`, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// Names of the classic signals on every architecture that berth supports, by number.
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Names that stand for another one's number.
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// The first and last real-time signals as the C library leaves them to programs.
const REAL_TIME: (i32, i32) = (34, 64);

impl Signal {
    /// SIGINT.
    pub const INTERRUPT: Self = Self(2);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERMINATE: Self = Self(15);

    /// A signal by its number, if there is one of it.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(|index| NAMES.get(index)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= REAL_TIME.0 => write!(f, "SIGRTMIN+{}", self.0 - REAL_TIME.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            || ParseError::new("signal", text, "a name such as TERM or a number from 1 to 64");
        if let Ok(number) = text.parse::<i32>() {
            return Self::from_number(number).ok_or_else(refuse);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(number) = NAMES.iter().position(|known| !known.is_empty() && *known == name) {
            return Ok(Self(number as i32));
        }
        if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            return Ok(Self(*number));
        }
        let offset = |rest: &str, sign: char| -> Option<i32> {
            if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').map(|offset| REAL_TIME.0 + offset)
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').map(|offset| REAL_TIME.1 - offset)
        } else {
            None
        };
        number
            .filter(|number| (REAL_TIME.0..=REAL_TIME.1).contains(number))
            .map(Self)
            .ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_spelling_and_written_in_one() {
        for (text, number) in
            [("9", 9), ("kill", 9), ("SIGTERM", 15), ("rtmin+3", 37), ("RTMAX-1", 63), ("IOT", 6)]
        {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for text in ["", "0", "65", "SIG", "NOPE", "RTMIN+99", "RTMAX+1", "-9"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        assert_eq!(Signal::TERMINATE.to_string(), "SIGTERM");
        assert_eq!(Signal::from_number(37).unwrap().to_string(), "SIGRTMIN+3");
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
    }
}
