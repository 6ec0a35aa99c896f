//! The example that the documentation shows, at work on every backend.

#[allow(dead_code, reason = "its main is for people")]
#[path = "../examples/echo.rs"]
mod echo;

use completion_port::{Backend, Configuration, ErrorKind, Port};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_clients_say_comes_back() {
    for backend in [Backend::Iocp, Backend::IoUring, Backend::Readiness] {
        let mut configuration = Configuration::default();
        (configuration.queues, configuration.workers_per_queue) = (1, 1);
        configuration.backend = Some(backend);
        let port = match Port::new(configuration) {
            Ok(port) => port,
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            Err(error) => panic!("{backend:?}: {error}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn({
            let port = port.clone();
            move || echo::serve(&port, listener).map_err(|error| error.to_string())
        });
        let clients = [1, 4_096, 300_000].map(|length| thread::spawn(move || talk(address, length)));
        clients.into_iter().for_each(|client| client.join().unwrap());
        let report = port.shutdown(PATIENCE);
        assert_eq!(server.join().unwrap(), Ok(()), "{backend:?}");
        assert!(report.is_clean(), "{backend:?}: {report}");
    }
}

/// Says `length` bytes, ends, and hears the same bytes and the end.
fn talk(address: std::net::SocketAddr, length: usize) {
    let words: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut mouth = connection.try_clone().unwrap();
    let said = words.clone();
    let saying = thread::spawn(move || {
        mouth.write_all(&said).unwrap();
        mouth.shutdown(Shutdown::Write).unwrap();
    });
    let mut heard = Vec::new();
    connection.read_to_end(&mut heard).unwrap();
    saying.join().unwrap();
    assert!(heard == words, "{} bytes came back of {length}", heard.len());
}
