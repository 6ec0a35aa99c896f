//! At sockets, where the kernel may join pieces again.

use crate::{
    Ending, Outcome, assert_same_answers, chosen,
    common::{Site, on_every_backend},
    fill, streams, take_uploads,
};
use portico::settings::BackendChoice;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// Nothing is waited for longer than this: a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(60);

on_every_backend!(pieces_do_not_matter_at_a_socket);

/// Sends the pieces, and gives all that comes back until the connection ends. One that is reset has still brought what
/// was sent before: a client that goes on sending behind `Connection: close` may see that.
fn outcome(site: &Site, pieces: &[&[u8]]) -> Outcome {
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A reset is told once: to a write, or to a read.
    let mut end = Ending::Orderly;
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            end = Ending::Reset;
            break;
        }
        std::thread::yield_now();
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let mut room = [0; 65_536];
    loop {
        match stream.read(&mut room) {
            Ok(0) => return (answers, end),
            Ok(bytes) => answers.extend_from_slice(&room[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) =>
            {
                return (answers, Ending::Reset);
            }
            Err(error) => panic!("nothing came from the server: {error}"),
        }
    }
}

fn pieces_do_not_matter_at_a_socket(backend: BackendChoice) {
    let all = chosen(2_000);
    let count = (all.end - all.start).div_ceil(20);
    let site = Site::with_uploads(backend, |settings| {
        fill(&settings.root);
        // A machine with much else to do must not make one of the two too slow.
        settings.header_timeout = PATIENCE * 2;
        settings.body_timeout = PATIENCE * 2;
        settings.minimum_rate_bytes = 0;
    });
    let root = site.path(".");
    for number in all.start..all.start + count {
        let bytes = streams::stream(number);
        let cuts = streams::cuts(number, &bytes);
        let whole = outcome(&site, &[&bytes]);
        let whole_uploads = take_uploads(&root);
        let cut = outcome(&site, &streams::pieces(&bytes, &cuts));
        assert_same_answers(number, &whole, &cut, &cuts);
        assert_eq!(whole_uploads, take_uploads(&root), "what uploads of stream {number} left");
    }
}
