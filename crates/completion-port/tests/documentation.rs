//! What the documentation names is there.

use std::{fs, path::Path};

/// All sources below a folder, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_tests_that_the_pages_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("tests"), &mut text);
    // Names of tests are sentences; those of functions and settings are shorter. Cases of the suite have their file before them.
    let is_test = |name: &&str| {
        name.matches('_').count() >= 3 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    for page in ["docs/soundness.md", "docs/limits.md", "docs/pitfalls.md"] {
        let chapter = fs::read_to_string(root.join(page)).unwrap();
        let quoted =
            chapter.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or(name));
        let names: Vec<&str> = quoted.filter(is_test).collect();
        assert!(names.len() > 20, "{page}: {names:?}");
        let missing: Vec<&str> =
            names.into_iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{page} names tests that there are not: {missing:?}");
    }
}
