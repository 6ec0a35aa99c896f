//! Each test that docs/http.md names stands in the sources.

use std::{fs, path::Path};

/// Text of the test files of both crates, by the file's name.
fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_test_of_the_table_exists() {
    // Cargo runs tests in the folder of their crate.
    let page = fs::read_to_string("../../docs/http.md").unwrap();
    let mut found = Vec::new();
    for folder in ["tests", "../portico-http/tests", "../portico-http/src"] {
        sources(Path::new(folder), &mut found);
    }
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| requirement ")) {
        let tests: Vec<_> =
            line.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::")).collect();
        assert!(!tests.is_empty(), "a requirement without a test: {line}");
        for (file, function) in tests {
            let stands = |text: &str| {
                text.contains(&format!("fn {function}()"))
                    || text.contains(&format!("fn {function}(backend: BackendChoice)"))
                    || text.contains(&format!("    fn {function}("))
            };
            assert!(
                found.iter().any(|(name, text)| name == file && stands(text)),
                "no test {file}::{function} for: {line}"
            );
        }
        rows += 1;
    }
    assert!(rows >= 60, "only {rows} rows were read");
}
