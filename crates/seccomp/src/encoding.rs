//! Filters as bytes, so that one which was compiled once can be kept in a file.
//!
//! A header of 16 bytes (a mark with the format's version, the architecture, the flags, the number
//! of instructions), then the instructions, all little-endian.

use crate::architecture::Architecture;
use crate::filter::{Filter, Instruction, MAX_INSTRUCTIONS};

const MARK: [u8; 4] = *b"BSF\x01";
const HEADER: usize = 16;
const INSTRUCTION: usize = 8;

/// Bytes that are no filter for this machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Something else, or another version.
    #[error("the bytes do not begin with the mark of a compiled seccomp filter")]
    Mark,
    /// A filter for another architecture.
    #[error("the seccomp filter was compiled for the architecture {code:#x}")]
    Architecture {
        /// Its code (`AUDIT_ARCH_*`).
        code: u32,
    },
    /// Cut, or with something behind the end.
    #[error("the seccomp filter has {found} bytes instead of {expected}")]
    Length {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// More instructions than the kernel takes, or none.
    #[error("the seccomp filter claims to have {0} instructions")]
    Count(u32),
}

impl Filter {
    /// The filter as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let instructions = self.instructions();
        let mut bytes = Vec::with_capacity(HEADER + INSTRUCTION * instructions.len());
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&Architecture::NATIVE.audit_code().to_le_bytes());
        bytes.extend_from_slice(&self.flags().to_le_bytes());
        bytes.extend_from_slice(&(instructions.len() as u32).to_le_bytes());
        for instruction in instructions {
            bytes.extend_from_slice(&instruction.code.to_le_bytes());
            bytes.push(instruction.jump_true);
            bytes.push(instruction.jump_false);
            bytes.extend_from_slice(&instruction.constant.to_le_bytes());
        }
        bytes
    }

    /// The filter that [`Self::to_bytes`] wrote. The kernel checks the program itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (header, body) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(DecodeError::Length { found: bytes.len(), expected: HEADER })?;
        let [m0, m1, m2, m3, a0, a1, a2, a3, f0, f1, f2, f3, c0, c1, c2, c3] = *header;
        if [m0, m1, m2, m3] != MARK {
            return Err(DecodeError::Mark);
        }
        let code = u32::from_le_bytes([a0, a1, a2, a3]);
        if code != Architecture::NATIVE.audit_code() {
            return Err(DecodeError::Architecture { code });
        }
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        if count == 0 || count as usize > MAX_INSTRUCTIONS {
            return Err(DecodeError::Count(count));
        }
        let expected = INSTRUCTION * count as usize;
        if body.len() != expected {
            return Err(DecodeError::Length { found: bytes.len(), expected: HEADER + expected });
        }
        let (chunks, _) = body.as_chunks::<INSTRUCTION>();
        let instructions = chunks
            .iter()
            .map(|&[c0, c1, jump_true, jump_false, k0, k1, k2, k3]| Instruction {
                code: u16::from_le_bytes([c0, c1]),
                jump_true,
                jump_false,
                constant: u32::from_le_bytes([k0, k1, k2, k3]),
            })
            .collect();
        Ok(Self::from_parts(instructions, u32::from_le_bytes([f0, f1, f2, f3])))
    }
}
