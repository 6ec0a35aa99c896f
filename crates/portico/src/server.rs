//! Starting and stopping the server.

use crate::{
    connections::{Connections, SPARE_HANDLES},
    context::Context,
    counters::{Counters, Registry},
    listeners::{Listeners, Opened},
    log::{AccessLog, LogError, Stopped},
    protection::{Protection, UsersError},
    settings::{BackendChoice, FolderError, Folders, ListenAddress, Settings},
    site::Site,
    worker,
};
use completion_port::{Backend, BufferClass, Configuration, Port, ShutdownReport};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

/// A server that runs. Stop it with [`Server::stop`]; a dropped one goes on until the process ends.
///
/// ```no_run
/// use portico::{Server, settings::Settings};
/// use std::time::Duration;
///
/// let server = Server::start(Settings::new("./site"))?;
/// println!("http://{}/", server.address());
/// let end = server.stop(Duration::from_secs(10));
/// assert!(end.is_clean());
/// # Ok::<(), portico::StartError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    port: Port,
    address: SocketAddr,
    addresses: Vec<ListenAddress>,
    admin_address: Option<ListenAddress>,
    log: AccessLog,
    counters: Arc<Registry>,
    threads: Vec<JoinHandle<()>>,
}

/// Why the server could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The root or the upload folder cannot be used.
    Folder(FolderError),
    /// A users file cannot be used.
    Users(UsersError),
    /// The access log cannot be written.
    Log(LogError),
    /// The address cannot be listened on.
    Listen(ListenAddress, io::Error),
    /// The completion port cannot be made.
    Port(completion_port::Error),
    /// No thread could be started.
    Thread(io::Error),
}

/// How the server ended.
#[derive(Clone, Copy, Debug)]
#[must_use = "says whether anything was cut short or lost"]
pub struct End {
    /// Of the completion port and everything in flight on it.
    pub port: ShutdownReport,
    /// Of the access log.
    pub log: Stopped,
}

impl End {
    /// Every answer was finished, and every line logged.
    pub fn is_clean(&self) -> bool {
        self.port.is_clean() && self.log.finished
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port.fmt(formatter)?;
        if !self.log.finished {
            formatter.write_str(", the access log is not complete")?;
        }
        Ok(())
    }
}

impl Server {
    /// Opens the folders and the log, listens, and starts the workers.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is in the way.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let configuration = configuration(&settings);
        let mut parts = Parts::open(settings, configuration)?;
        let (port, log) = (parts.port.clone(), parts.log.clone());
        let (addresses, admin_address) = (std::mem::take(&mut parts.addresses), parts.admin_address.take());
        let counters = Arc::clone(&parts.counters);
        let mut server = Self {
            port,
            address: parts.address,
            addresses,
            admin_address,
            log,
            counters,
            threads: Vec::new(),
        };
        for _ in 0..parts.workers {
            if let Err(error) = server.start_worker(parts.next()) {
                server.port.cancel_all();
                let _ = server.stop(Duration::ZERO);
                return Err(error);
            }
        }
        Ok(server)
    }

    fn start_worker(&mut self, part: Part) -> Result<(), StartError> {
        let (say, said) = mpsc::channel();
        let number = self.threads.len();
        let thread = std::thread::Builder::new().name(format!("portico-{number}")).spawn(move || match part
            .into_worker()
        {
            Ok(server) => {
                let _ = say.send(Ok(()));
                if let Err(error) = server.run() {
                    tracing::error!(%error, "a worker ends");
                }
            }
            Err(error) => {
                let _ = say.send(Err(error));
            }
        });
        self.threads.push(thread.map_err(StartError::Thread)?);
        match said.recv() {
            Ok(result) => result.map_err(StartError::Port),
            Err(_) => Err(StartError::Thread(io::Error::other("a worker panicked while it started"))),
        }
    }

    /// Where the server listens: its first address of IPv4 or IPv6. With Unix-domain sockets only, it is one with port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All addresses where the server listens, with the ports that the system chose, in the order of the settings.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Where the counters are shown, with the port that the system chose; none where `admin_listen` is not set.
    pub fn admin_address(&self) -> Option<&ListenAddress> {
        self.admin_address.as_ref()
    }

    /// What was counted since the start. Workers count on meanwhile, and tell what they did when their present round ends.
    pub fn counters(&self) -> Counters {
        self.counters.counters(&self.port, &self.log)
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        self.port.backend()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Has the access log opened anew, after it was renamed.
    pub fn reopen_log(&self) {
        self.log.reopen();
    }

    /// Shuts down as the seed's "Shutdown" says: refuses new connections, lets running answers finish until the deadline, sends
    /// every worker its shutdown packet, and waits for them. Then the log is completed.
    pub fn stop(self, deadline: Duration) -> End {
        let port = self.port.shutdown(deadline);
        if port.workers_left == 0 {
            for thread in self.threads {
                // A panic was reported when it happened, and shows as operations that were left.
                let _ = thread.join();
            }
        }
        // What the workers held is dropped with their threads.
        let port = ShutdownReport { buffers_left: self.port.buffers().in_use(), ..port };
        End { port, log: self.log.stop(Duration::from_secs(5)) }
    }
}

/// What a server is made of before its workers are there.
pub(crate) struct Parts {
    pub(crate) port: Port,
    pub(crate) address: SocketAddr,
    pub(crate) addresses: Vec<ListenAddress>,
    pub(crate) admin_address: Option<ListenAddress>,
    pub(crate) counters: Arc<Registry>,
    pub(crate) log: AccessLog,
    /// How many workers there are to be.
    pub(crate) workers: usize,
    site: Arc<Site>,
    connections: Arc<[Arc<Connections>]>,
    listeners: std::vec::IntoIter<Vec<Opened>>,
}

/// What one worker is made of, on its own thread.
pub(crate) struct Part {
    port: Port,
    workers: usize,
    site: Arc<Site>,
    connections: Arc<[Arc<Connections>]>,
    listeners: Vec<Opened>,
}

impl Parts {
    /// Opens the folders and the log, and listens.
    pub(crate) fn open(settings: Settings, configuration: Configuration) -> Result<Self, StartError> {
        let folders = settings.each_host().map(|(_, settings)| Folders::find(settings));
        let folders: Vec<_> = folders.collect::<Result<_, _>>().map_err(StartError::Folder)?;
        let roots = || {
            folders.iter().map(|found| &*found.root).zip(settings.each_host().map(|(_, settings)| settings))
        };
        let protections = settings.each_host().map(|(_, settings)| Protection::open(settings, roots()));
        let protections = protections.collect::<Result<_, _>>().map_err(StartError::Users)?;
        let port = Port::new(configuration).map_err(StartError::Port)?;
        let workers = port.queues() * port.configuration().workers_per_queue;
        let listeners = Listeners::open(&settings, port.queues());
        let listeners = listeners.map_err(|(address, error)| StartError::Listen(address, error))?;
        let address = listeners.internet_address();
        let log = AccessLog::start(&settings).map_err(StartError::Log)?;
        let limit = settings.connections.div_ceil(port.queues());
        let counters = Arc::new(Registry::new(workers, settings.admin_listen.is_some()));
        let site = Site::open(settings, &folders, log.clone(), Arc::clone(&counters));
        let mut site =
            site.map_err(|error| StartError::Folder(FolderError::Other(folders[0].root.clone(), error)))?;
        site.hosts.protect(protections);
        #[cfg(unix)]
        {
            site.socket_files = listeners.files;
        }
        let (site, addresses, admin_address) = (Arc::new(site), listeners.addresses, listeners.admin_address);
        let listeners = listeners.of_queues.into_iter();
        let connections =
            (0..port.queues()).map(|_| Arc::new(Connections::new(limit, Arc::clone(&counters))));
        let connections = connections.collect();
        Ok(Self {
            port,
            address,
            addresses,
            admin_address,
            counters,
            log,
            workers,
            site,
            connections,
            listeners,
        })
    }

    /// For the next worker. The first of each queue gets listeners.
    pub(crate) fn next(&mut self) -> Part {
        Part {
            port: self.port.clone(),
            workers: self.workers,
            site: Arc::clone(&self.site),
            connections: Arc::clone(&self.connections),
            listeners: self.listeners.next().unwrap_or_default(),
        }
    }
}

impl Part {
    pub(crate) fn into_worker(self) -> Result<worker::Server, completion_port::Error> {
        let worker = self.port.worker()?;
        let connections = Arc::clone(&self.connections[worker.queue()]);
        let context = Context::new(worker, self.site, self.workers, connections.alarms());
        worker::Server::new(context, connections, self.listeners)
    }
}

/// The port for these settings.
pub(crate) fn configuration(settings: &Settings) -> Configuration {
    let workers = settings.worker_count();
    let mut configuration = Configuration::default();
    configuration.backend = match settings.backend {
        BackendChoice::Auto => None,
        BackendChoice::Iocp => Some(Backend::Iocp),
        BackendChoice::IoUring => Some(Backend::IoUring),
        BackendChoice::Readiness => Some(Backend::Readiness),
    };
    if cfg!(windows) {
        configuration.queues = settings.ports.min(workers);
        configuration.workers_per_queue = workers.div_ceil(configuration.queues);
    } else {
        configuration.queues = workers;
        configuration.workers_per_queue = 1;
    }
    let queues = configuration.queues;
    configuration.operations = settings.operations;
    configuration.handles =
        settings.connections.div_ceil(queues) + settings.file_cache_entries + SPARE_HANDLES;
    configuration.buffers = buffer_classes(settings);
    // Twice, because what left the cache may still be on its way to clients.
    let ready = queues * configuration.workers_per_queue * crate::ready::HEAP_BYTES;
    configuration.heap_bytes =
        2 * settings.file_cache_bytes + settings.file_cache_file_bytes + crate::listing::HEAP_BYTES + ready;
    configuration.receive_bytes = settings.receive_buffer_bytes;
    configuration.accepts_posted = settings.accepts_posted;
    configuration.transmit_bytes = settings.send_slice_bytes;
    configuration.pool_threads = settings.pool_threads;
    configuration.pool_queue = settings.pool_queue;
    configuration
}

/// Half of the memory for slices of files, the rest for heads, bodies and batches of answers.
fn buffer_classes(settings: &Settings) -> Vec<BufferClass> {
    let memory = settings.buffer_memory_bytes;
    let class = |capacity: usize, share: usize| BufferClass { capacity, count: (share / capacity).max(4) };
    let mut classes = vec![
        class(1_024, memory / 32),
        class(settings.receive_buffer_bytes.max(4_096), memory * 5 / 32),
        class(16_384, memory / 16),
        class(65_536, memory / 4),
    ];
    let slice = settings.send_slice_bytes.max(settings.head_bytes * 2);
    match classes.iter_mut().find(|class| class.capacity == slice) {
        Some(same) => same.count += memory / 2 / slice,
        None => classes.push(class(slice, memory / 2)),
    }
    classes
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(formatter),
            Self::Users(error) => error.fmt(formatter),
            Self::Log(error) => error.fmt(formatter),
            Self::Listen(address, error) => write!(formatter, "cannot listen on {address}: {error}"),
            Self::Port(error) => write!(formatter, "the completion port cannot be made: {error}"),
            Self::Thread(error) => write!(formatter, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
