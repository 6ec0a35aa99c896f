//! What is served, what can be asked for, and what the right answer is.

use completion_port::simulation::Random;
use std::{collections::BTreeMap, fs, path::Path, rc::Rc};
use tempfile::TempDir;

/// A folder with files, all of whose content is known.
pub(crate) struct Site {
    folder: TempDir,
    files: BTreeMap<&'static str, Rc<[u8]>>,
}

/// A request, and the answer that it has to get.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) status: &'static [u16],
    pub(crate) body: Option<Rc<[u8]>>,
    /// The answer has the head of that body only.
    pub(crate) head_only: bool,
}

fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.number() as u8).collect()
}

impl Site {
    pub(crate) fn new() -> Self {
        // In memory where that is possible: uploads are synced, and a disk takes its time for that.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.expect("a temporary folder");
        let lengths = [
            ("index.html", 700),
            ("empty", 0),
            ("one", 1),
            ("page.html", 5_000),
            ("script.js", 40_000),
            ("large", 300_001),
            ("sub/index.html", 300),
            ("sub/deep/page", 12_345),
        ];
        let files: BTreeMap<_, _> =
            lengths.into_iter().map(|(name, length)| (name, content(length, length as u64).into())).collect();
        for (name, content) in &files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder of the site");
            fs::write(path, content).expect("a file of the site");
        }
        // Neighbours of the same content, so that the right answer is the same in every coding, and with one whatever becomes of its search.
        for (name, suffix) in
            [("page.html", "br"), ("page.html", "gz"), ("sub/index.html", "gz"), ("large", "br")]
        {
            let path = folder.path().join(format!("{name}.{suffix}"));
            fs::write(path, &files[name]).expect("a neighbour");
        }
        let site = Self { folder, files };
        site.empty_uploads();
        site
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder for uploads, with nothing in it.
    pub(crate) fn empty_uploads(&self) {
        let inbox = self.folder.path().join("in");
        let _ = fs::remove_dir_all(&inbox);
        fs::create_dir(inbox).expect("a folder for uploads");
    }

    /// Something that a client may ask for.
    pub(crate) fn request(&self, client: u64, number: usize, random: &mut Random) -> Request {
        let names: Vec<_> = self.files.keys().copied().collect();
        let name = random.pick(&names).unwrap_or("one");
        // Large answers are rarer than others.
        let name = if name == "large" && random.below(3) > 0 { "page.html" } else { name };
        let content = self.files[name].clone();
        let coding = if random.below(2) == 0 { "Accept-Encoding: gzip;q=0.5, br\r\n" } else { "" };
        let get = |target: &str, fields: &str, method: &str| -> Rc<[u8]> {
            format!("{method} /{target} HTTP/1.1\r\nHost: test\r\n{coding}{fields}\r\n").into_bytes().into()
        };
        match random.below(12) {
            0 => Request {
                bytes: get("nothing/here", "", "GET"),
                status: &[404],
                body: None,
                head_only: false,
            },
            1 => {
                Request { bytes: get(name, "", "HEAD"), status: &[200], body: Some(content), head_only: true }
            }
            2 if content.len() > 10 => {
                let first = random.below(content.len());
                let last = first + random.below(content.len() - first);
                Request {
                    bytes: get(name, &format!("Range: bytes={first}-{last}\r\n"), "GET"),
                    status: &[206],
                    body: Some(content[first..=last].into()),
                    head_only: false,
                }
            }
            // Its boundary is known to nobody; the length of its body is checked all the same. A coded file is sent whole instead.
            5 if content.len() > 100 => Request {
                bytes: get(name, "Range: bytes=-9,0-9,50-59\r\n", "GET"),
                status: if coding.is_empty() { &[206] } else { &[200, 206] },
                body: None,
                head_only: false,
            },
            3 => Request {
                bytes: get("sub", "", "GET"),
                status: &[301, 302, 307, 308],
                body: None,
                head_only: false,
            },
            4 if random.below(3) == 0 => {
                let body = self::content(random.below(30_000), client);
                let mut bytes = format!(
                    "PUT /in/{client}-{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                bytes.extend_from_slice(&body);
                Request { bytes: bytes.into(), status: &[201, 204], body: None, head_only: false }
            }
            _ => {
                Request { bytes: get(name, "", "GET"), status: &[200], body: Some(content), head_only: false }
            }
        }
    }
}
