//! A process that is made to do what it never would: system calls of our choice, made by the process
//! itself, with its identity, filters and walls. What somebody who has taken it over could do.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::process::Process;

/// Bytes below the stack that the process's own code leaves alone, with room for what we write.
const BELOW: u64 = 16 << 10;

/// The process, stopped; it goes on as it was when this is dropped.
pub struct Puppet {
    pid: Pid,
    memory: File,
    registers: nix::libc::user_regs_struct,
    /// How far what was written reaches.
    used: u64,
}

impl Puppet {
    /// Stops a process. Its first thread must wait in the kernel, as that of an idle server does.
    ///
    /// # Panics
    /// When it cannot be traced.
    #[must_use]
    pub fn of(process: Process) -> Puppet {
        let pid = Pid::from_raw(process.pid);
        ptrace::attach(pid).unwrap();
        waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        let path = format!("/proc/{pid}/mem");
        let memory = File::options().read(true).write(true).open(path).unwrap();
        let registers = ptrace::getregs(pid).unwrap();
        let mut instruction = [0; 2];
        memory
            .read_exact_at(&mut instruction, registers.rip - 2)
            .unwrap();
        assert_eq!(instruction, [0x0f, 0x05], "it does not wait in the kernel");
        Puppet {
            pid,
            memory,
            registers,
            used: 0,
        }
    }

    /// The address of a text in its memory.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn text(&mut self, text: &str) -> u64 {
        let bytes = [text.as_bytes(), &[0]].concat();
        let at = self.registers.rsp - BELOW + self.used;
        self.used += bytes.len() as u64;
        assert!(self.used < BELOW / 2);
        self.memory.write_all_at(&bytes, at).unwrap();
        at
    }

    /// Makes a system call, and tells the kernel's answer.
    ///
    /// # Errors
    /// When the kernel gives one.
    ///
    /// # Panics
    /// When the process does not do as it is told.
    pub fn call(&mut self, number: i64, arguments: &[u64]) -> Result<i64, Errno> {
        let mut registers = self.registers;
        let argument = |at: usize| arguments.get(at).copied().unwrap_or(0);
        registers.rax = number.cast_unsigned();
        // Not in a call any more, so that the kernel does not begin that one again.
        registers.orig_rax = u64::MAX;
        registers.rip -= 2;
        registers.rdi = argument(0);
        registers.rsi = argument(1);
        registers.rdx = argument(2);
        registers.r10 = argument(3);
        registers.r8 = argument(4);
        registers.r9 = argument(5);
        ptrace::setregs(self.pid, registers).unwrap();
        ptrace::step(self.pid, None).unwrap();
        waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap();
        let answer = ptrace::getregs(self.pid).unwrap().rax.cast_signed();
        match answer {
            -4095..0 => Err(Errno::from_raw(i32::try_from(-answer).unwrap())),
            answer => Ok(answer),
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = ptrace::setregs(self.pid, self.registers);
        let _ = ptrace::detach(self.pid, None);
    }
}
