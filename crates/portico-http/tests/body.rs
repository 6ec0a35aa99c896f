//! Body framing: rows for each rule of the chunked coding, and invariance under splitting.

use portico_http::body::{BodyDecoder, BodyFraming};
use portico_http::chunked::{ChunkedEncoder, MAX_CHUNK_START_BYTES, MAX_CHUNKED_END_BYTES};
use portico_http::limits::Limits;
use portico_http::rejection::Rejection;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits {
        body_bytes: 64,
        chunk_line_bytes: 24,
        chunk_extension_bytes: 32,
        trailer_bytes: 32,
        ..Limits::default()
    }
}

/// What a body came to when it was received in pieces.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    data: Vec<u8>,
    consumed: usize,
    result: Result<bool, Rejection>,
}

/// Receives `input` in pieces that end at `ends`, as a connection would.
fn receive(
    framing: BodyFraming,
    limits: &Limits,
    input: &[u8],
    ends: impl Iterator<Item = usize>,
) -> Received {
    let mut received = Received { data: Vec::new(), consumed: 0, result: Ok(false) };
    let mut decoder = match BodyDecoder::new(framing, limits) {
        Ok(decoder) => decoder,
        Err(rejection) => return Received { result: Err(rejection), ..received },
    };
    for end in ends.chain([input.len()]) {
        loop {
            let piece = &input[received.consumed..end];
            let step = match decoder.decode(piece) {
                Ok(step) => step,
                Err(rejection) => return Received { consumed: 0, result: Err(rejection), ..received },
            };
            assert!(step.data.end <= step.consumed && step.consumed <= piece.len());
            received.data.extend_from_slice(&piece[step.data.clone()]);
            received.consumed += step.consumed;
            assert_eq!(step.finished, decoder.is_finished());
            if step.finished {
                assert_eq!(decoder.remaining_bytes(), Some(0));
                return Received { result: Ok(true), ..received };
            }
            if step.consumed == 0 {
                break;
            }
        }
        assert_eq!(received.consumed, end, "framing never holds bytes back");
    }
    received
}

fn chunked(input: &[u8]) -> Received {
    let whole = receive(BodyFraming::Chunked, &limits(), input, std::iter::empty());
    assert_eq!(receive(BodyFraming::Chunked, &limits(), input, 0..input.len()), whole, "one byte at a time");
    whole
}

#[test]
fn chunked_bodies() {
    for (body, data) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n", "hello world"),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("1;a\r\nx\r\n0;b=c\r\n\r\n", "x"),
        ("1;a=\"b;\\\"\t\"\r\nx\r\n0\r\n\r\n", "x"),
        ("1 ; a = b ;c\r\nx\r\n0\r\n\r\n", "x"),
        ("1;a=\"\" ;b\r\nx\r\n0\r\n\r\n", "x"),
        ("0\r\nX: y\r\nZ:\r\n\r\n", ""),
        ("0\r\nX: \u{e9}\t\r\n\r\n", ""),
        (
            "40\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n0\r\n\r\n",
            &"0123456789abcdef".repeat(4),
        ),
    ] {
        let followed = [body.as_bytes(), b"GET /next"].concat();
        let received = chunked(&followed);
        assert_eq!((received.result, received.consumed), (Ok(true), body.len()), "{body:?}");
        assert_eq!(received.data, data.as_bytes(), "{body:?}");
    }
}

#[test]
fn every_rule_refuses() {
    for (status, rule, body) in [
        (400, "no size", &b"\r\n"[..]),
        (400, "no size before an extension", b";a\r\n"),
        (400, "sign", b"+1\r\n"),
        (400, "minus", b"-1\r\n"),
        (400, "prefix", b"0x1\r\n"),
        (400, "no digit", b"g\r\n"),
        (400, "white space before the size", b" 1\r\n"),
        (400, "white space behind the size", b"1 \r\n"),
        (400, "underscore", b"1_0\r\n"),
        (400, "17 digits", b"00000000000000001\r\n"),
        (400, "17 digits that overflow", b"10000000000000001\r\n"),
        (413, "16 digits are within 64 bits", b"ffffffffffffffff\r\n"),
        (413, "above the limit", b"41\r\n"),
        (413, "above the limit together", b"1\r\na\r\n40\r\n"),
        (400, "bare line feed behind the size", b"1\na"),
        (400, "bare carriage return behind the size", b"1\rab"),
        (400, "two carriage returns", b"1\r\r\n"),
        (400, "bare line feed behind the data", b"1\r\na\n"),
        (400, "nothing behind the data", b"1\r\na1"),
        (400, "more data than the size", b"1\r\nab\r\n"),
        (400, "carriage return alone behind the data", b"1\r\na\rb"),
        (400, "empty extension", b"1;\r\n"),
        (400, "empty extension before another", b"1;;a\r\n"),
        (400, "extension without a value", b"1;a=\r\n"),
        (400, "extension without a name", b"1;=a\r\n"),
        (400, "white space at the end of an extension", b"1;a \r\n"),
        (400, "two names", b"1;a b\r\n"),
        (400, "text behind a quoted value", b"1;a=\"b\"c\r\n"),
        (400, "line feed in an extension", b"1;a\nb\r\n"),
        (400, "line feed in a quoted value", b"1;a=\"\n\"\r\n"),
        (400, "line end in a quoted value", b"1;a=\"\r\n\"\r\n"),
        (400, "escaped line feed", b"1;a=\"\\\n\"\r\n"),
        (400, "NUL in an extension", b"1;a=\0\r\n"),
        (400, "size line above the limit", b"1;a=0123456789012345678\r\nx\r\n0\r\n\r\n"),
        (400, "extensions above the limit", b"1;a=01234567890123456\r\na\r\n1;a=01234567890123456\r\n"),
        (400, "folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
        (400, "trailer without a name", b"0\r\n: y\r\n\r\n"),
        (400, "space before the colon", b"0\r\nX : y\r\n\r\n"),
        (400, "trailer without a colon", b"0\r\nX\r\n\r\n"),
        (400, "NUL in a trailer", b"0\r\nX: \0\r\n\r\n"),
        (400, "bare line feed in the trailers", b"0\r\nX: y\n\r\n"),
        (400, "bare carriage return in the trailers", b"0\r\nX: y\rz\r\n\r\n"),
        (400, "bare line feed at the end", b"0\r\n\n"),
        (400, "carriage return alone at the end", b"0\r\n\rX"),
        (431, "trailers above the limit", b"0\r\nX: 0123456789\r\nY: 01234567890\r\n\r\n"),
    ] {
        match chunked(body).result {
            Err(rejection) => {
                assert_eq!((rejection.status.code(), rejection.close), (status, true), "{rule}")
            }
            other => panic!("{rule}: {other:?}"),
        }
    }
}

#[test]
fn limits_are_inclusive() {
    for within in ["1;a=012345678901234567\r\nx\r\n0\r\n\r\n", "0\r\nX: 0123456789\r\nY: 0123456789\r\n\r\n"]
    {
        assert_eq!(chunked(within.as_bytes()).result, Ok(true), "{within:?}");
    }
    assert!(BodyDecoder::new(BodyFraming::Length(64), &limits()).is_ok());
    let rejection = BodyDecoder::new(BodyFraming::Length(65), &limits()).unwrap_err();
    assert_eq!((rejection.status.code(), rejection.close), (413, true));
}

#[test]
fn bodies_of_known_length() {
    for (framing, consumed) in
        [(BodyFraming::None, 0), (BodyFraming::Length(0), 0), (BodyFraming::Length(3), 3)]
    {
        let received = receive(framing, &limits(), b"abcdef", 0..6);
        assert_eq!((received.result, received.consumed), (Ok(true), consumed));
        assert_eq!(received.data, b"abcdef"[..consumed]);
    }
    let unfinished = receive(BodyFraming::Length(7), &limits(), b"abcdef", std::iter::empty());
    assert_eq!((unfinished.result, unfinished.consumed), (Ok(false), 6));
    let unlimited = Limits { body_bytes: u64::MAX, ..limits() };
    let huge = receive(BodyFraming::Length(u64::MAX), &unlimited, b"abcdef", std::iter::empty());
    assert_eq!((huge.result, huge.consumed), (Ok(false), 6));
}

#[test]
fn encoded_framing() {
    let mut encoder = ChunkedEncoder::new();
    let mut start = [0; MAX_CHUNK_START_BYTES];
    let mut end = [0; MAX_CHUNKED_END_BYTES];
    for _ in 0..2 {
        assert_eq!(encoder.start_chunk(0, &mut start), 0, "an empty chunk would end the body");
        let length = encoder.start_chunk(255, &mut start);
        assert_eq!(&start[..length], b"ff\r\n");
        let length = encoder.start_chunk(u64::MAX, &mut start);
        assert_eq!(&start[..length], b"\r\nffffffffffffffff\r\n");
        let length = encoder.finish(&mut end);
        assert_eq!(&end[..length], b"\r\n0\r\n\r\n");
    }
    let length = encoder.finish(&mut end);
    assert_eq!(&end[..length], b"0\r\n\r\n");
}

fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = ChunkedEncoder::new();
    let mut encoded = Vec::new();
    for chunk in chunks {
        let mut start = [0; MAX_CHUNK_START_BYTES];
        let length = encoder.start_chunk(chunk.len() as u64, &mut start);
        encoded.extend_from_slice(&start[..length]);
        encoded.extend_from_slice(chunk);
    }
    let mut end = [0; MAX_CHUNKED_END_BYTES];
    let length = encoder.finish(&mut end);
    encoded.extend_from_slice(&end[..length]);
    encoded
}

fn ends(steps: &[usize], length: usize) -> impl Iterator<Item = usize> {
    let sums = steps.iter().scan(0, |end, step| {
        *end += step;
        Some(*end)
    });
    sums.take_while(move |end| *end < length)
}

/// Chunked bodies, and what is nearly one.
fn chunked_like() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "1\r\na\r\n",
        "2\r\n\r\n\r\n",
        "0\r\n",
        "\r\n",
        "\r",
        "\n",
        "3;a=b\r\nabc\r\n",
        "1;a=\"b\"\r\na\r\n",
        "X: y\r\n",
        "f",
        ";",
        "\"",
        "=",
        " ",
    ];
    let piece = prop_oneof![
        9 => proptest::sample::select(pieces.map(|piece| piece.as_bytes().to_vec()).to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..3),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_however_it_is_split(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        steps in proptest::collection::vec(1_usize..60, 0..60),
        rest: Vec<u8>,
    ) {
        let encoded = encode(&chunks);
        let input = [&encoded[..], &rest].concat();
        let received = receive(BodyFraming::Chunked, &Limits::default(), &input, ends(&steps, input.len()));
        prop_assert_eq!(received.result, Ok(true));
        prop_assert_eq!(received.consumed, encoded.len());
        prop_assert_eq!(received.data, chunks.concat());
    }

    #[test]
    fn decisions_do_not_depend_on_splitting(input in chunked_like(), steps in proptest::collection::vec(1_usize..9, 0..40)) {
        let whole = chunked(&input);
        let split = receive(BodyFraming::Chunked, &limits(), &input, ends(&steps, input.len()));
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn known_lengths_do_not_depend_on_splitting(
        length in 0_u64..80,
        input in proptest::collection::vec(any::<u8>(), 0..80),
        steps in proptest::collection::vec(1_usize..9, 0..40),
    ) {
        let framing = BodyFraming::Length(length);
        let whole = receive(framing, &limits(), &input, std::iter::empty());
        prop_assert_eq!(receive(framing, &limits(), &input, ends(&steps, input.len())), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>) {
        chunked(&input);
    }
}
