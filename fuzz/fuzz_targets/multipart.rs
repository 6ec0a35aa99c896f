//! A form with files: any split of the bytes gives the same parts, the same data and the same end.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::multipart::{Decoder, Event, MAX_PARTS, Part};
use portico_http::rejection::Rejection;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    content_type: &'a [u8],
    splits: Vec<u8>,
    body: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
struct Form {
    parts: Vec<(Part, Vec<u8>, bool)>,
    outcome: Result<bool, Rejection>,
}

fuzz_target!(|input: Input<'_>| {
    // Most inputs have no boundary of their own.
    let decoder = match Decoder::new(input.content_type) {
        Ok(Some(decoder)) => decoder,
        _ => Decoder::new(b"multipart/form-data; boundary=b").expect("valid").expect("a form"),
    };
    let whole = decode(decoder.clone(), input.body, |rest| rest);
    assert_eq!(whole, decode(decoder.clone(), input.body, |_| 1), "byte by byte");
    let mut splits = input.splits.iter().map(|&length| usize::from(length) + 1);
    assert_eq!(whole, decode(decoder.clone(), input.body, |rest| splits.next().unwrap_or(rest)), "in pieces");
    assert!(whole.parts.len() <= MAX_PARTS);
    for (_, data, ended) in &whole.parts {
        assert!(!ended || !contains(data, decoder.delimiter()), "a boundary in the data");
    }
});

fn contains(data: &[u8], wanted: &[u8]) -> bool {
    data.windows(wanted.len()).any(|window| window == wanted)
}

fn decode(mut decoder: Decoder, body: &[u8], mut length: impl FnMut(usize) -> usize) -> Form {
    let mut parts: Vec<(Part, Vec<u8>, bool)> = Vec::new();
    let (mut consumed, mut received) = (0, 0);
    while received < body.len() {
        received += length(body.len() - received).clamp(1, body.len() - received);
        while consumed < received {
            let input = &body[consumed..received];
            let step = match decoder.decode(input) {
                Ok(step) => step,
                Err(rejection) => return Form { parts, outcome: Err(rejection) },
            };
            assert!(step.consumed <= input.len());
            consumed += step.consumed;
            match step.event {
                Event::NeedMore => assert_eq!(consumed, received),
                Event::PartBegins(part) => parts.push((part, Vec::new(), false)),
                Event::Data(range) => parts.last_mut().expect("a part").1.extend_from_slice(&input[range]),
                Event::Held(held) => {
                    let bytes = decoder.delimiter()[..held].to_vec();
                    parts.last_mut().expect("a part").1.extend(bytes);
                }
                Event::PartEnds => parts.last_mut().expect("a part").2 = true,
                Event::Finished => assert!(decoder.is_finished()),
            }
        }
    }
    Form { parts, outcome: Ok(decoder.is_finished()) }
}
