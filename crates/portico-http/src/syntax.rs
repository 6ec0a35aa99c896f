//! The character classes of RFC 9110 section 5.6 and RFC 3986 section 2.

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const QUOTED: u8 = 4;
const TARGET: u8 = 8;
const HOST: u8 = 16;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte as u8);
        byte += 1;
    }
    classes
};

const fn class(byte: u8) -> u8 {
    let mut class = 0;
    if matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
    {
        class |= TOKEN;
    }
    if matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xFF) {
        class |= VALUE;
        if !matches!(byte, b'"' | b'\\') {
            class |= QUOTED;
        }
    }
    if byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>') {
        class |= TARGET;
    }
    if byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
    {
        class |= HOST;
    }
    class
}

/// A byte of a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// A byte of a field value or its white space (RFC 9110 section 5.5): no control character but the tab.
pub(crate) const fn is_field_value(byte: u8) -> bool {
    CLASSES[byte as usize] & VALUE != 0
}

/// A byte between the quotes of a quoted string that needs no escape (RFC 9110 section 5.6.4).
pub(crate) const fn is_quoted_text(byte: u8) -> bool {
    CLASSES[byte as usize] & QUOTED != 0
}

/// A byte of a request target. Wider than RFC 3986 allows, because browsers leave some delimiters unescaped in a
/// query; but never a space, a control character, a quote, an angle bracket, a fragment or a byte above ASCII.
pub(crate) const fn is_target(byte: u8) -> bool {
    CLASSES[byte as usize] & TARGET != 0
}

/// A byte of a registered name other than the percent sign (RFC 3986 section 3.2.2).
pub(crate) const fn is_host_name(byte: u8) -> bool {
    CLASSES[byte as usize] & HOST != 0
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Without the spaces and tabs around it (RFC 9110 section 5.6.3).
pub(crate) const fn trim_white_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
