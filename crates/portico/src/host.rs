//! Virtual hosts: the names that clients ask for, and what is served under each.

use crate::{
    cors::CorsRules,
    entry::HeadFields,
    field_rules::{Audience, FieldRules},
    mime,
    path::Rules,
    protection::Protection,
    routing::Routing,
    settings::{Charset, Folders, FollowSymlinks, Settings, UnknownHosts},
    upload::UploadFolder,
};
use completion_port::{Directory, OpenOptions};
use rustc_hash::FxHashMap;
use std::{borrow::Cow, io, ops::Index, sync::Arc};

/// The `Server` field.
const SERVER: &str = concat!("Portico/", env!("CARGO_PKG_VERSION"));
/// A name in the domain name system is no longer (RFC 1035 section 2.3.4).
const MOST_NAME_BYTES: usize = 255;

/// Which host of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostNumber(u16);

impl HostNumber {
    /// The host for names that no other has.
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One host: its folders and rules. Of its settings those that a host may have of its own are looked up here, the others in the site.
pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) root: Arc<Directory>,
    pub(crate) rules: Rules,
    pub(crate) routing: Routing,
    pub(crate) fields: FieldRules,
    pub(crate) cors: Option<Arc<CorsRules>>,
    pub(crate) upload: Option<UploadFolder>,
    /// None where everybody may see everything.
    pub(crate) protection: Option<Protection>,
}

impl Host {
    fn open(settings: &Settings, folders: &Folders) -> io::Result<Self> {
        let root = Arc::new(Directory::open(&folders.root)?);
        let upload = match &folders.upload {
            Some(relative) => Some(UploadFolder::open(&root, &folders.root, relative)?),
            None => None,
        };
        Ok(Self {
            root,
            rules: Rules::native(settings.dot_files),
            routing: Routing::new(settings),
            fields: FieldRules::new(settings),
            cors: settings.cors.as_ref().map(|cors| Arc::new(CorsRules::new(cors))),
            upload,
            protection: None,
            settings: settings.clone(),
        })
    }

    /// For whom a decoded path is.
    pub(crate) fn audience(&self, path: &str) -> Audience {
        match &self.protection {
            Some(protection) if protection.covers(path) => Audience::Users,
            _ => Audience::Everybody,
        }
    }

    pub(crate) fn server(&self) -> Option<&'static str> {
        self.settings.server_name.then_some(SERVER)
    }

    pub(crate) fn head_fields(&self) -> HeadFields<'_> {
        HeadFields::new(self.server(), self.settings.content_language.as_deref())
    }

    /// The content type of a file of this name, with the charset of the settings.
    pub(crate) fn content_type(&self, name: &str) -> Cow<'static, str> {
        mime::with_charset(mime::content_type(name), self.settings.charset.as_ref().map(Charset::as_str))
    }

    /// How files are opened for sending.
    pub(crate) fn open_options(&self) -> OpenOptions {
        OpenOptions::new().read(true).refuse_links(self.settings.follow_symlinks == FollowSymlinks::Never)
    }
}

/// All hosts. The first is the one for names that no other has.
pub(crate) struct Hosts {
    all: Vec<Host>,
    /// By whole name.
    named: FxHashMap<Box<str>, HostNumber>,
    /// By what stands behind the `*.` of a name.
    below: FxHashMap<Box<str>, HostNumber>,
}

impl Hosts {
    pub(crate) fn open(settings: &Settings, folders: &[Folders]) -> io::Result<Self> {
        let mut hosts = Self { all: Vec::new(), named: FxHashMap::default(), below: FxHashMap::default() };
        let each = settings.each_host();
        for (number, ((names, settings), folders)) in each.zip(folders).enumerate() {
            hosts.all.push(Host::open(settings, folders)?);
            let number = HostNumber(u16::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?);
            for name in names {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(rest) => hosts.below.insert(rest.into(), number),
                    None => hosts.named.insert(name.into(), number),
                };
            }
        }
        Ok(hosts)
    }

    /// Has each host ask for passwords, in their order.
    pub(crate) fn protect(&mut self, protections: Vec<Option<Protection>>) {
        for (host, protection) in self.all.iter_mut().zip(protections) {
            host.protection = protection;
        }
    }

    /// Whether requests for this host are to be refused: it is the one for all names that no other has.
    pub(crate) fn refuses(&self, number: HostNumber) -> bool {
        number == HostNumber::FIRST && self[number].settings.unknown_hosts == UnknownHosts::Refuse
    }

    /// The host that a request is for, by its `Host` or the authority of its target: the whole name, else the longest `*.` above it.
    pub(crate) fn find(&self, authority: &str) -> HostNumber {
        if self.all.len() == 1 {
            return HostNumber::FIRST;
        }
        let mut lower = [0; MOST_NAME_BYTES];
        let name = without_port(authority);
        let Some(lower) = lower.get_mut(..name.len()) else { return HostNumber::FIRST };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let Ok(name) = std::str::from_utf8(lower) else { return HostNumber::FIRST };
        if let Some(number) = self.named.get(name) {
            return *number;
        }
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(number) = self.below.get(above) {
                return *number;
            }
            rest = above;
        }
        HostNumber::FIRST
    }
}

impl Index<HostNumber> for Hosts {
    type Output = Host;
    fn index(&self, number: HostNumber) -> &Host {
        &self.all[number.index()]
    }
}

/// Without the port, and the dot that may end a whole name.
fn without_port(authority: &str) -> &str {
    let end = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => colon,
        _ => authority.len(),
    };
    authority[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn a_name_is_without_its_port_and_its_last_dot() {
        for (authority, name) in [
            ("example.org", "example.org"),
            ("example.org:80", "example.org"),
            ("example.org.:80", "example.org"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(without_port(authority), name, "{authority}");
        }
    }
}
