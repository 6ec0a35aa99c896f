//! Folders that ask for a password: basic authentication (RFC 7617) against a users file, which is read again when it changes.

use crate::{
    clients,
    path::{self, Rules},
    settings::Settings,
    users::Users,
};
use base64ct::{Base64, Encoding as _};
use blake2::{
    Blake2sMac256,
    digest::{KeyInit as _, Mac as _},
};
use std::{
    collections::HashMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// A longer users file is refused.
const MOST_FILE_BYTES: u64 = 4 << 20;
/// A longer name and password, together and encoded, are wrong.
const MOST_CREDENTIALS_BYTES: usize = 1_024;
/// Verified credentials that one worker remembers.
const MOST_REMEMBERED: usize = 1_024;
/// Checks of passwords that run or wait for the pool at one time. What opens files stands in the same line, so it is a short one.
const MOST_CHECKS: usize = 16;

/// What a host protects, and who may see it.
pub(crate) struct Protection {
    /// Of each folder the names on the way from the root, as [`alike`] makes them.
    folders: Vec<Vec<String>>,
    /// The value of `WWW-Authenticate`.
    pub(crate) challenge: String,
    pub(crate) users: Arc<UsersFile>,
}

/// A users file that cannot be used.
#[derive(Debug)]
pub struct UsersError {
    path: PathBuf,
    message: String,
}

impl fmt::Display for UsersError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the users file {}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for UsersError {}

impl Protection {
    /// Reads the users file of a host; none if it has none. It must not be a file that clients can ask for in one of these `roots`, with
    /// the settings of each.
    pub(crate) fn open<'r>(
        settings: &Settings,
        roots: impl Iterator<Item = (&'r Path, &'r Settings)>,
    ) -> Result<Option<Self>, UsersError> {
        let Some(path) = &settings.auth_users else { return Ok(None) };
        let wrong = |message| UsersError { path: path.clone(), message };
        let (users, identity) = read(path).map_err(wrong)?;
        for (root, settings) in roots {
            if is_served(path, root, Rules::native(settings.dot_files)) {
                let root = root.display();
                return Err(wrong(format!("can be asked for by every client: move it out of {root}")));
            }
        }
        let users = UsersFile {
            path: path.clone(),
            number: next_number(),
            check_at_ns: AtomicU64::new(0),
            current: RwLock::new(Current {
                users: Arc::new(users),
                identity: Some(identity),
                generation: next_number(),
            }),
        };
        let folders = settings.auth_folders.iter().map(|folder| {
            let segments = folder.as_str().split('/').filter(|segment| !segment.is_empty());
            segments.map(|segment| alike(segment).collect()).collect()
        });
        let realm = settings.auth_realm.replace('\\', "\\\\").replace('"', "\\\"");
        Ok(Some(Self {
            folders: folders.collect(),
            challenge: format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            users: Arc::new(users),
        }))
    }

    /// Whether a decoded path lies in a protected folder, or is one.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.folders.iter().any(|folder| {
            let mut segments = path.split(std::path::is_separator);
            folder.iter().all(|name| segments.next().is_some_and(|segment| alike(segment).eq(name.chars())))
        })
    }
}

/// A name as the file systems see it that take the most names for one: by folded case, without characters that have no shape, and
/// without dots and spaces at the end. Which one is below the root no system tells: on Linux it may be one of Windows or macOS too.
fn alike(segment: &str) -> impl Iterator<Item = char> {
    let segment = segment.trim_end_matches(['.', ' ']);
    path::visible(segment).flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Whether clients can ask for a file, as far as its name and its place go.
fn is_served(file: &Path, root: &Path, rules: Rules) -> bool {
    let Ok(file) = fs::canonicalize(file) else { return false };
    let Ok(inside) = file.strip_prefix(root) else { return false };
    let names: Option<Vec<_>> = inside.iter().map(|name| name.to_str()).collect();
    names.is_some_and(|names| rules.resolve(names, &mut String::new()).is_ok())
}

/// A users file, and what was in it when it was last looked at.
pub(crate) struct UsersFile {
    path: PathBuf,
    /// No other file of this process has it.
    number: u64,
    /// When it is to be looked at again, in the time of the port.
    check_at_ns: AtomicU64,
    current: RwLock<Current>,
}

struct Current {
    users: Arc<Users>,
    /// None after the file could not be read.
    identity: Option<Identity>,
    /// Another one after each change; no other file has it either.
    generation: u64,
}

type Identity = (Option<SystemTime>, u64);

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn identity_of(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn read(path: &Path) -> Result<(Users, Identity), String> {
    // Before its text: what is written between the two is seen as a change then.
    let identity = identity_of(path).map_err(|error| format!("cannot be read: {error}"))?;
    if identity.1 > MOST_FILE_BYTES {
        return Err(format!("has more than {MOST_FILE_BYTES} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let users = Users::parse(&text).map_err(|mistake| mistake.to_string())?;
    Ok((users, identity))
}

impl UsersFile {
    /// Says to one caller in each interval that the file is to be looked at.
    fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (at, next) = (self.check_at_ns.load(Ordering::Relaxed), nanoseconds(now + interval));
        nanoseconds(now) >= at
            && self.check_at_ns.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn generation(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Reads the file again if it has changed. With a mistake in it, or without it, those who were users before still are. Blocks.
    fn refresh(&self) {
        let identity = identity_of(&self.path).ok();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).identity == identity
            && identity.is_some()
        {
            return;
        }
        let read = read(&self.path);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok((users, identity)) => {
                *current =
                    Current { users: Arc::new(users), identity: Some(identity), generation: next_number() };
                tracing::info!(path = %self.path.display(), "the users file was read again");
            }
            // Said once for each state of the file.
            Err(message) => {
                if current.identity.is_some() || identity.is_some() {
                    tracing::error!(path = %self.path.display(), "the users file {message}; the users are those of before");
                }
                current.identity = identity;
            }
        }
    }
}

/// A name and its password as a request carries them.
struct Credentials {
    decoded: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// Out of the value of an `Authorization` field; none if it is of another scheme, or malformed.
    fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(6)?;
        let encoded = rest.trim_ascii();
        if !scheme.eq_ignore_ascii_case(b"basic ") || encoded.len() > MOST_CREDENTIALS_BYTES {
            return None;
        }
        let decoded = Base64::decode_vec(std::str::from_utf8(encoded).ok()?).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Self { decoded, colon })
    }
}

/// What is known of the credentials of a request.
pub(crate) enum Verdict {
    /// They are those of the user with this name.
    Granted(Box<[u8]>),
    Refused,
    /// Too many others are being checked already, or too many of the same client.
    Busy,
    /// To be checked on the pool.
    Check(Check),
}

/// A check of a password, which takes its time.
pub(crate) struct Check {
    credentials: Credentials,
    users: Arc<UsersFile>,
    refresh: bool,
    key: [u8; 32],
    /// Until this is dropped.
    place: Place,
}

/// What came of it.
pub(crate) struct Checked {
    /// The name of the user; none where name and password are not right.
    pub(crate) user: Option<Box<[u8]>>,
    key: [u8; 32],
    generation: u64,
}

impl Check {
    /// Blocks.
    pub(crate) fn run(self) -> Checked {
        let Self { credentials: Credentials { decoded, colon }, users, refresh, key, place } = self;
        if refresh {
            users.refresh();
        }
        let (known, generation) = {
            let current = users.current.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&current.users), current.generation)
        };
        let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
        let user = known.verify(name, password).then(|| name.into());
        drop(place);
        Checked { user, key, generation }
    }
}

/// Whose password is checked: the number of an address, or none for those who have no address.
type Checker = Option<u128>;

/// The checks of all workers that are under way, at most [`MOST_CHECKS`].
#[derive(Clone, Default)]
pub(crate) struct Checks(Arc<Mutex<Vec<Checker>>>);

/// One of them.
struct Place {
    checks: Checks,
    checker: Checker,
}

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Vec<Checker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more check. A client has at most as many as it leaves free for all others, so that one who guesses passwords, or
    /// two or three, do not keep the others out.
    fn take_place(&self, address: Option<IpAddr>) -> Option<Place> {
        let checker = address.map(clients::key_of);
        let mut checks = self.lock();
        let own = checks.iter().filter(|other| **other == checker).count();
        if own >= MOST_CHECKS.saturating_sub(checks.len()) {
            return None;
        }
        checks.push(checker);
        Some(Place { checks: self.clone(), checker })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut checks = self.checks.lock();
        if let Some(own) = checks.iter().position(|checker| *checker == self.checker) {
            checks.swap_remove(own);
        }
    }
}

/// What a worker knows to be right. It holds no password: only a keyed hash of each, by a key that no other process has.
pub(crate) struct Remembered {
    mac: Blake2sMac256,
    entries: HashMap<[u8; 32], (u64, Duration)>,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        let key = argon2::password_hash::generate_salt();
        let mac = Blake2sMac256::new_from_slice(&key).expect("16 bytes are a key");
        Self { mac, entries: HashMap::new() }
    }

    /// What to do about the value of an `Authorization` field that came from this address, and whether the users file is to be looked at beside it.
    pub(crate) fn judge(
        &self,
        value: Option<&[u8]>,
        users: &Arc<UsersFile>,
        (checks, address): (&Checks, impl FnOnce() -> Option<IpAddr>),
        now: Duration,
        revalidate: Duration,
    ) -> (Verdict, bool) {
        let Some(credentials) = value.and_then(Credentials::parse) else { return (Verdict::Refused, false) };
        let due = users.is_due(now, revalidate);
        let generation = users.generation();
        let mut mac = self.mac.clone();
        // The same name and password may be right for one file and wrong for another.
        mac.update(&users.number.to_le_bytes());
        mac.update(&credentials.decoded);
        let key = mac.finalize().into_bytes().into();
        if self.entries.get(&key).is_some_and(|(of, until)| *of == generation && now < *until) {
            return (Verdict::Granted(credentials.decoded[..credentials.colon].into()), due);
        }
        match checks.take_place(address()) {
            Some(place) => {
                let users = Arc::clone(users);
                (Verdict::Check(Check { credentials, users, refresh: due, key, place }), false)
            }
            None => (Verdict::Busy, due),
        }
    }

    /// Takes in what was found right.
    pub(crate) fn remember(&mut self, checked: &Checked, now: Duration, time_to_live: Duration) {
        if checked.user.is_none() || time_to_live.is_zero() {
            return;
        }
        if self.entries.len() >= MOST_REMEMBERED {
            self.entries.retain(|_, (_, until)| now < *until);
        }
        if self.entries.len() >= MOST_REMEMBERED
            && let Some(any) = self.entries.keys().next().copied()
        {
            self.entries.remove(&any);
        }
        self.entries.insert(checked.key, (checked.generation, now + time_to_live));
    }
}

/// Work for the pool: looks whether the file has changed.
pub(crate) fn refresh(users: &Arc<UsersFile>) -> completion_port::Work {
    let users = Arc::clone(users);
    Box::new(move || {
        users.refresh();
        Box::new(())
    })
}
