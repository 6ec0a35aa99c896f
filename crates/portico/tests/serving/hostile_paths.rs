//! A long list of hostile targets: nothing from outside the root, and nothing hidden, however it is asked for.

use super::hostile_targets::{ABOVE, BYTES, MISSING, NO_SEGMENTS, ON_WINDOWS, REFUSED, SEPARATORS};
use crate::common::{Site, on_every_backend, write};
use portico::settings::BackendChoice;

on_every_backend!(hostile_targets_get_nothing);

fn hostile_targets_get_nothing(backend: BackendChoice) {
    let site = Site::with(backend, |settings| {
        for name in ["secret.txt", "site2/secret.txt"] {
            write(&settings.root, name, "secret");
        }
        settings.root.push("site");
        for name in ["inside.txt", "folder/inside.txt"] {
            write(&settings.root, name, "inside");
        }
        for name in [".hidden", ".git/config", ".git/HEAD", "folder/.env", "portico.toml"] {
            write(&settings.root, name, "hidden");
        }
    });
    assert_eq!(site.get("/folder/inside.txt").body, b"inside");
    let absolute = format!("/{}", site.path("secret.txt").display()).replace('\\', "/");
    let long = format!("/{}", "a".repeat(300));
    let deep = "/folder/..".repeat(200) + "/../secret.txt";
    let (encoded, escaped) = (absolute.replace('/', "%2F"), absolute.replace('/', "%5C"));
    let bad = [ABOVE, SEPARATORS, BYTES, NO_SEGMENTS, &[&deep, &encoded, &escaped]].concat();
    let missing = [REFUSED, ON_WINDOWS, MISSING, &[&long, &absolute]].concat();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (targets, status) in [(bad, 400), (missing, 404)] {
        for target in targets {
            let mut client = site.connect();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
            let answer = client.answer();
            let text = String::from_utf8_lossy(&answer.body);
            let leaks = ["secret", "inside", "hidden"].iter().any(|content| text.contains(content));
            if answer.status != status || leaks {
                wrong.push(format!("{target}: {} instead of {status}: {text}", answer.status));
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 300, "{tried} targets");
}
