//! A chunked body: any split of the bytes decodes to the same, and what was encoded decodes to itself.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::body::{BodyDecoder, BodyFraming};
use portico_http::chunked::{ChunkedEncoder, MAX_CHUNK_START_BYTES, MAX_CHUNKED_END_BYTES};
use portico_http::limits::Limits;
use portico_http::rejection::Rejection;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Narrows each limit where it is not zero.
    limits: [u8; 4],
    splits: Vec<u8>,
    encoded: &'a [u8],
}

/// What a connection gets out of a body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    /// Bytes of the framed body, where it was finished or the input ended.
    outcome: Result<(usize, bool), Rejection>,
}

fuzz_target!(|input: Input<'_>| {
    let limits = narrow(input.limits);
    let whole = decode(input.encoded, &limits, |rest| rest);
    let single = decode(input.encoded, &limits, |_| 1);
    assert_eq!(whole, single, "byte by byte");
    let mut splits = input.splits.iter().map(|&length| usize::from(length) + 1);
    let split = decode(input.encoded, &limits, |rest| splits.next().unwrap_or(rest));
    assert_eq!(whole, split, "in pieces");

    assert!(whole.data.len() as u64 <= limits.body_bytes);
    match whole.outcome {
        Ok((consumed, true)) => {
            let exact = decode(&input.encoded[..consumed], &limits, |rest| rest);
            assert_eq!(whole, exact, "what follows a body changed it");
            assert!(consumed == 0 || input.encoded[..consumed].ends_with(b"\r\n\r\n"));
        }
        Ok((consumed, false)) => {
            assert_eq!(consumed, input.encoded.len(), "it stopped before its input ended")
        }
        Err(rejection) => assert!(rejection.close),
    }
    check_encoder(input.encoded, &input.splits);
});

fn narrow(bytes: [u8; 4]) -> Limits {
    let default = Limits::default();
    let usize_or = |byte: u8, default| if byte == 0 { default } else { usize::from(byte) };
    Limits {
        body_bytes: usize_or(bytes[0], 1 << 20) as u64,
        chunk_line_bytes: usize_or(bytes[1], default.chunk_line_bytes),
        chunk_extension_bytes: usize_or(bytes[2], default.chunk_extension_bytes),
        trailer_bytes: usize_or(bytes[3], default.trailer_bytes),
        ..default
    }
}

/// Decodes `encoded` as a connection does that receives pieces: `length` says how many bytes come next of those left.
fn decode(encoded: &[u8], limits: &Limits, mut length: impl FnMut(usize) -> usize) -> Decoded {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked, limits).expect("chunks announce no length");
    let mut data = Vec::new();
    let (mut consumed, mut received) = (0, 0);
    while received < encoded.len() {
        received += length(encoded.len() - received).clamp(1, encoded.len() - received);
        while consumed < received {
            let input = &encoded[consumed..received];
            let step = match decoder.decode(input) {
                Ok(step) => step,
                Err(rejection) => return Decoded { data, outcome: Err(rejection) },
            };
            assert!(step.data.end <= step.consumed && step.consumed <= input.len());
            assert_eq!(step.finished, decoder.is_finished());
            data.extend_from_slice(&input[step.data]);
            consumed += step.consumed;
            if step.finished {
                return Decoded { data, outcome: Ok((consumed, true)) };
            }
            assert!(step.consumed > 0, "no progress with {} bytes", input.len());
        }
    }
    Decoded { data, outcome: Ok((consumed, false)) }
}

/// What the encoder wrote in chunks of these lengths decodes to the data.
fn check_encoder(data: &[u8], lengths: &[u8]) {
    let mut encoder = ChunkedEncoder::new();
    let mut encoded = Vec::new();
    let mut rest = data;
    let mut lengths = lengths.iter().map(|&length| usize::from(length)).chain(std::iter::repeat(4096));
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(lengths.next().unwrap_or(4096).min(rest.len()));
        let mut start = [0; MAX_CHUNK_START_BYTES];
        let written = encoder.start_chunk(chunk.len() as u64, &mut start);
        encoded.extend_from_slice(&start[..written]);
        encoded.extend_from_slice(chunk);
        rest = behind;
    }
    let mut end = [0; MAX_CHUNKED_END_BYTES];
    let written = encoder.finish(&mut end);
    encoded.extend_from_slice(&end[..written]);

    let limits = Limits { body_bytes: data.len() as u64, ..Limits::default() };
    let decoded = decode(&encoded, &limits, |rest| rest);
    assert_eq!(decoded, Decoded { data: data.to_vec(), outcome: Ok((encoded.len(), true)) });
}
