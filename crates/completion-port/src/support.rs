//! Which operation is what on which backend: the one source of the table in the documentation, and of what the conformance suite expects.

use crate::{configuration::Backend, operation::OperationKind};

/// How a backend carries an operation out, see [`OperationKind::support`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// By what means, where it works as it mostly does.
    pub means: Means,
    /// With which calls, with which exceptions; or why there is no such thing. May be empty.
    pub how: &'static str,
}

/// By what means an operation is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// The kernel does it asynchronously.
    Native,
    /// Made of other calls, in place.
    Built,
    /// Done on a thread of the port's pool.
    Pool,
    /// Accepted, and completes with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported); of a packet, it never comes.
    Unsupported,
}

impl Means {
    /// The word that the documentation uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Built => "built",
            Self::Pool => "pool",
            Self::Unsupported => "unsupported",
        }
    }
}

/// One row of the table.
struct Row {
    iocp: Support,
    io_uring: Support,
    /// On Linux, and on Unix systems without what Linux has.
    readiness: Support,
    readiness_elsewhere: Option<Support>,
    simulated: Support,
}

const fn native(how: &'static str) -> Support {
    Support { means: Means::Native, how }
}

const fn built(how: &'static str) -> Support {
    Support { means: Means::Built, how }
}

const fn pool(how: &'static str) -> Support {
    Support { means: Means::Pool, how }
}

const fn unsupported(why: &'static str) -> Support {
    Support { means: Means::Unsupported, how: why }
}

/// What a simulated world has nothing for.
const NOT_SIMULATED: Support = unsupported("a simulated world has streams and files only");

/// What a simulated world does with files.
const FILE: Support = built("the real file, in virtual time");

const fn row(iocp: Support, io_uring: Support, readiness: Support) -> Row {
    Row { iocp, io_uring, readiness, readiness_elsewhere: None, simulated: built("in memory") }
}

impl Row {
    const fn elsewhere(self, readiness: Support) -> Self {
        Self { readiness_elsewhere: Some(readiness), ..self }
    }

    const fn simulated(self, simulated: Support) -> Self {
        Self { simulated, ..self }
    }
}

impl OperationKind {
    /// How `backend` carries the operation out on this system; none for what is no operation and no packet of the program.
    ///
    /// The table of all of them is in the project's ARCHITECTURE.md.
    pub const fn support(self, backend: Backend) -> Option<Support> {
        let Some(row) = self.row() else { return None };
        Some(match backend {
            Backend::Iocp => row.iocp,
            Backend::IoUring => row.io_uring,
            Backend::Readiness => match row.readiness_elsewhere {
                Some(elsewhere) if !cfg!(target_os = "linux") => elsewhere,
                _ => row.readiness,
            },
            // A simulated world has the real files, and what can be done with them.
            Backend::Simulated => match row.readiness_elsewhere {
                Some(elsewhere)
                    if !cfg!(target_os = "linux") && matches!(elsewhere.means, Means::Unsupported) =>
                {
                    elsewhere
                }
                _ => row.simulated,
            },
        })
    }

    const fn row(self) -> Option<Row> {
        Some(match self {
            Self::Accept | Self::AcceptStream => row(
                native("AcceptEx, up to `accepts_posted` kept posted"),
                native("accept; multishot for a stream while there is room for 64 handles"),
                built("accept(2) when readable"),
            ),
            Self::Connect => row(native("ConnectEx, with the first bytes where they are one piece; unsupported for Unix-domain sockets, which have no such call"), native(""), built("connect(2), done when writable")),
            Self::ReceiveScatter => row(
                native("WSARecv"),
                native("recvmsg; readv from a pipe"),
                built("recvmsg(2) or readv(2) when readable"),
            )
            .simulated(NOT_SIMULATED),
            Self::ReceiveFrom => row(native("WSARecvFrom"), native("recvmsg"), built("recvmsg(2) when readable")).simulated(NOT_SIMULATED),
            Self::ReceiveMessage => row(
                native("WSARecvMsg"),
                native("recvmsg with control data"),
                built("recvmsg(2) with control data when readable"),
            )
            .simulated(NOT_SIMULATED),
            Self::SendTo => row(native("WSASendTo"), native("sendmsg"), built("sendmsg(2) when writable")).simulated(NOT_SIMULATED),
            Self::SendMessage => row(
                native("WSASendMsg; of control data what a test at start has seen obeyed"),
                native("sendmsg with control data"),
                built("sendmsg(2) with control data when writable"),
            )
            .simulated(NOT_SIMULATED),
            Self::Control => row(
                built("WSAIoctl and setsockopt in place; an address change is native: SIO_ADDRESS_LIST_CHANGE"),
                built("setsockopt(2) in place; an address change from a netlink socket"),
                built("setsockopt(2) in place; an address change from a netlink socket"),
            )
            .elsewhere(built("setsockopt(2) in place; no address change"))
            .simulated(NOT_SIMULATED),
            Self::WatchDirectory => row(
                native("ReadDirectoryChangesW"),
                built("inotify(7), one descriptor each"),
                built("inotify(7), one descriptor each"),
            )
            .elsewhere(unsupported("only Linux has inotify"))
            .simulated(NOT_SIMULATED),
            Self::TransmitPackets => row(
                native("TransmitPackets where a test at start has seen it work; else each element as transmit file sends it"),
                built("each element as transmit file sends it"),
                built("each element as transmit file sends it"),
            )
            .simulated(NOT_SIMULATED),
            Self::Disconnect => row(
                built("shutdown(SD_SEND)"),
                built("shutdown(2) in place"),
                built("shutdown(2) when its turn comes"),
            ),
            Self::Receive => row(native("WSARecv"), native(""), built("recv(2) when readable")),
            Self::ReceiveStream => row(
                built("WSARecv of zero bytes, then what is there"),
                native("multishot receive, provided buffers"),
                built("recv(2) into a pooled buffer when readable"),
            ),
            Self::Send => row(
                native("WSASend, gathered"),
                native("send or sendmsg"),
                built("send(2) or sendmsg(2) when writable"),
            ),
            Self::TransmitFile => row(
                native("TransmitFile, head included where it is one piece"),
                built("sendfile(2) of what is known to be in memory; else read and send by turns"),
                built("sendfile(2) of what is known to be in memory; else read and send by turns, on the pool where that would wait"),
            )
            .elsewhere(built("read and send by turns; reads on the pool")),
            Self::ReadAt => row(
                native("ReadFile"),
                native("what the page cache has is read in place"),
                built("from the page cache; else on the pool"),
            )
            .elsewhere(pool("pread(2)"))
            .simulated(FILE),
            Self::WriteAt => row(
                native(
                    "WriteFile, slice by slice; on the pool where it makes the file longer, which NTFS would do in the call",
                ),
                native("write or writev; in tmpfs pwritev(2) in place"),
                pool("pwrite(2); in tmpfs pwritev(2) in place"),
            )
            .elsewhere(pool("pwrite(2)"))
            .simulated(FILE),
            Self::Append => row(pool("WriteFile at the end"), native("write or writev"), pool("write(2)")).simulated(FILE),
            Self::Sync => row(
                pool("FlushFileBuffers"),
                native("fsync; in tmpfs in place"),
                pool("fsync(2), fdatasync(2); in tmpfs in place"),
            )
            .elsewhere(pool("fsync(2), fdatasync(2)"))
            .simulated(FILE),
            Self::Open => {
                let built = pool(
                    "in place where nothing is created and the names are in memory, and without a name in a folder of tmpfs",
                );
                row(pool("without a name unsupported"), built, built)
                    .elsewhere(pool("without a name unsupported"))
                    .simulated(FILE)
            }
            Self::Link => row(
                unsupported("files without a name are only on Linux"),
                pool("linkat(2), renameat(2), fsync(2); in tmpfs in place"),
                pool("linkat(2), renameat(2), fsync(2); in tmpfs in place"),
            )
            .elsewhere(unsupported("files without a name are only on Linux"))
            .simulated(FILE),
            Self::Metadata => row(pool("GetFileInformationByHandle"), built("fstat(2)"), built("fstat(2)")).simulated(FILE),
            Self::Call => row(pool(""), pool(""), pool("")).simulated(built("within a wait, in virtual time")),
            Self::Timer => {
                let shortened = built("the wait is shortened");
                row(shortened, shortened, shortened).simulated(built("virtual time"))
            }
            Self::Close => row(
                built("CancelIoEx, then closesocket or CloseHandle when all is home"),
                built("IORING_OP_ASYNC_CANCEL, then close(2) when all is home"),
                built("close(2) when all is home"),
            ),
            Self::Writable => row(
                built("counted with the sends"),
                built("counted with the sends"),
                built("counted with the sends"),
            ),
            Self::Post => row(
                built("a queue in memory; PostQueuedCompletionStatus wakes"),
                built("a queue in memory; an eventfd wakes"),
                built("a queue in memory; an eventfd or a pipe wakes"),
            ),
            Self::Draining | Self::Shutdown | Self::Setup | Self::Associate | Self::Acquire | Self::Wait => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt::Write, fs, path::Path};

    const BEGIN: &str = "<!-- Generated from crates/completion-port/src/support.rs: begin -->\n";
    const END: &str = "<!-- Generated: end -->\n";
    const BLESS: &str =
        "COMPLETION_PORT_BLESS=1 cargo test -p completion-port --lib support, and look at what changed";

    fn cell(support: Support) -> String {
        let name = support.means.name();
        if support.how.is_empty() { name.to_owned() } else { format!("{name}: {}", support.how) }
    }

    fn table() -> String {
        let mut table =
            String::from("| operation | IOCP | io_uring | readiness | simulated |\n|---|---|---|---|---|\n");
        for kind in OperationKind::ALL {
            let Some(row) = kind.row() else { continue };
            let readiness = match row.readiness_elsewhere {
                Some(elsewhere) => format!("Linux: {}; elsewhere {}", cell(row.readiness), cell(elsewhere)),
                None => cell(row.readiness),
            };
            let (name, iocp, io_uring) = (kind.name(), cell(row.iocp), cell(row.io_uring));
            let simulated = cell(row.simulated);
            writeln!(table, "| {name} | {iocp} | {io_uring} | {readiness} | {simulated} |").unwrap();
        }
        table
    }

    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        if !cfg!(target_os = "linux") {
            // What a simulated world does with files depends on the system that it is run on.
            return;
        }
        for page in ["../../ARCHITECTURE.md", "docs/backends.md"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
            let text = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
            let (before, rest) =
                text.split_once(BEGIN).expect("the page has the mark of the table's beginning");
            let (found, after) = rest.split_once(END).expect("the page has the mark of the table's end");
            if found == table() {
                continue;
            }
            assert!(
                std::env::var_os("COMPLETION_PORT_BLESS").is_some(),
                "{page} is out of date: run {BLESS}"
            );
            fs::write(path, [before, BEGIN, &table(), END, after].concat()).unwrap();
        }
    }

    #[test]
    fn every_kind_is_in_the_list_once() {
        for (place, kind) in OperationKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, place, "{kind:?} is not at its place");
        }
        assert_eq!(OperationKind::ALL.len(), OperationKind::Wait as usize + 1);
    }

    #[test]
    fn what_is_unsupported_says_why() {
        for kind in OperationKind::ALL {
            let Some(row) = kind.row() else { continue };
            for support in [row.iocp, row.io_uring, row.readiness, row.simulated]
                .into_iter()
                .chain(row.readiness_elsewhere)
            {
                assert!(support.means != Means::Unsupported || !support.how.is_empty(), "{kind:?}");
            }
        }
    }
}
