//! Listings and the results of an upload as JSON (RFC 8259).

use super::{Folder, MOST_PAGE_BYTES, View};
use crate::log::{Date, escape_json};
use portico_http::status::Status;

fn text(value: &str) -> String {
    let mut escaped = vec![b'"'];
    escape_json(value.as_bytes(), usize::MAX, &mut escaped);
    escaped.push(b'"');
    String::from_utf8_lossy(&escaped).into_owned()
}

pub(super) fn page(folder: &Folder, _: View) -> String {
    let mut date = Date::default();
    let mut page = format!("{{\"path\":{},\"entries\":[", text(&folder.title()));
    let mut cut_off = folder.cut_off;
    for (number, row) in folder.rows.iter().enumerate() {
        if page.len() > MOST_PAGE_BYTES {
            cut_off = true;
            break;
        }
        page.push_str(if number == 0 { "\n" } else { ",\n" });
        let kind = if row.folder { "folder" } else { "file" };
        page.push_str(&format!("{{\"name\":{},\"type\":\"{kind}\"", text(&row.name)));
        if !row.folder {
            page.push_str(&format!(",\"size\":{}", row.length));
        }
        page.push_str(&format!(",\"modified\":\"{}Z\"}}", date.internet(row.modified)));
    }
    page.push_str(&format!("\n],\"truncated\":{cut_off}}}\n"));
    page
}

/// What became of each file of a form.
pub(crate) fn results(results: &[(String, Status)]) -> String {
    let files: Vec<_> = results
        .iter()
        .map(|(name, status)| format!("{{\"name\":{},\"status\":{}}}", text(name), status.code()))
        .collect();
    format!("{{\"files\":[{}]}}\n", files.join(","))
}
