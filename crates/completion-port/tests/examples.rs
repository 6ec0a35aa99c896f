//! The examples, at work on every backend.
#![allow(dead_code, reason = "the examples' main functions are for people")]

#[path = "../examples/chat.rs"]
mod chat;
#[path = "../examples/copy.rs"]
mod copy;
#[path = "../examples/framed.rs"]
mod framed;
#[path = "../examples/jobs.rs"]
mod jobs;
#[path = "../examples/udp_echo.rs"]
mod udp_echo;
#[path = "../examples/watch.rs"]
mod watch;

use completion_port::{
    Backend, Change, ChangeKind, Configuration, ErrorKind, Means, OperationKind, Port, ShutdownReport,
};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// One configuration for each backend that works here, with a worker for each queue.
fn configurations(queues: usize) -> Vec<Configuration> {
    let mut configurations = Vec::new();
    for backend in [Backend::Iocp, Backend::IoUring, Backend::Readiness] {
        let mut configuration = Configuration::default();
        (configuration.queues, configuration.workers_per_queue) = (queues, 1);
        configuration.backend = Some(backend);
        match Port::new(configuration.clone()) {
            Ok(_) => configurations.push(configuration),
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => panic!("{backend:?}: {error}"),
        }
    }
    assert!(!configurations.is_empty(), "no backend works here");
    configurations
}

fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // Small writes that wait for acknowledgements would make these tests slow.
    connection.set_nodelay(true).unwrap();
    connection
}

fn assert_clean(report: ShutdownReport, port: &Port) {
    assert!(report.is_clean(), "{:?}: {report}", port.backend());
}

mod framing {
    use super::*;

    fn serve(backend: Option<Backend>, clients: impl FnOnce(SocketAddr)) {
        let mut configuration = framed::configuration();
        configuration.backend = backend;
        let port = Port::new(configuration).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn({
            let port = port.clone();
            move || framed::serve(&port, listener).map_err(|error| error.to_string())
        });
        clients(address);
        let report = port.shutdown(PATIENCE);
        assert_eq!(server.join().unwrap(), Ok(()), "{:?}", port.backend());
        assert_clean(report, &port);
    }

    fn packet(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    /// Packets of many lengths, whose work takes longer the longer they are, in pieces that respect no boundary.
    #[test]
    fn answers_come_in_the_order_of_the_packets() {
        for configuration in configurations(1) {
            serve(configuration.backend, |address| {
                let lengths = [0, 1, 65_532, 2, 9_000, 0, 4_096, 3].into_iter().cycle().take(120);
                let questions: Vec<Vec<u8>> = lengths
                    .enumerate()
                    .map(|(number, length)| {
                        (0..length).map(|place| (number * 7 + place * 31) as u8).collect()
                    })
                    .collect();
                let said: Vec<u8> = questions.iter().flat_map(|question| packet(question)).collect();
                let mut connection = connect(address);
                let mut mouth = connection.try_clone().unwrap();
                let saying = thread::spawn(move || {
                    said.chunks(7_777).try_for_each(|piece| mouth.write_all(piece)).unwrap();
                    mouth.shutdown(Shutdown::Write).unwrap();
                });
                for (number, mut question) in questions.into_iter().enumerate() {
                    question.sort_unstable();
                    let mut answer = vec![0; 4 + question.len()];
                    connection.read_exact(&mut answer).unwrap();
                    assert!(answer == packet(&question), "answer {number}");
                }
                assert_eq!(connection.read(&mut [0]).unwrap(), 0);
                saying.join().unwrap();
            });
        }
    }

    #[test]
    fn a_packet_beyond_the_limit_ends_its_connection_only() {
        for configuration in configurations(1) {
            serve(configuration.backend, |address| {
                let (mut greedy, mut modest) = (connect(address), connect(address));
                greedy.write_all(&u32::MAX.to_be_bytes()).unwrap();
                assert!(matches!(greedy.read(&mut [0]), Ok(0) | Err(_)));
                modest.write_all(&packet(b"ba")).unwrap();
                let mut answer = [0; 6];
                modest.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"\0\0\0\x02ab");
            });
        }
    }
}

mod chatting {
    use super::*;

    struct Guest {
        ear: BufReader<TcpStream>,
        mouth: TcpStream,
    }

    impl Guest {
        /// Comes, and waits to be let in.
        fn new(address: SocketAddr) -> Self {
            let mouth = connect(address);
            let mut new = Self { ear: BufReader::new(mouth.try_clone().unwrap()), mouth };
            assert_eq!(new.hear(), "Welcome.\n");
            new
        }

        fn say(&mut self, line: &str) {
            self.mouth.write_all(line.as_bytes()).unwrap();
        }

        fn hear(&mut self) -> String {
            let mut line = String::new();
            self.ear.read_line(&mut line).unwrap();
            line
        }
    }

    fn serve(configuration: Configuration, meet: impl FnOnce(SocketAddr)) {
        let port = Port::new(configuration).unwrap();
        let listeners = chat::listen(&port, ([127, 0, 0, 1], 0).into()).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let server = thread::spawn({
            let port = port.clone();
            move || chat::serve(&port, listeners).map_err(|error| error.to_string())
        });
        meet(address);
        let report = port.shutdown(PATIENCE);
        assert_eq!(server.join().unwrap(), Ok(()), "{:?}", port.backend());
        assert_clean(report, &port);
    }

    #[test]
    fn what_one_guest_says_all_others_hear_in_its_order() {
        for configuration in configurations(3) {
            serve(configuration, |address| {
                let mut guests: Vec<Guest> = (0..12).map(|_| Guest::new(address)).collect();
                guests[5].say("first\nsec");
                guests[5].say("ond\n");
                for (number, guest) in guests.iter_mut().enumerate().filter(|(number, _)| *number != 5) {
                    assert_eq!([guest.hear(), guest.hear()], ["first\n", "second\n"], "guest {number}");
                }
                // Had the speaker heard itself, this would not be the next that it hears.
                guests[0].say("third\n");
                assert_eq!(guests[5].hear(), "third\n");
            });
        }
    }

    #[test]
    fn who_does_not_read_and_who_speaks_without_end_are_shown_out() {
        for configuration in configurations(2) {
            serve(configuration, |address| {
                let [mut speaker, mut listener, mut endless] = [(); 3].map(|()| Guest::new(address));
                let mut rest = Vec::new();
                endless.say(&"x".repeat(2_000));
                let _ = endless.ear.read_to_end(&mut rest);
                assert!(rest.is_empty(), "nothing was said to it but the end");

                let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                deaf.set_recv_buffer_size(4_096).unwrap();
                deaf.connect(&address.into()).unwrap();
                let mut deaf = TcpStream::from(deaf);
                deaf.set_read_timeout(Some(PATIENCE)).unwrap();
                deaf.write_all(b"I am here\n").unwrap();
                assert_eq!([speaker.hear(), listener.hear()], ["I am here\n"; 2]);

                // More than the system's buffers take for the deaf one, no faster than the other hears it.
                let line = format!("{}\n", "y".repeat(1_000));
                for _ in 0..400 {
                    speaker.say(&line.repeat(20));
                    (0..20).for_each(|_| assert_eq!(listener.hear(), line));
                }
                let _ = deaf.read_to_end(&mut rest);
                assert!(rest.len() < 400 * 20 * line.len(), "{} bytes", rest.len());
            });
        }
    }
}

mod copying {
    use super::*;

    #[test]
    fn files_of_any_length_are_copied_whole() {
        for configuration in configurations(1) {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            let backend = configuration.backend;
            let mut configuration = copy::configuration();
            configuration.backend = backend;
            let mut worker = Port::new(configuration).unwrap().worker().unwrap();
            for length in [0, 1, 262_143, 262_144, 262_145, 10_000_000] {
                let bytes: Vec<u8> = (0..length).map(|place| (place / 251 + place) as u8).collect();
                std::fs::write(&from, &bytes).unwrap();
                let copied = copy::copy(&mut worker, &from, &to).unwrap();
                assert_eq!(copied, length as u64, "{backend:?}");
                assert!(std::fs::read(&to).unwrap() == bytes, "{backend:?}: {length} bytes");
                std::fs::remove_file(&to).unwrap();
            }
            assert_eq!(worker.buffers().in_use(), 0, "{backend:?}");
        }
    }

    #[test]
    fn what_cannot_be_copied_is_an_error_that_names_it() {
        for configuration in configurations(1) {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            let mut worker = Port::new(configuration).unwrap().worker().unwrap();
            let error = copy::copy(&mut worker, &from, &to).unwrap_err().to_string();
            assert!(error.contains("from") && !to.exists(), "{error}");
            std::fs::write(&from, "new").unwrap();
            std::fs::write(&to, "old").unwrap();
            let error = copy::copy(&mut worker, &from, &to).unwrap_err().to_string();
            assert!(error.contains("to"), "{error}");
            assert_eq!(std::fs::read(&to).unwrap(), b"old", "what is there is not overwritten");
        }
    }
}

mod job_queue {
    use super::*;

    #[test]
    fn every_job_runs_once_wherever_that_is() {
        for mut configuration in configurations(2) {
            configuration.posts = 4;
            let jobs = jobs::Jobs::start(configuration).unwrap();
            let (ran, handed) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for number in 0..1_000 {
                            let ran = Arc::clone(&ran);
                            let job = Box::new(move || {
                                ran.fetch_add(1, Ordering::Relaxed);
                                assert_ne!(number, 500, "this job panics on purpose");
                            });
                            handed.fetch_add(usize::from(jobs.run(job).unwrap()), Ordering::Relaxed);
                        }
                    });
                }
            });
            let (report, by_workers) = jobs.finish(PATIENCE);
            assert!(report.is_clean(), "{report}");
            assert_eq!((ran.load(Ordering::Relaxed), by_workers), (4_000, handed.into_inner()));
        }
    }

    #[test]
    fn who_brings_a_job_to_full_queues_runs_it() {
        for mut configuration in configurations(1) {
            configuration.posts = 1;
            let jobs = jobs::Jobs::start(configuration).unwrap();
            let ((begun, has_begun), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
            let first = Box::new(move || {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap()
            });
            assert!(jobs.run(first).unwrap());
            has_begun.recv_timeout(PATIENCE).unwrap();
            assert!(jobs.run(Box::new(|| {})).unwrap(), "one may wait");
            let here = thread::current().id();
            let (told, thread_of_third) = mpsc::channel();
            assert!(!jobs.run(Box::new(move || told.send(thread::current().id()).unwrap())).unwrap());
            assert_eq!(thread_of_third.try_recv(), Ok(here));
            go_on.send(()).unwrap();
            let (report, by_workers) = jobs.finish(PATIENCE);
            assert!(report.is_clean(), "{report}");
            assert_eq!(by_workers, 2);
        }
    }
}

mod datagrams {
    use super::*;

    #[test]
    fn every_datagram_goes_back_to_where_it_came_from() {
        for Configuration { backend, .. } in configurations(1) {
            let mut configuration = udp_echo::configuration();
            configuration.backend = backend;
            let port = Port::new(configuration).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let server = thread::spawn({
                let port = port.clone();
                move || udp_echo::serve(&port, socket)
            });
            let clients = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            for (number, length) in [0, 1, 1_400, 60_000].into_iter().cycle().take(60).enumerate() {
                let client = &clients[number % clients.len()];
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let datagram = vec![number as u8; length];
                client.send_to(&datagram, address).unwrap();
                let mut answer = vec![0; 65_536];
                // The end of a ring that this thread had, such as that of a probe, interrupts it.
                let (bytes, from) = loop {
                    match client.recv_from(&mut answer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        received => break received.unwrap(),
                    }
                };
                assert!(from == address && answer[..bytes] == datagram, "{backend:?}: datagram {number}");
            }
            let report = port.shutdown(PATIENCE);
            assert_eq!(server.join().unwrap(), Ok(60), "{backend:?}");
            assert_clean(report, &port);
        }
    }
}

mod watching {
    use super::*;

    #[test]
    fn what_changes_in_a_folder_and_below_is_told() {
        for configuration in configurations(1) {
            let support = OperationKind::WatchDirectory.support(configuration.backend.unwrap());
            if support.is_some_and(|support| support.means == Means::Unsupported) {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let below = folder.path().join("below");
            let port = Port::new(configuration).unwrap();
            let ((ready, is_ready), (changed, changes)) = (mpsc::channel(), mpsc::channel());
            let watcher = thread::spawn({
                let (port, folder) = (port.clone(), folder.path().to_owned());
                move || {
                    let ready = || ready.send(()).unwrap();
                    watch::watch(&port, &folder, ready, |change| changed.send(change).unwrap())
                }
            });
            is_ready.recv_timeout(PATIENCE).unwrap();
            let expect = |kind: ChangeKind, path: &Path| {
                let wanted = Change { kind, path: path.to_owned() };
                // Systems differ in what else they tell on the way.
                while changes.recv_timeout(PATIENCE).unwrap() != wanted {}
            };
            // Only now: Wine does not watch folders below that were there before.
            std::fs::create_dir(&below).unwrap();
            expect(ChangeKind::Appeared, Path::new("below"));
            std::fs::write(folder.path().join("new"), "").unwrap();
            expect(ChangeKind::Appeared, Path::new("new"));
            std::fs::write(folder.path().join("new"), "content").unwrap();
            expect(ChangeKind::Modified, Path::new("new"));
            std::fs::rename(folder.path().join("new"), below.join("other")).unwrap();
            expect(ChangeKind::Disappeared, Path::new("new"));
            expect(ChangeKind::Appeared, &Path::new("below").join("other"));
            let report = port.shutdown(PATIENCE);
            assert_eq!(watcher.join().unwrap(), Ok(()), "{:?}", port.backend());
            assert_clean(report, &port);
        }
    }
}
