//! The program `portico`, started as its user starts it.

use super::Client;
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

/// A running program. It is killed when a test fails before it was stopped.
pub(crate) struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) banner: String,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Serves `root` on any free port, and waits until it does.
    pub(crate) fn start(root: &Path, arguments: &[&str]) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_portico")), root, arguments)
    }

    /// The same with so many descriptors at most.
    #[cfg(unix)]
    pub(crate) fn start_with_descriptors(most: u32, root: &Path, arguments: &[&str]) -> Self {
        Self::start_after(&format!("ulimit -n {most}"), root, arguments)
    }

    /// The same in the process of a shell that has carried out `commands` before.
    #[cfg(unix)]
    pub(crate) fn start_after(commands: &str, root: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        Self::prepare(&mut command, commands);
        Self::start_with(command, root, arguments)
    }

    /// Gives a shell its commands, with the program after them.
    #[cfg(unix)]
    pub(crate) fn prepare(shell: &mut Command, commands: &str) {
        shell.arg("-c").arg(format!("{commands} && exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_portico"));
    }

    /// The same as a user who is not root, whom permissions do not bind. The program is copied to where that user can reach it.
    #[cfg(unix)]
    pub(crate) fn start_unprivileged(root: &Path, arguments: &[&str]) -> Self {
        use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
        if !rustix::process::geteuid().is_root() {
            return Self::start(root, arguments);
        }
        const NOBODY: u32 = 65_534;
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let copy = place.path().join("portico");
        std::fs::copy(env!("CARGO_BIN_EXE_portico"), &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
        Self::start_with(command, root, arguments)
    }

    pub(crate) fn start_with(mut command: Command, root: &Path, arguments: &[&str]) -> Self {
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTICO_"))
        {
            command.env_remove(name);
        }
        // No portico.toml of the folder the tests run in.
        command.current_dir(std::env::temp_dir());
        command.arg(root).args(["--port", "0"]).args(arguments).stdout(Stdio::piped());
        // Standard output is then the log's alone.
        let aside = arguments.contains(&"--access-log=-");
        if aside {
            command.stderr(Stdio::piped());
        }
        // A copied program cannot be started as long as a child that another test has just forked holds the descriptor that wrote it.
        let mut child = loop {
            match command.spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now()
                }
                child => break child.unwrap(),
            }
        };
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        match child.stderr.as_mut() {
            Some(error) => BufReader::new(error).read_line(&mut banner).unwrap(),
            None => output.read_line(&mut banner).unwrap(),
        };
        let address = banner.split_once(" at http://").and_then(|(_, rest)| rest.split_once('/'));
        let address = address.and_then(|(address, _)| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the program says {banner:?}");
        };
        Self { child, output, banner, address }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success());
    }

    /// The next line of standard output; empty at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for the end: the exit status, and what standard output said since the last line that was read.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap(), text)
    }

    /// Ends it without a chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory of the program's own in bytes, without what it shares: anonymous pages that are resident.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
