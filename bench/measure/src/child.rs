//! Child processes: each server has one of its own, and with it processor time and memory of its own.

use crate::{Failure, processor};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

/// A process of the same program, started with `child WORD...`. Ended when it is dropped.
pub struct Own {
    child: Child,
    /// Ends with this process, however it ends: that is how a child notices.
    _input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Own {
    /// Starts it.
    pub fn start(words: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("child")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no output")?);
        Ok(Self { child, _input: input, output: BufReader::new(output) })
    }

    /// The next line that it says.
    pub fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a child process ended early; what it printed above says why".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that it used so far.
    pub fn used(&self) -> Result<Duration, Failure> {
        Ok(processor::used_by(self.number())?)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a child: says a line to who started it.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// For a child: ends it when the process that started it has ended.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

/// Counts the system calls of a process with perf(1) while `work` runs. None where that is not to be had.
pub fn system_calls<T>(process: u32, work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let perf = Command::new("perf")
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(perf) = perf else { return (work(), None) };
    // It says nothing when it has begun.
    std::thread::sleep(Duration::from_millis(250));
    let done = work();
    if let Ok(number) = i32::try_from(perf.id())
        && let Some(number) = Pid::from_raw(number)
    {
        let _ = kill_process(number, Signal::INT);
    }
    let text = perf.wait_with_output().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let count = |text: String| {
        text.lines().find(|line| line.contains("raw_syscalls"))?.split(',').next()?.parse().ok()
    };
    (done, text.ok().and_then(count))
}
