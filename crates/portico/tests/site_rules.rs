//! The tables `[[rule]]`, `[error_pages]` and `[cors]` of `portico.toml`: what they mean, and mistakes in them.

use portico::pattern::{Pattern, Template};
use portico::settings::{
    ConfigFile, Cors, Effective, Redirect, Rule, Settings, SettingsError, SitePath, Sources,
};
use std::path::PathBuf;

fn read(text: &str) -> Result<Effective, SettingsError> {
    let file = ConfigFile { path: PathBuf::from("portico.toml"), text: text.to_owned() };
    Sources { file: Some(file), ..Sources::default() }.resolve()
}

#[track_caller]
fn settings(text: &str) -> Settings {
    read(text).unwrap_or_else(|error| panic!("{error}\n{text}")).settings
}

const ALL: &str = r#"
fallback = "/index.html"
clean_urls = true
health_path = "/health"
[[rule]]
path = ["/a/*", "/b"]
headers = { "X-One" = "say \"it's\"", X-Two = "", Alt-Svc = "clear" }
cache_control = "no-cache"
redirect = "/$$/c"
status = 308
[[rule]]
path = "/d/**"
rewrite = "/e/$1"
[error_pages]
404 = "/404.html"
503 = "/busy.html"
[cors]
origins = "https://a.example"
credentials = true
[[host]]
names = "own.example"
fallback = ""
[[host.rule]]
path = "/f"
redirect = "https://example.org/"
[host.error_pages]
404 = "/own.html"
[host.cors]
origins = "*"
[[host]]
names = "as-above.example"
"#;

#[test]
fn tables_are_read() {
    let read = settings(ALL);
    let mut first = Rule::new(vec![Pattern::new("/a/*").unwrap(), Pattern::new("/b").unwrap()]);
    for (name, value) in
        [("Alt-Svc", "clear"), ("Cache-Control", "no-cache"), ("X-One", "say \"it's\""), ("X-Two", "")]
    {
        first.headers.push((name.to_owned(), value.to_owned()));
    }
    first.redirect = Some(Redirect { to: Template::of_redirect("/$$/c").unwrap(), status: 308 });
    let mut second = Rule::new(vec![Pattern::new("/d/**").unwrap()]);
    second.rewrite = Some(Template::of_rewrite("/e/$1").unwrap());
    assert_eq!(read.rules, [first, second]);
    assert_eq!(
        read.error_pages,
        [(404, SitePath::new("/404.html").unwrap()), (503, SitePath::new("/busy.html").unwrap())]
    );
    let mut cors = Cors::new(vec!["https://a.example".to_owned()]);
    cors.credentials = true;
    assert_eq!(read.cors, Some(cors));
    let [own, above] = &read.hosts[..] else { panic!("{:?}", read.hosts) };
    assert_eq!(own.settings.rules.len(), 3);
    assert_eq!(own.settings.rules[0].redirect.as_ref().map(|redirect| redirect.status), Some(302));
    assert_eq!(own.settings.rules[1..], read.rules);
    assert_eq!(own.settings.cors, Some(Cors::new(vec!["*".to_owned()])));
    assert!(own.settings.error_pages.contains(&(404, SitePath::new("/own.html").unwrap())));
    assert!(own.settings.error_pages.contains(&(503, SitePath::new("/busy.html").unwrap())));
    assert_eq!((&own.settings.fallback, own.settings.clean_urls), (&None, true));
    assert_eq!((&above.settings.rules, &above.settings.cors), (&read.rules, &read.cors));
}

#[test]
fn what_is_printed_gives_the_same_tables() {
    let effective = read(ALL).unwrap();
    let printed = effective.to_toml();
    assert_eq!(settings(&printed), effective.settings, "{printed}");
}

#[test]
fn a_mistake_in_a_table_is_named_with_its_line() {
    for (text, line, words) in [
        ("[rule]\npath = \"/a\"", 2, "two brackets"),
        ("[[rule]]\nredirect = \"/b\"", 2, "needs path"),
        ("[[rule]]\npath = \"a\"", 3, "begins with a slash"),
        ("[[rule]]\npath = [\"/a\", \"/{b,c}\"]", 3, "as a list"),
        ("[[rule]]\npath = \"/a\"\nredirects = \"/b\"", 4, "not a key of a rule"),
        ("[[rule]]\npath = \"/a/*\"\nredirect = \"/$2\"", 4, "uses $2"),
        ("[[rule]]\npath = \"/a\"\nredirect = \"b\"", 4, "leads to a path"),
        ("[[rule]]\npath = \"/*\"\nredirect = \"https://$1/\"", 4, "host of a redirect"),
        ("[[rule]]\npath = \"/a\"\nredirect = \"/b\"\nstatus = 304", 5, "none of 301"),
        ("[[rule]]\npath = \"/a\"\nstatus = 301", 4, "belongs to redirect"),
        ("[[rule]]\npath = \"/a\"\nredirect = \"/b\"\nrewrite = \"/c\"", 5, "either redirects or rewrites"),
        ("[[rule]]\npath = \"/a\"\nheaders = { Content-Length = \"1\" }", 4, "sends Content-Length itself"),
        ("[[rule]]\npath = \"/a\"\nheaders = { transfer-encoding = \"x\" }", 4, "itself"),
        ("[[rule]]\npath = \"/a\"\nheaders = { Connection = \"close\" }", 4, "itself"),
        ("[[rule]]\npath = \"/a\"\nheaders = { Date = \"now\" }", 4, "itself"),
        ("[[rule]]\npath = \"/a\"\nheaders = { \"X Y\" = \"1\" }", 4, "not the name of a header field"),
        ("[[rule]]\npath = \"/a\"\nheaders = { X-Y = \"a\\r\\nSet-Cookie: b\" }", 4, "cannot be the value"),
        ("[[rule]]\npath = \"/a\"\ncache_control = \"a\\nb\"", 4, "cannot be the value"),
        ("[[rule]]\npath = \"/a\"\nheaders = { X-Y = 1 }", 4, "in quotes"),
        ("[[rule]]\npath = \"/a\"\nheaders = { X-Y = \"1\", x-y = \"2\" }", 4, "named twice"),
        (
            "[[rule]]\npath = \"/a\"\ncache_control = \"a\"\nheaders = { cache-control = \"b\" }",
            5,
            "named twice",
        ),
        ("[[rule]]\npath = \"/a\"\nheaders = { Access-Control-Allow-Origin = \"*\" }", 4, "[cors]"),
        ("[error_pages]\n404 = \"404.html\"", 3, "begins with a slash"),
        ("[error_pages]\n404 = \"/../x\"", 3, "dot segment"),
        ("[error_pages]\n402 = \"/402.html\"", 3, "404"),
        ("[error_pages]\nnone = \"/405.html\"", 3, "no page of its own"),
        ("error_pages = 3", 2, "is a table"),
        ("[cors]\nmax_age_s = 1", 2, "name origins"),
        ("[cors]\norigins = \"https://a.example/\"", 3, "not an origin"),
        ("[cors]\norigins = \"null\"", 3, "not an origin"),
        ("[cors]\norigins = \"https://A.example\"", 3, "small letters"),
        ("[cors]\norigins = \"*\"\ncredentials = true", 4, "browsers refuse"),
        ("[cors]\norigins = \"*\"\nmethods = [\"GET\\r\\n\"]", 4, "not a name"),
        ("[cors]\norigin = \"*\"", 3, "not a key of [cors]"),
        ("fallback = \"index.html\"", 2, "begins with a slash"),
        ("health_path = \"/a?b\"", 2, "no query"),
        ("[[host]]\nnames = \"a\"\n[[host.rule]]\npath = 3", 5, "list of texts"),
        ("[[host]]\nnames = \"a\"\n[host.rule]\npath = \"/\"", 4, "two brackets"),
    ] {
        let mistake = read(&format!("port = 1\n{text}\n")).map(|_| ()).expect_err(text).to_string();
        assert!(mistake.contains(words), "{text}: {mistake}");
        assert!(mistake.starts_with(&format!("portico.toml:{line}:")), "{text}: {mistake}");
    }
}

#[test]
fn the_examples_of_the_page_are_valid() {
    // Cargo runs tests in the folder of their crate.
    let page = std::fs::read_to_string("../../docs/site.md").unwrap().replace("\r\n", "\n");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 8);
    for example in examples {
        settings(example);
    }
}

#[test]
fn what_is_too_much_together_is_refused() {
    let rule =
        |name: &str| format!("[[rule]]\npath = \"/a\"\nheaders = {{ {name} = \"{}\" }}\n", "x".repeat(4_000));
    assert!(read(&(rule("X-One") + &rule("X-Two"))).is_ok());
    assert!(read(&rule("X-One").repeat(10)).is_ok(), "one value of a name is sent");
    let mistake = read(&["X-One", "X-Two", "X-Three"].map(rule).concat()).unwrap_err().to_string();
    assert!(mistake.starts_with("portico.toml:1:") && mistake.contains("8192 are allowed"), "{mistake}");
    let many = "[[rule]]\npath = \"/a\"\nredirect = \"/b\"\n";
    assert!(read(&many.repeat(1_000)).is_ok());
    assert!(read(&many.repeat(1_001)).unwrap_err().to_string().contains("more than 1000 rules"));
}

#[test]
fn code_meets_the_same_limits() {
    let mut settings = Settings::new(".");
    settings.rules = vec![Rule::new(Vec::new())];
    assert!(settings.check().unwrap_err().to_string().contains("needs path"));
    settings.rules[0].paths = vec![Pattern::new("/**").unwrap()];
    assert!(settings.check().is_ok());
    settings.rules[0].headers = vec![("Date".to_owned(), "never".to_owned())];
    assert!(settings.check().unwrap_err().to_string().contains("itself"));
    settings.rules.clear();
    settings.error_pages = vec![(200, SitePath::new("/a").unwrap())];
    assert!(settings.check().unwrap_err().to_string().contains("no page of its own"));
    settings.error_pages.clear();
    settings.cors = Some(Cors::new(Vec::new()));
    assert!(settings.check().unwrap_err().to_string().contains("name origins"));
}
