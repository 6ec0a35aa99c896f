//! Forms: what browsers and curl send, what is refused, and that no split of the bytes changes anything.

use portico_http::multipart::{Decoder, Event, MAX_PART_HEAD_BYTES, MAX_PARTS, Part};
use portico_http::rejection::Rejection;
use proptest::prelude::*;

/// What a form came to.
#[derive(Debug, PartialEq, Eq, Default)]
struct Form {
    parts: Vec<(Part, Vec<u8>, bool)>,
    outcome: Option<Result<bool, Rejection>>,
}

/// Decodes `input` in pieces that end at `ends`.
fn decode(boundary: &str, input: &[u8], ends: impl Iterator<Item = usize>) -> Form {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let mut decoder = Decoder::new(content_type.as_bytes()).unwrap().unwrap();
    let mut form = Form::default();
    let mut begin = 0;
    for end in ends.chain([input.len()]) {
        while begin < end {
            let piece = &input[begin..end];
            let step = match decoder.decode(piece) {
                Ok(step) => step,
                Err(rejection) => {
                    form.outcome = Some(Err(rejection));
                    return form;
                }
            };
            assert!(step.consumed <= piece.len());
            begin += step.consumed;
            match step.event {
                Event::NeedMore => assert_eq!(begin, end, "it stopped before its input ended"),
                Event::PartBegins(part) => form.parts.push((part, Vec::new(), false)),
                Event::Data(range) => {
                    assert!(!range.is_empty() && range.end <= step.consumed);
                    form.parts.last_mut().unwrap().1.extend_from_slice(&piece[range]);
                }
                Event::Held(length) => {
                    assert!(length > 0 && step.consumed == 0);
                    form.parts.last_mut().unwrap().1.extend_from_slice(&decoder.delimiter()[..length]);
                }
                Event::PartEnds => form.parts.last_mut().unwrap().2 = true,
                Event::Finished => assert!(decoder.is_finished()),
            }
        }
    }
    form.outcome = Some(Ok(decoder.is_finished()));
    form
}

/// Decodes it whole and byte by byte, which must be the same.
#[track_caller]
fn form(boundary: &str, input: &[u8]) -> Form {
    let whole = decode(boundary, input, std::iter::empty());
    assert_eq!(whole, decode(boundary, input, 0..input.len()), "byte by byte");
    whole
}

fn file(name: &str, file_name: &str, data: &[u8]) -> (Part, Vec<u8>, bool) {
    (Part { name: name.to_owned(), file_name: Some(file_name.to_owned()) }, data.to_owned(), true)
}

fn field(name: &str, data: &[u8]) -> (Part, Vec<u8>, bool) {
    (Part { name: name.to_owned(), file_name: None }, data.to_owned(), true)
}

#[test]
fn what_a_browser_sends_is_taken_apart() {
    let body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nfirst\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xc3\xa9 %22.txt\"\r\n\r\n\r\n--\r\n--x\r\r\n--b\r\n\
        content-disposition:form-data;name=note\r\n\r\n\r\n--b--\r\nepilogue";
    let found = form("b", body);
    assert_eq!(
        found.parts,
        [file("file", "a.txt", b"first"), file("file", "é \".txt", b"\r\n--\r\n--x\r"), field("note", b"")]
    );
    assert_eq!(found.outcome, Some(Ok(true)));
}

#[test]
fn the_content_type_says_whether_it_is_a_form() {
    for (content_type, boundary) in [
        ("multipart/form-data; boundary=abc", "abc"),
        ("Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b:c\"", "a b:c"),
        (
            "multipart/form-data ; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
    ] {
        let decoder = Decoder::new(content_type.as_bytes()).unwrap().unwrap();
        assert_eq!(decoder.delimiter(), format!("\r\n--{boundary}").as_bytes());
    }
    for other in ["", "text/plain", "multipart/mixed; boundary=abc", "multipart/form-datax; boundary=a"] {
        assert!(Decoder::new(other.as_bytes()).unwrap().is_none(), "{other}");
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    for wrong in [
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=\"a\"b",
        "multipart/form-data; boundary=\"a*b\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a b",
        &long,
    ] {
        let rejection = Decoder::new(wrong.as_bytes()).expect_err(wrong);
        assert_eq!(rejection.status.code(), 400, "{wrong}");
    }
}

#[test]
fn heads_of_parts_are_read_strictly() {
    let status = |head: &str| {
        let body = format!("--b\r\n{head}\r\n\r\ndata\r\n--b--\r\n");
        match form("b", body.as_bytes()).outcome {
            Some(Ok(true)) => 200,
            Some(Err(rejection)) => {
                assert!(rejection.close);
                rejection.status.code()
            }
            other => panic!("{other:?}"),
        }
    };
    let long = format!("Content-Disposition: form-data; name=a\r\nX: {}", "x".repeat(MAX_PART_HEAD_BYTES));
    for (head, wanted) in [
        ("Content-Disposition: form-data; name=a", 200),
        ("Content-Disposition: form-data; name=\"\"", 200),
        ("CONTENT-DISPOSITION: FORM-DATA; NAME=a; FileName=b; other=\"c;d\"", 200),
        ("Content-Disposition: form-data; name=\"a\\\"b\"; filename=\"c\\d\"", 200),
        ("Content-Transfer-Encoding: binary\r\nContent-Disposition: form-data; name=a", 200),
        ("", 400),
        ("Content-Type: text/plain", 400),
        ("Content-Disposition: attachment; name=a", 400),
        ("Content-Disposition: form-data", 400),
        ("Content-Disposition: form-data; filename=a", 400),
        ("Content-Disposition: form-data; name=a; name=b", 400),
        ("Content-Disposition: form-data; name=a; filename=b; filename=c", 400),
        ("Content-Disposition: form-data; name=a; filename*=utf-8''b", 400),
        ("Content-Disposition: form-data; name=\"a", 400),
        ("Content-Disposition: form-data; name=", 400),
        ("Content-Disposition: form-data; name", 400),
        ("Content-Disposition: form-data name=a", 400),
        ("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=a", 400),
        ("Content-Disposition : form-data; name=a", 400),
        ("Content-Disposition: form-data;\r\n name=a", 400),
        ("Content-Disposition: form-data; name=a\nX: y", 400),
        ("Content-Disposition: form-data; name=\"a\0b\"", 400),
        ("Content-Disposition: form-data; name=a\r\nno field", 400),
        ("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64", 400),
        (&long, 400),
    ] {
        assert_eq!(status(head), wanted, "{head:?}");
    }
    let body = b"--b\r\nContent-Disposition: form-data; name=a; filename=\"\xff\"\r\n\r\n\r\n--b--";
    assert!(matches!(form("b", body).outcome, Some(Err(rejection)) if rejection.status.code() == 400));
}

#[test]
fn boundaries_are_read_strictly() {
    let part = "\r\nContent-Disposition: form-data; name=a\r\n\r\n";
    for (body, wanted) in [
        ("--b--".to_owned(), Ok(true)),
        ("--b--\r\nmore".to_owned(), Ok(true)),
        (format!("--b{part}\r\n--b--"), Ok(true)),
        (format!("--b{part}\r\n--b-"), Ok(false)),
        (format!("--b{part}\r\n--"), Ok(false)),
        (format!("--b{part}data"), Ok(false)),
        ("--".to_owned(), Ok(false)),
        (String::new(), Ok(false)),
        ("\r\n--b--".to_owned(), Err(400)),
        ("preamble\r\n--b--".to_owned(), Err(400)),
        ("--c--".to_owned(), Err(400)),
        ("--b --".to_owned(), Err(400)),
        (format!("--b {part}\r\n--b--"), Err(400)),
        (format!("--b{part}\r\n--bc\r\n"), Err(400)),
        (format!("--b{part}\r\n--b\n"), Err(400)),
        (format!("--b{part}\r\n--b\r-"), Err(400)),
        (format!("--b{part}\r\n--b-\n"), Err(400)),
    ] {
        let outcome = form("b", body.as_bytes()).outcome.unwrap();
        assert_eq!(outcome.map_err(|rejection| rejection.status.code()), wanted, "{body:?}");
    }
    let many = format!("--b{part}\r\n").repeat(MAX_PARTS) + "--b";
    assert_eq!(decode("b", format!("{many}--").as_bytes(), std::iter::empty()).outcome, Some(Ok(true)));
    let more = format!("{many}{part}\r\n--b--");
    let outcome = decode("b", more.as_bytes(), std::iter::empty()).outcome.unwrap();
    assert_eq!(outcome.unwrap_err().status.code(), 413);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Data made of pieces of the boundary comes out as it went in, however it is cut.
    #[test]
    fn any_split_gives_the_same(
        datas in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec!["\r", "\n", "-", "b", "o", "\r\n", "\r\n--", "\r\n--b", "x"]), 0..12),
            0..4,
        ),
        ends in prop::collection::btree_set(0_usize..400, 0..20),
    ) {
        let datas: Vec<String> = datas.iter().map(|pieces| pieces.concat()).collect();
        // The boundary itself is in none of them.
        prop_assume!(datas.iter().all(|data| !format!("\r\n{data}").contains("\r\n--bo")));
        let mut body = String::from("--bo");
        for data in &datas {
            body.push_str("\r\nContent-Disposition: form-data; name=n; filename=f\r\n\r\n");
            body.push_str(data);
            body.push_str("\r\n--bo");
        }
        body.push_str("--\r\n");
        let ends = ends.into_iter().filter(|end| *end < body.len());
        let found = decode("bo", body.as_bytes(), ends);
        let wanted: Vec<_> = datas.iter().map(|data| file("n", "f", data.as_bytes())).collect();
        prop_assert_eq!(found, Form { parts: wanted, outcome: Some(Ok(true)) });
    }

    /// Whatever comes, pieces make no difference.
    #[test]
    fn noise_gives_the_same_in_any_split(
        noise in prop::collection::vec(
            prop::sample::select(vec!["--b", "\r\n", "--", ":", ";", "\"", "Content-Disposition: form-data; name=a", "x", "\r", "\r\n\r\n"]),
            0..16,
        ),
        ends in prop::collection::btree_set(0_usize..300, 0..20),
    ) {
        let body = format!("--b{}", noise.concat());
        let ends = ends.into_iter().filter(|end| *end < body.len());
        prop_assert_eq!(decode("b", body.as_bytes(), ends), decode("b", body.as_bytes(), std::iter::empty()));
    }
}
