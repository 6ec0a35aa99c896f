//! Clients that behave in every wrong way at once: the server answers the others, and in the end everything has come back.

use crate::common::{Client, Site, assert_same, bytes, on_every_backend};
use portico::settings::{BackendChoice, Settings};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread::sleep,
    time::Duration,
};

on_every_backend!(
    rough_clients_hinder_nobody,
    rough_clients_hinder_nobody_with_little_memory,
    rough_clients_hinder_nobody_with_a_small_first_buffer,
    a_stop_amid_rough_clients_leaves_nothing,
);

/// Numbers from a seed, so that what a client did can be done again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

const TARGETS: [&str; 7] = ["/small", "/small", "/middle", "/long", "/absent", "/../x", "/folder"];

fn request(dice: &mut Dice) -> Vec<u8> {
    let target = TARGETS[dice.roll(TARGETS.len())];
    let name = dice.roll(20);
    match dice.roll(13) {
        12 => {
            let first = dice.roll(500_000);
            let ranges = format!("bytes=0-9,{first}-{},-{}", first + dice.roll(100_000), dice.roll(50_000));
            format!("GET {target} HTTP/1.1\r\nHost: test\r\nRange: {ranges}\r\n\r\n").into()
        }
        0 => format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n").into(),
        1 => format!("GET {target} HTTP/1.0\r\n\r\n").into(),
        2 => format!("GET {target} HTTP/1.1\r\nHost: test\r\nRange: bytes={}-\r\n\r\n", dice.roll(500_000))
            .into(),
        3 => format!("GET {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde").into(),
        4 => {
            let body = bytes(dice.roll(200_000), name as u64);
            let head =
                format!("PUT /in/{name} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }
        5 => {
            let chunks = "4\r\nwiki\r\n".repeat(dice.roll(500));
            format!("POST /in/c{name} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into()
        }
        6 => format!(
            "PUT /in/{name} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        .into(),
        7 => b"GET /small HTTP/1.1\r\nHost: te".to_vec(),
        8 if dice.roll(4) == 0 => bytes(dice.roll(300), dice.0),
        _ => format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").into(),
    }
}

/// Does a few things to the server, none of them to the end.
fn misbehave(site: &Site, seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // A server that is stopping takes nobody.
    let Ok(mut stream) = TcpStream::connect(site.address) else { return };
    stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1 + dice.roll(20) as u64))).unwrap();
    for _ in 0..1 + dice.roll(5) {
        let mut sent: Vec<u8> = (0..1 + dice.roll(6)).flat_map(|_| request(&mut dice)).collect();
        if dice.roll(4) == 0 {
            sent.truncate(dice.roll(sent.len() + 1));
        }
        let piece = [1 << 20, 1 << 20, 1_000, 37][dice.roll(4)];
        for part in sent.chunks(piece).take(2_000) {
            if stream.write_all(part).is_err() {
                return;
            }
        }
        let mut buffer = vec![0; 1 + dice.roll(100_000)];
        for _ in 0..dice.roll(8) {
            if !matches!(stream.read(&mut buffer), Ok(1..)) {
                break;
            }
        }
        match dice.roll(8) {
            0 => drop(stream.shutdown(Shutdown::Write)),
            1 => drop(stream.shutdown(Shutdown::Read)),
            2 => return,
            3 => sleep(Duration::from_millis(dice.roll(20) as u64)),
            _ => {}
        }
    }
}

fn site(backend: BackendChoice, change: impl FnOnce(&mut Settings)) -> Site {
    let site = Site::with_uploads(backend, |settings| {
        settings.workers = 2;
        settings.file_revalidate = Duration::from_millis(1);
        settings.header_timeout = Duration::from_millis(30);
        settings.body_timeout = Duration::from_millis(30);
        settings.write_timeout = Duration::from_millis(200);
        change(settings);
    });
    site.write("small", "content");
    site.write("middle", bytes(60_000, 1));
    site.write("long", bytes(3_000_000, 2));
    site.write("folder/index.html", "x");
    site
}

/// How many clients misbehave at a time, and how often.
const CLIENTS: u64 = 16;
const ROUNDS: u64 = 12;

fn hinder_nobody(site: &Site) {
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || (0..ROUNDS).for_each(|round| misbehave(site, client * ROUNDS + round + 1)));
        }
    });
    let mut client: Client = site.connect();
    // The pool may still be full of what the last of them asked for.
    let answer = std::iter::repeat_with(|| {
        let answer = client.get("/small");
        if answer.status == 503 {
            client = site.connect();
        }
        answer
    });
    assert_eq!(answer.take(1_000).find(|answer| answer.status != 503).unwrap().body, b"content");
    assert_same(&client.get("/long").body, &bytes(3_000_000, 2), "afterwards");
    let strange: Vec<_> = site.names("in").into_iter().filter(|name| name.starts_with('.')).collect();
    // Where unfinished uploads have a name it may still be there: they end with their connections.
    assert!(strange.is_empty() || !cfg!(target_os = "linux"), "{strange:?}");
}

fn rough_clients_hinder_nobody(backend: BackendChoice) {
    hinder_nobody(&site(backend, |_| {}));
}

fn rough_clients_hinder_nobody_with_little_memory(backend: BackendChoice) {
    hinder_nobody(&site(backend, |settings| {
        settings.send_slice_bytes = 4_096;
        settings.queued_bytes = 32_768;
        settings.buffer_memory_bytes = 512 << 10;
        settings.file_cache_bytes = 100_000;
        settings.file_cache_entries = 2;
        settings.connections = 10;
        settings.pool_queue = 2;
        settings.pool_threads = 1;
    }));
}

fn rough_clients_hinder_nobody_with_a_small_first_buffer(backend: BackendChoice) {
    hinder_nobody(&site(backend, |settings| {
        settings.receive_buffer_bytes = 48;
        settings.send_slice_bytes = 768;
    }));
}

fn a_stop_amid_rough_clients_leaves_nothing(backend: BackendChoice) {
    for deadline in [0, 5, 10_000] {
        let mut site = site(backend, |_| {});
        let server = site.take_server();
        std::thread::scope(|scope| {
            let site = &site;
            for client in 0..8 {
                scope.spawn(move || {
                    for round in 0..3 {
                        misbehave(site, client * 3 + round + 1);
                    }
                });
            }
            sleep(Duration::from_millis(20));
            let end = server.stop(Duration::from_millis(deadline));
            assert_eq!(
                (end.port.workers_left, end.port.operations_left, end.port.buffers_left),
                (0, 0, 0),
                "{end}"
            );
        });
        assert!(site.names("in").iter().all(|name| !name.starts_with('.')) || !cfg!(target_os = "linux"));
    }
}
