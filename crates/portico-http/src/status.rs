//! Status codes and their reason phrases (RFC 9110 section 15).

use std::fmt;

/// A status code, 100 to 599.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(u16);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal $phrase:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The reason phrase; empty for a code that this crate has no name for, which RFC 9112 section 4 allows.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $phrase,)*
                    _ => "",
                }
            }

            /// The whole status line with its CRLF, for the codes that have a name here.
            pub(crate) const fn line(self) -> Option<&'static [u8]> {
                match self.0 {
                    $($code => Some(concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n").as_bytes()),)*
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(crate) const NAMED: &[Self] = &[$(Self::$name),*];
        }
    };
}

statuses! {
    /// The client may send the content now (RFC 9110 section 15.2.1).
    CONTINUE = 100 "Continue";
    /// RFC 9110 section 15.3.1.
    OK = 200 "OK";
    /// RFC 9110 section 15.3.2.
    CREATED = 201 "Created";
    /// RFC 9110 section 15.3.3.
    ACCEPTED = 202 "Accepted";
    /// RFC 9110 section 15.3.5; never has content.
    NO_CONTENT = 204 "No Content";
    /// One range of the representation (RFC 9110 section 15.3.7).
    PARTIAL_CONTENT = 206 "Partial Content";
    /// RFC 9110 section 15.4.2.
    MOVED_PERMANENTLY = 301 "Moved Permanently";
    /// RFC 9110 section 15.4.3.
    FOUND = 302 "Found";
    /// RFC 9110 section 15.4.4.
    SEE_OTHER = 303 "See Other";
    /// RFC 9110 section 15.4.5; never has content.
    NOT_MODIFIED = 304 "Not Modified";
    /// As 302 but the method is kept (RFC 9110 section 15.4.8).
    TEMPORARY_REDIRECT = 307 "Temporary Redirect";
    /// As 301 but the method is kept (RFC 9110 section 15.4.9).
    PERMANENT_REDIRECT = 308 "Permanent Redirect";
    /// RFC 9110 section 15.5.1.
    BAD_REQUEST = 400 "Bad Request";
    /// Comes with `WWW-Authenticate` (RFC 9110 section 15.5.2).
    UNAUTHORIZED = 401 "Unauthorized";
    /// RFC 9110 section 15.5.4.
    FORBIDDEN = 403 "Forbidden";
    /// RFC 9110 section 15.5.5.
    NOT_FOUND = 404 "Not Found";
    /// Comes with `Allow` (RFC 9110 section 15.5.6).
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    /// The request did not arrive in time (RFC 9110 section 15.5.9).
    REQUEST_TIMEOUT = 408 "Request Timeout";
    /// RFC 9110 section 15.5.10.
    CONFLICT = 409 "Conflict";
    /// RFC 9110 section 15.5.12.
    LENGTH_REQUIRED = 411 "Length Required";
    /// RFC 9110 section 15.5.13.
    PRECONDITION_FAILED = 412 "Precondition Failed";
    /// RFC 9110 section 15.5.14.
    CONTENT_TOO_LARGE = 413 "Content Too Large";
    /// RFC 9110 section 15.5.15.
    URI_TOO_LONG = 414 "URI Too Long";
    /// RFC 9110 section 15.5.16.
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type";
    /// Comes with `Content-Range: bytes */length` (RFC 9110 section 15.5.17).
    RANGE_NOT_SATISFIABLE = 416 "Range Not Satisfiable";
    /// RFC 9110 section 15.5.18.
    EXPECTATION_FAILED = 417 "Expectation Failed";
    /// The server does not speak for this scheme and host (RFC 9110 section 15.5.20).
    MISDIRECTED_REQUEST = 421 "Misdirected Request";
    /// RFC 6585 section 4.
    TOO_MANY_REQUESTS = 429 "Too Many Requests";
    /// RFC 6585 section 5.
    REQUEST_HEADER_FIELDS_TOO_LARGE = 431 "Request Header Fields Too Large";
    /// RFC 9110 section 15.6.1.
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error";
    /// RFC 9110 section 15.6.2.
    NOT_IMPLEMENTED = 501 "Not Implemented";
    /// RFC 9110 section 15.6.3.
    BAD_GATEWAY = 502 "Bad Gateway";
    /// RFC 9110 section 15.6.4.
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    /// RFC 9110 section 15.6.5.
    GATEWAY_TIMEOUT = 504 "Gateway Timeout";
    /// RFC 9110 section 15.6.6.
    HTTP_VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported";
    /// RFC 4918 section 11.5.
    INSUFFICIENT_STORAGE = 507 "Insufficient Storage";
}

impl Status {
    /// The status with this code, where it is within 100 to 599.
    pub const fn from_code(code: u16) -> Option<Self> {
        if code >= 100 && code <= 599 { Some(Self(code)) } else { None }
    }

    /// The code.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether a response with this status ends at its head whatever its fields say (RFC 9112 section 6.3): 1xx, 204
    /// and 304.
    pub const fn is_without_content(self) -> bool {
        matches!(self.0, 100..=199 | 204 | 304)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0, self.reason())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Status({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn lines_carry_code_and_reason() {
        for status in Status::NAMED {
            let line = format!("HTTP/1.1 {} {}\r\n", status.code(), status.reason());
            assert_eq!(status.line(), Some(line.as_bytes()));
            assert_eq!(Status::from_code(status.code()), Some(*status));
        }
    }

    #[test]
    fn codes_out_of_range_are_refused() {
        for code in [0, 99, 600, u16::MAX] {
            assert_eq!(Status::from_code(code), None);
        }
        let unnamed = Status::from_code(418).unwrap();
        assert_eq!((unnamed.reason(), unnamed.line()), ("", None));
    }
}
