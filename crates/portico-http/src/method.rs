//! Request methods (RFC 9110 section 9).

/// A request method that this crate knows; the names are case-sensitive (RFC 9110 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Transfer the current representation (RFC 9110 section 9.3.1).
    Get,
    /// As GET, without the content (RFC 9110 section 9.3.2).
    Head,
    /// Process the enclosed content (RFC 9110 section 9.3.3).
    Post,
    /// Create or replace the resource (RFC 9110 section 9.3.4).
    Put,
    /// Describe the communication options (RFC 9110 section 9.3.7).
    Options,
    /// Any other token; its text is in [`Request::method_text`](crate::request::Request::method_text). Whether that
    /// means 405 or 501 is the caller's decision.
    Other,
}

impl Method {
    /// The method that a token names.
    pub fn from_token(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// Whether the method only reads (RFC 9110 section 9.2.1). False for [`Method::Other`], of which nothing is known.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}
