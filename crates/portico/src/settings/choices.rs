//! The settings that choose one of a few named values.

use std::path::PathBuf;

/// A setting whose value is one of a few names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The names in flags and files.
    const NAMES: &'static [&'static str];
    /// The values, in the order of their names.
    const VALUES: &'static [Self];
}

macro_rules! choices {
    ($($(#[$about:meta])* $type:ident { $($(#[$variant_about:meta])* $variant:ident = $name:literal),+ $(,)? })+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_about])* $variant),+ }

        impl Choice for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];
            const VALUES: &'static [Self] = &[$(Self::$variant),+];
        }

        impl $type {
            /// The name that this value has in flags, environment variables and `portico.toml`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+};
}

choices! {
    /// Which implementation of the completion port serves.
    BackendChoice {
        /// The best that this system offers.
        Auto = "auto",
        /// Windows I/O completion ports.
        Iocp = "iocp",
        /// Linux io_uring.
        IoUring = "io-uring",
        /// epoll, kqueue or what else tells that a socket is ready.
        Readiness = "readiness",
    }

    /// Which symbolic links below the root are followed.
    FollowSymlinks {
        /// Those whose target lies inside the root.
        Inside = "inside",
        /// None.
        Never = "never",
    }

    /// The form of a line of the access log.
    AccessLogFormat {
        /// The combined format that Apache httpd made common.
        Combined = "combined",
        /// One JSON object a line.
        Json = "json",
    }

    /// The least important event that the program log shows.
    LogLevel {
        /// What went wrong.
        Error = "error",
        /// And what looks wrong.
        Warn = "warn",
        /// And what an operator wants to know.
        Info = "info",
        /// And what explains a decision.
        Debug = "debug",
    }

    /// The form of the program log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output, written `-`.
    StandardOutput,
    /// A file, opened for appending.
    File(PathBuf),
}

/// The name of a character encoding: a token of at most 40 bytes, such as `utf-8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charset(String);

impl Charset {
    /// IANA's names are no longer.
    const MOST_BYTES: usize = 40;

    /// The charset of this name; none where it cannot be a name of one.
    pub fn new(name: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        let fits = (1..=Self::MOST_BYTES).contains(&name.len());
        (fits && name.bytes().all(valid)).then(|| Self(name.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
