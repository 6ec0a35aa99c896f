//! Listings as a page that needs no script, no other file, and no more rights than its own style.

use super::{Folder, MOST_PAGE_BYTES, Row, Sort, View};
use crate::log::Date;
use portico_http::status::Status;
use std::{fmt::Write, time::SystemTime};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("upload.js");

macro_rules! style_hash {
    () => {
        "'sha256-W50LK0K4fca+q55Ff1Lm0Tn0fyuaiAGyuNmJDt9gEfY='"
    };
}

/// What a browser may do with a listing: use the one style that is in it, by its hash (Content Security Policy Level 3).
pub(super) const POLICY: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// The same where files can be uploaded: the one script that is in it, and requests to here.
pub(super) const POLICY_UPLOAD: &str = concat!(
    "default-src 'none'; style-src ",
    style_hash!(),
    "; script-src 'sha256-mkRWTmZQHvcsK2HHg2hyWpriT6+gCjPHRojrDrs+s6I='; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
);

/// The two pictures, which the rows refer to.
const PICTURES: &str = "<svg class=\"hidden\" aria-hidden=\"true\"><symbol id=\"d\" viewBox=\"0 0 20 20\">\
    <path d=\"M2 5.5V16h16V6.5H9.5L8 4H2z\"/></symbol><symbol id=\"f\" viewBox=\"0 0 20 20\">\
    <path d=\"M4.5 2h7l4 4v12h-11zM11.5 2v4h4\"/></symbol></svg>\n";

const FORM: &str = "<form id=\"upload\" method=\"post\" enctype=\"multipart/form-data\" action=\"./\">\
    <label for=\"file\">Add files</label><input id=\"file\" name=\"file\" type=\"file\" multiple required>\
    <button>Upload</button><ul id=\"progress\" aria-live=\"polite\"></ul></form>\n";

pub(super) fn page(folder: &Folder, view: View, upload: bool) -> String {
    let title = Escaped(&folder.title()).to_string();
    let mut page = String::with_capacity(8_192 + 256 * folder.rows.len().min(1_024));
    begin(&mut page, &title);
    page.push_str(PICTURES);
    breadcrumbs(&mut page, folder, view);
    summary(&mut page, folder);
    if upload {
        page.push_str(FORM);
    }
    put(
        &mut page,
        format_args!("<table>\n<caption class=\"hidden\">Contents of {title}</caption>\n<thead><tr>"),
    );
    for (sort, class, words) in
        [(Sort::Name, "name", "Name"), (Sort::Size, "size", "Size"), (Sort::Date, "date", "Modified")]
    {
        column(&mut page, view, sort, class, words);
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    if !folder.path.is_empty() {
        let query = Escaped(view.query());
        put(
            &mut page,
            format_args!(
                "<tr><th scope=\"row\"><a href=\"../{query}\">{}Parent folder</a></th><td></td><td></td></tr>\n",
                picture(true)
            ),
        );
    }
    let mut date = Date::default();
    let mut cut_off = folder.cut_off;
    for row in &folder.rows {
        if page.len() > MOST_PAGE_BYTES {
            cut_off = true;
            break;
        }
        put_row(&mut page, row, view, &mut date);
    }
    page.push_str("</tbody>\n</table>\n");
    if folder.rows.is_empty() {
        page.push_str("<p class=\"none\">This folder is empty.</p>\n");
    }
    if cut_off {
        page.push_str("<p class=\"cut\">There is more in this folder than is shown here.</p>\n");
    }
    if upload {
        put(&mut page, format_args!("<script>{SCRIPT}</script>\n"));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn begin(page: &mut String, title: &str) {
    put(
        page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        ),
    );
}

/// The way from the root to here, and where that leads.
fn breadcrumbs(page: &mut String, folder: &Folder, view: View) {
    let query = Escaped(view.query());
    let depth = folder.path.len();
    if let Some((own, above)) = folder.path.split_last() {
        page.push_str("<nav aria-label=\"Path\"><ol>");
        for (number, name) in std::iter::once("Home").chain(above.iter().map(String::as_str)).enumerate() {
            let up = "../".repeat(depth - number);
            put(page, format_args!("<li><a href=\"{up}{query}\"><bdi>{}</bdi></a></li>", Escaped(name)));
        }
        put(page, format_args!("</ol></nav>\n<h1><bdi>{}</bdi></h1>\n", Escaped(own)));
    } else {
        page.push_str("<h1>Home</h1>\n");
    }
}

fn summary(page: &mut String, folder: &Folder) {
    let folders = folder.rows.iter().filter(|row| row.folder).count();
    let files = folder.rows.len() - folders;
    let bytes =
        folder.rows.iter().filter(|row| !row.folder).fold(0_u64, |sum, row| sum.saturating_add(row.length));
    let mut parts = Vec::new();
    for (count, one) in [(folders, "folder"), (files, "file")] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            _ => parts.push(format!("{count} {one}s")),
        }
    }
    if files > 0 {
        parts.push(Size(bytes).to_string());
    }
    put(page, format_args!("<p class=\"sum\">{}</p>\n", parts.join(", ")));
}

/// The head of a column: a link that sorts by it, or the other way round.
fn column(page: &mut String, view: View, sort: Sort, class: &str, words: &str) {
    let own = view.sort == sort;
    let name = match sort {
        Sort::Name => "name",
        Sort::Size => "size",
        Sort::Date => "date",
    };
    let order = if own && !view.descending { "desc" } else { "asc" };
    let (said, arrow) = match (own, view.descending) {
        (false, _) => ("", ""),
        (true, false) => (" aria-sort=\"ascending\"", " <span aria-hidden=\"true\">&#9650;</span>"),
        (true, true) => (" aria-sort=\"descending\"", " <span aria-hidden=\"true\">&#9660;</span>"),
    };
    put(
        page,
        format_args!(
            "<th scope=\"col\" class=\"{class}\"{said}><a href=\"?sort={name}&amp;order={order}\">{words}{arrow}</a></th>"
        ),
    );
}

fn put_row(page: &mut String, row: &Row, view: View, date: &mut Date) {
    let (slash, query) = if row.folder { ("/", view.query()) } else { ("", "") };
    // The dot keeps a colon in a name from being taken for the end of a scheme.
    put(
        page,
        format_args!(
            "<tr><th scope=\"row\"><a href=\"./{}{slash}{}\">{}<bdi>{}</bdi></a></th>",
            Encoded(&row.name),
            Escaped(query),
            picture(row.folder),
            Escaped(&row.name)
        ),
    );
    if row.folder {
        page.push_str("<td></td>");
    } else {
        put(
            page,
            format_args!("<td class=\"size\" title=\"{} bytes\">{}</td>", row.length, Size(row.length)),
        );
    }
    let time = date.internet(if row.modified < SystemTime::UNIX_EPOCH {
        SystemTime::UNIX_EPOCH
    } else {
        row.modified
    });
    // 2000-10-10T13:55:36
    let (day, hour) = (time.get(..10).unwrap_or(time), time.get(11..16).unwrap_or(""));
    put(
        page,
        format_args!(
            "<td class=\"date\"><time datetime=\"{time}Z\" title=\"UTC\">{day}<span> {hour}</span></time></td></tr>\n"
        ),
    );
}

fn picture(folder: bool) -> &'static str {
    if folder {
        "<svg class=\"folder\" role=\"img\" aria-label=\"Folder\"><use href=\"#d\"/></svg>"
    } else {
        "<svg aria-hidden=\"true\"><use href=\"#f\"/></svg>"
    }
}

/// What became of the files of a form, for a browser without scripts.
pub(crate) fn result_page(results: &[(String, Status)]) -> (&'static str, String) {
    let mut page = String::new();
    begin(&mut page, "Upload");
    page.push_str("<h1>Not every file was taken</h1>\n<ul>\n");
    for (name, status) in results {
        let words = match *status {
            Status::CREATED => "done",
            Status::CONFLICT => "there is a file of this name, and it was kept",
            Status::BAD_REQUEST => "this name is not allowed",
            other => other.reason(),
        };
        put(&mut page, format_args!("<li><bdi>{}</bdi>: {words}</li>\n", Escaped(name)));
    }
    page.push_str("</ul>\n<p><a href=\"./\">Back to the folder</a></p>\n</body>\n</html>\n");
    (POLICY, page)
}

fn put(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(arguments);
}

/// Text that is only text in HTML, between tags and in quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                other => formatter.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A name as one segment of a path (RFC 3986 section 3.3): only what never has to be encoded stays.
struct Encoded<'a>(&'a str);

impl std::fmt::Display for Encoded<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    formatter.write_char(byte.into())?;
                }
                other => write!(formatter, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

/// Bytes as people read them.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut size = self.0 as f64;
        if self.0 < 1_024 {
            return write!(formatter, "{} B", self.0);
        }
        let mut unit = "";
        for next in UNITS {
            // What would be written as 1024 is one of the next unit.
            if size < 1_023.95 {
                break;
            }
            (size, unit) = (size / 1_024.0, next);
        }
        write!(formatter, "{size:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// RFC 4648 section 4.
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits =
                group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place > group.len() { '=' } else { digit.into() });
            }
        }
        text
    }

    #[test]
    fn the_policy_allows_the_style_and_the_script_that_are_there() {
        for (text, policies) in [(STYLE, &[POLICY, POLICY_UPLOAD][..]), (SCRIPT, &[POLICY_UPLOAD])] {
            let source = format!("'sha256-{}'", base64(&Sha256::digest(text)));
            for policy in policies {
                assert!(policy.contains(&source), "write {source} into the policy");
            }
            assert!(!text.contains("</") && !text.contains('\r'));
        }
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn names_are_escaped_and_encoded() {
        assert_eq!(Escaped("<a href='x'>&\"").to_string(), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert_eq!(Encoded("a b?#%é/\"'.txt").to_string(), "a%20b%3F%23%25%C3%A9%2F%22%27.txt");
    }
}
