//! The listening sockets: opened before the workers start, one set for each queue that accepts.

#[cfg(unix)]
use crate::unix_socket::SocketFile;
use crate::{
    connection::Audience,
    settings::{ListenAddress, Settings},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{io, net::SocketAddr};

/// An address that cannot be listened on, and why.
pub(crate) type Failed = (ListenAddress, io::Error);

/// A listening socket, and whom its connections are for.
pub(crate) struct Opened {
    pub(crate) socket: Socket,
    pub(crate) audience: Audience,
}

/// All listening sockets of a server.
pub(crate) struct Listeners {
    /// Where they listen, in the order of the settings, with the ports that the system chose.
    pub(crate) addresses: Vec<ListenAddress>,
    /// Where the counters are shown.
    pub(crate) admin_address: Option<ListenAddress>,
    /// For each queue that accepts.
    pub(crate) of_queues: Vec<Vec<Opened>>,
    /// The files of Unix-domain sockets, which go when this is dropped.
    #[cfg(unix)]
    pub(crate) files: Vec<SocketFile>,
}

impl Listeners {
    /// Opens them for so many queues: the system spreads connections over the sockets of an address. On Windows the first queue
    /// gets them all.
    pub(crate) fn open(settings: &Settings, queues: usize) -> Result<Self, Failed> {
        let accepting = if cfg!(unix) { queues } else { 1 };
        let mut listeners = Self {
            addresses: Vec::new(),
            admin_address: None,
            of_queues: (0..accepting).map(|_| Vec::new()).collect(),
            #[cfg(unix)]
            files: Vec::new(),
        };
        let mut sockets = Vec::new();
        for wanted in settings.listen_addresses() {
            let (bound, address) = listeners.bind(&wanted, settings, accepting)?;
            listeners.addresses.push(address);
            sockets.push((wanted, bound, Audience::Site));
        }
        if let Some(wanted) = settings.admin_listen.as_ref().map(|admin| admin.address().clone()) {
            // The first queue serves it.
            let (bound, address) = listeners.bind(&wanted, settings, 1)?;
            listeners.admin_address = Some(address);
            sockets.push((wanted, bound, Audience::Report));
        }
        // Only when all are bound: a socket that listens takes connections, which a server that does not start would drop.
        for (wanted, bound, audience) in sockets {
            for (queue, socket) in listeners.of_queues.iter_mut().zip(bound) {
                socket.listen(settings.backlog as i32).map_err(|error| (wanted.clone(), error))?;
                queue.push(Opened { socket, audience });
            }
        }
        Ok(listeners)
    }

    /// Binds sockets to an address for so many queues, and says which address it became.
    fn bind(
        &mut self,
        wanted: &ListenAddress,
        settings: &Settings,
        count: usize,
    ) -> Result<(Vec<Socket>, ListenAddress), Failed> {
        let bound = match wanted {
            ListenAddress::Internet(address) => internet(*address, settings, count).and_then(|sockets| {
                let address = sockets[0].local_addr()?.as_socket();
                Ok((sockets, address.map_or(wanted.clone(), ListenAddress::Internet)))
            }),
            #[cfg(unix)]
            ListenAddress::Unix(path) => {
                SocketFile::bind(path, settings.unix_socket_mode.0).and_then(|(socket, file)| {
                    self.files.push(file);
                    Ok((copies(socket, count)?, wanted.clone()))
                })
            }
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        bound.map_err(|error| (wanted.clone(), error))
    }

    /// The first address of an internet family; one without a port where there is none.
    pub(crate) fn internet_address(&self) -> SocketAddr {
        let internet = self.addresses.iter().find_map(|address| match address {
            ListenAddress::Internet(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
        internet.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

/// Sockets that share an address of the internet: on Linux each has a queue of its own in the system.
fn internet(wanted: SocketAddr, settings: &Settings, count: usize) -> io::Result<Vec<Socket>> {
    let shared = cfg!(target_os = "linux") && count > 1;
    if shared && wanted.port() != 0 {
        // Sockets that share a port would join another server's without a word: see first that it is free.
        bind(wanted, settings.ipv6_only, false)?;
    }
    let first = bind(wanted, settings.ipv6_only, shared)?;
    if !shared {
        return copies(first, count);
    }
    let address = first.local_addr()?.as_socket().unwrap_or(wanted);
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, settings.ipv6_only, true)?);
    }
    Ok(sockets)
}

fn copies(socket: Socket, count: usize) -> io::Result<Vec<Socket>> {
    let mut sockets = vec![socket];
    for _ in 1..count {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok(sockets)
}

/// Bound only: a socket that listens takes connections, and one that is only to see whether the port is free must not.
fn bind(address: SocketAddr, ipv6_only: bool, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows this option means something else: that others may take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())?;
    // Inherited by what is accepted. Answers are gathered, so there is nothing for Nagle's algorithm to wait for.
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}
