//! From the segments of a URL to a relative path that is safe to open beneath the root.
//!
//! The segments come percent-decoded, and their dot segments are removed already (RFC 3986, section 5.2.4). What is
//! decided here is what a *file system* makes of them: Windows opens a device for `aux.html`, another stream of the
//! file for `index.html::$DATA`, the same file for `INDEX~1.HTM` and `index.html.`, and a file outside the root for
//! `C:x`. On Unix these are ordinary names, so [`Rules::windows`] applies only where such names have that meaning.
//! File systems that compare names in folded case may ignore characters without a shape, and take a zero-width joiner
//! before `.git` for nothing at all: what is hidden is decided by what is left without those.
//! Symbolic links are not decided here: they are seen when the path is opened.

use std::fmt;

/// The longest segment, in bytes: NAME_MAX of Unix systems. (NTFS takes 255 UTF-16 units, which are never more bytes
/// than this allows.)
pub const MOST_SEGMENT_BYTES: usize = 255;
/// The longest path, in bytes: PATH_MAX of Linux.
pub const MOST_PATH_BYTES: usize = 4096;
/// The settings of a site, which are never served, however their name is written.
const CONFIGURATION: &str = "portico.toml";

/// Which names may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Names mean what they mean to Windows, and the separator is a backslash.
    pub windows: bool,
    /// Names that begin with a dot are served. `.well-known` as the first segment always is (RFC 8615): it exists to
    /// be asked for, and certificates are renewed through it.
    pub dot_files: bool,
}

/// What a path names by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It ends in a name.
    File,
    /// It ends in a slash, or is the root itself.
    Folder,
}

/// Why a path is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// An empty segment before the last, as in `a//b`. Collapsing it would give each file endless URLs, and break the
    /// relative links of its page.
    EmptySegment,
    /// `.` or `..`, which whoever decoded the URL should have removed.
    DotSegment,
    /// NUL or another control character.
    ControlCharacter,
    /// A slash or backslash inside a segment: it was written `%2F` or `%5C`.
    Separator,
    /// A name that begins with a dot.
    Hidden,
    /// `portico.toml`, which says how this server is set up.
    Configuration,
    /// A segment longer than [`MOST_SEGMENT_BYTES`].
    SegmentTooLong,
    /// A path longer than [`MOST_PATH_BYTES`].
    PathTooLong,
    /// A character that Windows reserves: `:` for drives and streams, `* ? " < >` for patterns, `|`.
    ReservedCharacter,
    /// A dot or space at the end, which Windows drops.
    TrailingDotOrSpace,
    /// The name of a device, such as `NUL` or `com1.txt`.
    DeviceName,
    /// The form of an 8.3 name, such as `PROGRA~1`: a second name for a file that has a longer one.
    ShortName,
    /// A file in which NTFS keeps its own data, such as `$MFT`: there is one at the root of each drive.
    FileSystemName,
}

impl Refusal {
    /// The status to answer with: 400 for what no client sends in good faith, 404 for a name that is not served.
    pub fn status(self) -> u16 {
        match self {
            Refusal::DotSegment | Refusal::ControlCharacter | Refusal::Separator => 400,
            _ => 404,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::EmptySegment => "the path has an empty segment",
            Refusal::DotSegment => "the path has a dot segment",
            Refusal::ControlCharacter => "the path has a control character",
            Refusal::Separator => "a segment has a slash or backslash inside",
            Refusal::Hidden => "a name begins with a dot",
            Refusal::Configuration => "the server's configuration is not served",
            Refusal::SegmentTooLong => "a name is too long",
            Refusal::PathTooLong => "the path is too long",
            Refusal::ReservedCharacter => "a name has a character that Windows reserves",
            Refusal::TrailingDotOrSpace => "a name ends in a dot or space",
            Refusal::DeviceName => "a name is that of a device",
            Refusal::ShortName => "a name has the form of an 8.3 name",
            Refusal::FileSystemName => "a name is that of a file in which NTFS keeps its own data",
        })
    }
}

impl std::error::Error for Refusal {}

impl Rules {
    /// The rules of the system that this program runs on.
    pub const fn native(dot_files: bool) -> Rules {
        Rules { windows: cfg!(windows), dot_files }
    }

    /// Writes the relative path that `segments` name into `path`, which is emptied first and keeps its memory. The path
    /// is empty for the root. An empty last segment is a trailing slash.
    ///
    /// # Errors
    /// [`Refusal`] for a path that must not be opened; `path` is then empty.
    pub fn resolve<'s>(
        &self,
        segments: impl IntoIterator<Item = &'s str>,
        path: &mut String,
    ) -> Result<Form, Refusal> {
        path.clear();
        let form = self.join(segments, path);
        if form.is_err() {
            path.clear();
        }
        form
    }

    fn join<'s>(
        &self,
        segments: impl IntoIterator<Item = &'s str>,
        path: &mut String,
    ) -> Result<Form, Refusal> {
        let mut form = Form::Folder;
        let mut ended = false;
        for segment in segments {
            if ended {
                return Err(Refusal::EmptySegment);
            }
            if segment.is_empty() {
                (ended, form) = (true, Form::Folder);
                continue;
            }
            self.allow(segment, path.is_empty())?;
            if !path.is_empty() {
                path.push(if self.windows { '\\' } else { '/' });
            }
            path.push_str(segment);
            if path.len() > MOST_PATH_BYTES {
                return Err(Refusal::PathTooLong);
            }
            form = Form::File;
        }
        Ok(form)
    }

    /// Whether a name is served; `first` says that it lies in the root itself.
    pub(crate) fn allow(&self, segment: &str, first: bool) -> Result<(), Refusal> {
        if is_usual(segment) && !self.windows { Ok(()) } else { self.examine(segment, first) }
    }

    fn examine(&self, segment: &str, first: bool) -> Result<(), Refusal> {
        if visible(segment).eq(['.']) || visible(segment).eq(['.', '.']) {
            return Err(Refusal::DotSegment);
        }
        if segment.len() > MOST_SEGMENT_BYTES {
            return Err(Refusal::SegmentTooLong);
        }
        for character in segment.chars() {
            match character {
                '/' | '\\' => return Err(Refusal::Separator),
                ':' | '*' | '?' | '"' | '<' | '>' | '|' if self.windows => {
                    return Err(Refusal::ReservedCharacter);
                }
                character if character.is_control() => return Err(Refusal::ControlCharacter),
                _ => {}
            }
        }
        // Before the dot files, so that `.. ` is not taken for one: what Windows drops is never served by any policy.
        if self.windows {
            windows(segment)?;
        }
        if visible(segment).next() == Some('.') && !self.dot_files && !(first && segment == ".well-known") {
            return Err(Refusal::Hidden);
        }
        if visible(segment).map(|c| c.to_ascii_lowercase()).eq(CONFIGURATION.chars()) {
            return Err(Refusal::Configuration);
        }
        Ok(())
    }
}

/// Whether no rule but those of Windows can object to a name, as one look at each of its bytes tells of nearly all names.
fn is_usual(segment: &str) -> bool {
    let usual = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    segment.len() <= MOST_SEGMENT_BYTES
        && segment.len() != CONFIGURATION.len()
        && !segment.starts_with('.')
        && segment.as_bytes().iter().all(usual)
}

/// The characters of a name without those that file systems may ignore where they fold case (ext4 and f2fs in such
/// folders, HFS+): the default-ignorable code points of Unicode.
pub(crate) fn visible(segment: &str) -> impl Iterator<Item = char> {
    segment.chars().filter(|character| {
        !matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
    })
}

/// Names that Windows does not take literally.
fn windows(segment: &str) -> Result<(), Refusal> {
    if segment.ends_with(['.', ' ']) {
        return Err(Refusal::TrailingDotOrSpace);
    }
    let (base, extension) = segment.split_once('.').unwrap_or((segment, ""));
    // Windows looks at the name up to its first dot, without the spaces before it.
    if is_device(base.trim_end_matches(' ')) {
        return Err(Refusal::DeviceName);
    }
    if is_short(base, extension) {
        return Err(Refusal::ShortName);
    }
    if OF_NTFS.iter().any(|name| segment.eq_ignore_ascii_case(name)) {
        return Err(Refusal::FileSystemName);
    }
    Ok(())
}

const OF_NTFS: [&str; 12] = [
    "$MFT", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", "$Bitmap", "$Boot", "$BadClus", "$Quota",
    "$Secure", "$UpCase", "$Extend",
];

fn is_device(base: &str) -> bool {
    const DEVICES: [&str; 7] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];
    if DEVICES.iter().any(|device| base.eq_ignore_ascii_case(device)) {
        return true;
    }
    let Some((port, number)) = base.split_at_checked(3) else { return false };
    let mut number = number.chars();
    // The superscripts count as digits there.
    (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT"))
        && matches!((number.next(), number.next()), (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None))
}

/// At most eight characters that end in a tilde and digits, and at most three after the only dot. The exact form, so
/// that `notes~2.html` stays an ordinary name: its short name would have three characters behind the dot.
fn is_short(base: &str, extension: &str) -> bool {
    let stem = base.trim_end_matches(|character: char| character.is_ascii_digit());
    stem.len() < base.len()
        && stem.ends_with('~')
        && base.chars().count() <= 8
        && extension.chars().count() <= 3
        && !extension.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_objects_to_what_is_usual() {
        let rules = Rules { windows: false, dot_files: false };
        let longest = "a".repeat(MOST_SEGMENT_BYTES);
        let names =
            ["", ".", "..", ".a", "a.", "a..", CONFIGURATION, "PORTICO.TOML", "portico.tom", &longest];
        let too_long = format!("{longest}a");
        let written = (0..0x250).filter_map(char::from_u32).flat_map(|c| [format!("{c}"), format!("a{c}b")]);
        let names = names.into_iter().map(str::to_owned).chain([too_long]).chain(written);
        let (usual, unusual): (Vec<_>, Vec<_>) = names.partition(|name| is_usual(name));
        for name in &usual {
            assert_eq!(rules.examine(name, true), Ok(()), "{name}");
        }
        assert!(usual.len() > 2 * 62 && unusual.contains(&CONFIGURATION.to_owned()));
    }
}
