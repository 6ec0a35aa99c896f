//! Which content coding a client gets: RFC 9110 section 12.5.3.

use portico_http::coding::AcceptEncoding;
use portico_http::coding::Choice::{self, Coded, Identity, Nothing};
use portico_http::coding::Coding::{self, Brotli, Gzip, Zstd};
use proptest::prelude::*;

fn choose(values: &[&str], available: &[Coding]) -> Choice {
    AcceptEncoding::new(values.iter().map(|value| value.as_bytes())).choose(available.iter().copied())
}

#[test]
fn all_available() {
    let table: &[(&[&str], Choice)] = &[
        // Without the field anything is acceptable; what is sent is what everybody can read.
        (&[], Identity),
        // An empty one wants no coding.
        (&[""], Identity),
        (&["gzip"], Coded(Gzip)),
        (&["x-gzip"], Coded(Gzip)),
        (&["GZip"], Coded(Gzip)),
        (&["br"], Coded(Brotli)),
        (&["zstd"], Coded(Zstd)),
        (&["compress, deflate"], Identity),
        (&["compress, gzip"], Coded(Gzip)),
        // Equal weights: the server's order.
        (&["gzip, deflate, br, zstd"], Coded(Brotli)),
        (&["gzip, zstd"], Coded(Zstd)),
        (&["gzip;q=0.5, zstd;q=0.5"], Coded(Zstd)),
        (&["*"], Coded(Brotli)),
        (&["gzip", "br"], Coded(Brotli)),
        // Weights.
        (&["gzip;q=1.0, br;q=0.9"], Coded(Gzip)),
        (&["gzip;q=0.001, br;q=0"], Coded(Gzip)),
        (&["br;q=0.999, gzip"], Coded(Gzip)),
        (&["gzip;q=0"], Identity),
        (&["gzip;q=0, *"], Coded(Brotli)),
        (&["br;q=0, *"], Coded(Zstd)),
        (&["*;q=0.5, gzip"], Coded(Gzip)),
        (&["gzip ; Q=0.2 ,\tbr\t;\tq=0.3"], Coded(Brotli)),
        (&["gzip;q=0.", "br;q=0"], Identity),
        (&["gzip;q=1."], Coded(Gzip)),
        // The one without a coding, where it is listed or matched by the asterisk.
        (&["identity"], Identity),
        (&["identity, gzip"], Coded(Gzip)),
        (&["identity;q=1, gzip;q=0.5"], Identity),
        (&["identity;q=0.5, gzip;q=0.5"], Coded(Gzip)),
        (&["IDENTITY, gzip;q=0.5"], Identity),
        (&["gzip;q=0.3, *;q=0.2"], Coded(Gzip)),
        (&["gzip;q=0.3, identity;q=0"], Coded(Gzip)),
        (&["identity;q=0"], Nothing),
        (&["*;q=0"], Nothing),
        (&["*;q=0, identity"], Identity),
        (&["*;q=0, identity;q=0.001"], Identity),
        (&["*;q=0, br"], Coded(Brotli)),
        (&["identity;q=0, deflate"], Nothing),
        (&["identity;q=0, *"], Coded(Brotli)),
        // Listed twice: the smaller weight.
        (&["gzip, gzip;q=0"], Identity),
        (&["gzip;q=0", "gzip"], Identity),
        (&["gzip, x-gzip;q=0"], Identity),
        // Empty members.
        (&[",, gzip ,,"], Coded(Gzip)),
        // Malformed members ask for nothing and refuse nothing.
        (&["gzip;q=2, zstd"], Coded(Zstd)),
        (&["gzip;q=1.001"], Identity),
        (&["gzip;q=1.0000"], Identity),
        (&["gzip;q=0.0001"], Identity),
        (&["gzip;q=.5"], Identity),
        (&["gzip;q=-1"], Identity),
        (&["gzip;q=01"], Identity),
        (&["gzip;q=0.x"], Identity),
        (&["gzip;q="], Identity),
        (&["gzip;q =1"], Identity),
        (&["gzip;q= 1"], Identity),
        (&["gzip;"], Identity),
        (&["gzip;q=1;q=1"], Identity),
        (&["gzip;level=9"], Identity),
        (&["gzip;level=9;q=1"], Identity),
        (&["gzip br"], Identity),
        (&["gzip;q=1 br"], Identity),
        (&["\"gzip\""], Identity),
        (&["gzip/1"], Identity),
        (&[";q=1"], Identity),
        (&["identity;q=zero"], Identity),
        (&["identity;q=2, *;q=0"], Nothing),
        (&["**"], Identity),
        (&["gzipp"], Identity),
    ];
    for (values, expected) in table {
        assert_eq!(choose(values, &[Brotli, Zstd, Gzip]), *expected, "{values:?}");
    }
}

#[test]
fn some_available() {
    let table: &[(&str, &[Coding], Choice)] = &[
        ("gzip, br, zstd", &[], Identity),
        ("gzip, br, zstd", &[Gzip], Coded(Gzip)),
        ("gzip, br, zstd", &[Gzip, Brotli], Coded(Gzip)),
        ("br", &[Gzip, Zstd], Identity),
        ("br, identity;q=0", &[Gzip, Zstd], Nothing),
        ("gzip;q=0.3, *;q=0.8", &[Gzip], Identity),
        ("gzip;q=0.3, *;q=0.8", &[Gzip, Zstd], Coded(Zstd)),
        ("*;q=0.1, br;q=0", &[Brotli], Identity),
    ];
    for (value, available, expected) in table {
        assert_eq!(choose(&[value], available), *expected, "{value} of {available:?}");
    }
}

#[test]
fn names() {
    for coding in Coding::ALL {
        assert_eq!(Coding::from_name(coding.name().as_bytes()), Some(coding));
        assert_eq!(Coding::from_name(coding.name().to_uppercase().as_bytes()), Some(coding));
    }
    assert_eq!(Coding::from_name(b"identity"), None);
}

fn coding() -> impl Strategy<Value = Coding> {
    prop_oneof![Just(Brotli), Just(Zstd), Just(Gzip)]
}

/// A member of the list, with its weight in thousandths.
fn member() -> impl Strategy<Value = (String, u16)> {
    let names =
        prop_oneof![Just("br"), Just("zstd"), Just("gzip"), Just("identity"), Just("*"), Just("other")];
    (names, 0..=1_000_u16).prop_map(|(name, weight)| {
        let text = format!("{name};q={}.{:03}", weight / 1_000, weight % 1_000);
        (text, weight)
    })
}

proptest! {
    /// Whatever comes: what is chosen is available, and was neither left unsaid nor refused.
    #[test]
    fn a_choice_is_available(
        values in prop::collection::vec("[a-z*;=,.0-9 \t\"]{0,40}", 0..4),
        available in prop::collection::vec(coding(), 0..4),
    ) {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if let Coded(coding) = choose(&values, &available) {
            prop_assert!(available.contains(&coding));
            let named = values.iter().any(|value| value.contains('*') || value.contains(coding.name()));
            prop_assert!(named, "{values:?} names no {coding:?}");
        }
    }

    /// Of well-formed lists: nothing available weighs more than what is chosen, and what weighs nothing is not chosen.
    #[test]
    fn the_greatest_weight_wins(
        members in prop::collection::vec(member(), 0..6),
        available in prop::collection::vec(coding(), 0..4),
    ) {
        let weight = |name: &str| {
            let of = |name: &str| {
                let same = |(text, _): &&(String, u16)| text.split(';').next() == Some(name);
                members.iter().filter(same).map(|(_, weight)| *weight).min()
            };
            of(name).or_else(|| of("*"))
        };
        let line: Vec<&str> = members.iter().map(|(text, _)| text.as_str()).collect();
        let line = line.join(", ");
        let heaviest = available.iter().map(|coding| weight(coding.name()).unwrap_or(0)).max().unwrap_or(0);
        let identity = weight("identity");
        match choose(&[&line], &available) {
            Coded(coding) => {
                let chosen = weight(coding.name()).unwrap_or(0);
                prop_assert!(chosen > 0 && chosen == heaviest && chosen >= identity.unwrap_or(0), "{line}");
                let first = available.iter().find(|coding| weight(coding.name()) == Some(heaviest));
                prop_assert_eq!(first, Some(&coding));
            }
            Identity => prop_assert!(identity != Some(0) && heaviest <= identity.unwrap_or(0), "{}", line),
            Nothing => prop_assert!(identity == Some(0) && heaviest == 0, "{}", line),
        }
    }

    /// How the list is spread over lines does not matter.
    #[test]
    fn lines_do_not_matter(members in prop::collection::vec(member(), 0..6), at in 0..6_usize) {
        let all: Vec<&str> = members.iter().map(|(text, _)| text.as_str()).collect();
        let (first, second) = all.split_at(at.min(all.len()));
        let split = choose(&[&first.join(","), &second.join(" , ")], &Coding::ALL);
        prop_assert_eq!(choose(&[&all.join(",")], &Coding::ALL), split);
    }
}
