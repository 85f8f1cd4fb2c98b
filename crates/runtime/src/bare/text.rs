//! Moving, filling and comparing bytes: what the compiler takes for granted.
//!
//! In assembly, since a compiler that recognises such a loop would make it a call of itself.

use super::calls::function;

// memcpy may do what memmove does.
function!("memcpy":
    "jmp memmove";);

function!("memmove":
    "mov rax, rdi",
    "cmp rdx, 32",
    "ja 5f",
    "cmp rdx, 16",
    "jb 2f",
    // Up to 32 bytes as two pieces that overlap: all are read before any is written.
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "2:",
    "cmp rdx, 8",
    "jb 3f",
    "mov rcx, [rsi]",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    "3:",
    "cmp rdx, 4",
    "jb 4f",
    "mov ecx, [rsi]",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "4:",
    "test rdx, rdx",
    "jz 7f",
    // One to three bytes: the first, the middle one and the last.
    "mov r9, rdx",
    "shr r9, 1",
    "movzx ecx, byte ptr [rsi]",
    "movzx r8d, byte ptr [rsi + r9]",
    "movzx r10d, byte ptr [rsi + rdx - 1]",
    "mov [rdi], cl",
    "mov [rdi + r9], r8b",
    "mov [rdi + rdx - 1], r10b",
    "ret",
    "5:",
    // Forwards, unless that would overwrite what is still to be read.
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb 6f",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "6:",
    "movups xmm0, [rsi + rdx - 16]",
    "movups [rdi + rdx - 16], xmm0",
    "sub rdx, 16",
    "cmp rdx, 16",
    "jae 6b",
    // Less than 16 bytes are left at the beginning.
    "jmp 2b",
    "7:",
    "ret";);

function!("memset":
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret";);

function!("bcmp":
    "jmp memcmp";);

function!("memcmp":
    "2:",
    "cmp rdx, 8",
    "jb 4f",
    "mov rax, [rdi]",
    "mov rcx, [rsi]",
    "cmp rax, rcx",
    "jne 3f",
    "add rdi, 8",
    "add rsi, 8",
    "sub rdx, 8",
    "jmp 2b",
    "3:",
    // The first byte in memory is the lowest: it decides when it is the highest.
    "bswap rax",
    "bswap rcx",
    "cmp rax, rcx",
    "sbb eax, eax",
    "or eax, 1",
    "ret",
    "4:",
    "xor eax, eax",
    "5:",
    "test rdx, rdx",
    "jz 6f",
    "movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "sub eax, ecx",
    "jnz 6f",
    "inc rdi",
    "inc rsi",
    "dec rdx",
    "jmp 5b",
    "6:",
    "ret";);

function!("strlen":
    "mov rax, rdi",
    "2:",
    "cmp byte ptr [rax], 0",
    "je 3f",
    "inc rax",
    "jmp 2b",
    "3:",
    "sub rax, rdi",
    "ret";);
