//! Content codings, and which of them a client wants (RFC 9110 sections 8.4.1 and 12.5.3).

use crate::syntax::{self, trim_white_space};

/// A content coding that browsers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952); `x-gzip` is the same (RFC 9110 section 8.4.1.3).
    Gzip,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of this name; capital letters do not matter.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// Which representation to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one with this coding.
    Coded(Coding),
    /// The one without a coding.
    Identity,
    /// None is acceptable, not even the one without a coding. RFC 9110 section 12.4.1 lets a server answer 406, or send what it has
    /// as if the client had not asked.
    Nothing,
}

/// What a client wants of one coding, in thousandths.
type Weight = u16;

/// The weights of the `Accept-Encoding` fields of one request, read in one pass.
///
/// A member of the list that is malformed (no token, a parameter other than `q`, a weight that is none) asks for nothing and refuses
/// nothing. Where a coding is listed twice its smaller weight holds: what a client refuses anywhere is not sent.
///
/// ```
/// use portico_http::coding::{AcceptEncoding, Choice, Coding};
///
/// let accept = AcceptEncoding::new([&b"gzip;q=0.8, br"[..]]);
/// assert_eq!(accept.choose([Coding::Gzip, Coding::Brotli]), Choice::Coded(Coding::Brotli));
/// assert_eq!(accept.choose([Coding::Zstd]), Choice::Identity);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AcceptEncoding {
    codings: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    /// Of `*`: for every coding that is not listed.
    any: Option<Weight>,
}

impl AcceptEncoding {
    /// Reads the values of all lines of the field; none where the request does not have it.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut accept = Self::default();
        let members = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        for (name, weight) in members.filter_map(member) {
            let slot = if name == b"*" {
                &mut accept.any
            } else if name.eq_ignore_ascii_case(b"identity") {
                &mut accept.identity
            } else if let Some(coding) = Coding::from_name(name) {
                &mut accept.codings[coding as usize]
            } else {
                continue;
            };
            *slot = Some(slot.map_or(weight, |earlier| earlier.min(weight)));
        }
        accept
    }

    /// The representation to send where those with the codings `available` are there beside the one without. The greatest weight
    /// wins; of equal ones the first of `available`, and the one without a coding last.
    ///
    /// A coding that the client does not name is not sent, though RFC 9110 allows it where the field is missing: who says nothing may
    /// be able to decode nothing.
    pub fn choose(&self, available: impl IntoIterator<Item = Coding>) -> Choice {
        // Unlisted it is acceptable, and less wanted than what is listed (RFC 9110 section 12.5.3).
        let identity = self.identity.or(self.any);
        let mut best = (identity.unwrap_or(0), None);
        for coding in available {
            let weight = self.codings[coding as usize].or(self.any).unwrap_or(0);
            let first = best.1.is_none() && weight == best.0;
            if weight > 0 && (weight > best.0 || first) {
                best = (weight, Some(coding));
            }
        }
        match best {
            (_, Some(coding)) => Choice::Coded(coding),
            (_, None) if identity == Some(0) => Choice::Nothing,
            (_, None) => Choice::Identity,
        }
    }
}

/// A member of the list: `codings [ OWS ";" OWS "q=" qvalue ]`.
fn member(text: &[u8]) -> Option<(&[u8], Weight)> {
    let text = trim_white_space(text);
    let (name, weight) = match memchr::memchr(b';', text) {
        Some(end) => (trim_white_space(&text[..end]), weight(trim_white_space(&text[end + 1..]))?),
        None => (text, 1_000),
    };
    (!name.is_empty() && name.iter().copied().all(syntax::is_token)).then_some((name, weight))
}

/// `q=` and a number from 0 to 1 with at most three digits behind the point (RFC 9110 section 12.4.2).
fn weight(text: &[u8]) -> Option<Weight> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = text else { return None };
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut weight = Weight::from(*whole - b'0');
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        weight = weight * 10 + Weight::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (weight <= 1_000).then_some(weight)
}
