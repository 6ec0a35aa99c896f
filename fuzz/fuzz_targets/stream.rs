//! A whole stream of pipelined requests with bodies: in whatever pieces it arrives, the decisions are the same, in the
//! same order, at the same bytes.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::body::{BodyDecoder, BodyFraming};
use portico_http::limits::Limits;
use portico_http::rejection::Rejection;
use portico_http::request::Parsed;
use portico_http::scanner::HeadScanner;
use portico_http::target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    narrow: bool,
    cuts: Vec<u8>,
    stream: &'a [u8],
}

/// What the server would act on.
#[derive(Debug, PartialEq)]
enum Event {
    Request {
        line: String,
        framing: BodyFraming,
        keep_alive: bool,
        expects: bool,
        fields: Vec<(String, Vec<u8>)>,
        path: Result<String, Rejection>,
        /// Bytes of the stream up to the end of the head.
        end: usize,
    },
    Body {
        data: Vec<u8>,
        finished: bool,
        end: usize,
    },
    Refused(Rejection),
}

fuzz_target!(|input: Input<'_>| {
    let limits = if input.narrow {
        Limits {
            head_bytes: 96,
            fields: 3,
            target_bytes: 16,
            body_bytes: 40,
            chunk_line_bytes: 8,
            chunk_extension_bytes: 8,
            trailer_bytes: 12,
            ..Limits::default()
        }
    } else {
        Limits { body_bytes: 1 << 16, ..Limits::default() }
    };
    let whole = read(input.stream, &limits, |rest| rest);
    assert_eq!(whole, read(input.stream, &limits, |_| 1), "byte by byte");
    let mut cuts = input.cuts.iter().map(|&length| usize::from(length) + 1);
    assert_eq!(whole, read(input.stream, &limits, |rest| cuts.next().unwrap_or(rest)), "in pieces");
});

/// Reads the stream as a connection does; `length` says how many bytes come next of those left.
fn read(stream: &[u8], limits: &Limits, mut length: impl FnMut(usize) -> usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scanner = HeadScanner::new();
    let mut body: Option<BodyDecoder> = None;
    let (mut start, mut received) = (0, 0);
    loop {
        let input = &stream[start..received];
        let step = match &mut body {
            Some(decoder) => read_body(decoder, input, start, &mut events),
            None => read_head(&mut scanner, input, start, limits, &mut body, &mut events),
        };
        let Ok(consumed) = step else { return events };
        if body.as_ref().is_some_and(BodyDecoder::is_finished) {
            body = None;
        }
        start += consumed;
        if consumed == 0 {
            if received == stream.len() {
                return events;
            }
            received += length(stream.len() - received).clamp(1, stream.len() - received);
        }
    }
}

/// The bytes consumed: none asks for more. An error ends the connection.
type Step = Result<usize, ()>;

fn read_head(
    scanner: &mut HeadScanner,
    input: &[u8],
    start: usize,
    limits: &Limits,
    body: &mut Option<BodyDecoder>,
    events: &mut Vec<Event>,
) -> Step {
    let request = match scanner.parse(input, limits) {
        Ok(Parsed::Incomplete) => return Ok(0),
        Ok(Parsed::Complete(request)) => request,
        Err(rejection) => {
            events.push(Event::Refused(rejection));
            return Err(());
        }
    };
    let mut scratch = vec![0; request.target.len()];
    let path = target::decode(request.target, &mut scratch).map(|path| path.text().to_owned());
    events.push(Event::Request {
        line: format!("{} {} {:?}", request.method_text, request.target, request.version),
        framing: request.body,
        keep_alive: request.keep_alive,
        expects: request.expect_continue,
        fields: request.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        path,
        end: start + request.head_length,
    });
    match BodyDecoder::new(request.body, limits) {
        Ok(decoder) if decoder.is_finished() => {}
        Ok(decoder) => {
            events.push(Event::Body { data: Vec::new(), finished: false, end: start + request.head_length });
            *body = Some(decoder);
        }
        Err(rejection) => {
            events.push(Event::Refused(rejection));
            return Err(());
        }
    }
    if request.keep_alive { Ok(request.head_length) } else { Err(()) }
}

/// The pieces of a body are put together: they are the only thing that may depend on the cuts.
fn read_body(decoder: &mut BodyDecoder, input: &[u8], start: usize, events: &mut Vec<Event>) -> Step {
    if input.is_empty() {
        return Ok(0);
    }
    match decoder.decode(input) {
        Ok(step) => {
            let Some(Event::Body { data, finished, end }) = events.last_mut() else { panic!("no body") };
            data.extend_from_slice(&input[step.data]);
            if step.finished {
                (*finished, *end) = (true, start + step.consumed);
            }
            Ok(step.consumed)
        }
        Err(rejection) => {
            events.push(Event::Refused(rejection));
            Err(())
        }
    }
}
