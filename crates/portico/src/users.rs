//! The users of basic authentication: names and hashes of passwords, as the lines of an htpasswd file.
//!
//! ```text
//! # a comment
//! alice:$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$...
//! bob:$2y$10$...
//! ```

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher as _,
};

/// Memory that the check of one password may take, in KiB.
const MOST_ARGON2_KIB: u32 = 256 << 10;
const MOST_ARGON2_PASSES: u32 = 64;
const MOST_BCRYPT_COST: u32 = 16;

/// Users and the hashes of their passwords.
pub(crate) struct Users {
    numbers: HashMap<Box<[u8]>, usize>,
    hashes: Vec<Hash>,
    decoys: RandomState,
}

enum Hash {
    Argon2(Box<PasswordHash>),
    Bcrypt(Box<str>),
}

/// A line that is none of the form `name:hash`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    line: usize,
    what: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.what)
    }
}

impl Users {
    /// Reads the lines of a file.
    pub(crate) fn parse(text: &str) -> Result<Self, Mistake> {
        let mut users = Self { numbers: HashMap::new(), hashes: Vec::new(), decoys: RandomState::new() };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| Mistake { line: number + 1, what };
            let (name, hash) = line.split_once(':').ok_or(wrong("is not of the form name:hash"))?;
            if name.is_empty() {
                return Err(wrong("has no name before the colon"));
            }
            let hash = Hash::parse(hash).map_err(wrong)?;
            if users.numbers.insert(name.as_bytes().into(), users.hashes.len()).is_some() {
                return Err(wrong("names a user for the second time"));
            }
            users.hashes.push(hash);
        }
        Ok(users)
    }

    /// Whether this is the user's password. Takes some milliseconds of work on purpose, and as long for a name that nobody has:
    /// then another user's hash is checked, always the same one for the same name.
    pub(crate) fn verify(&self, name: &[u8], password: &[u8]) -> bool {
        match self.numbers.get(name) {
            Some(number) => self.hashes[*number].matches(password),
            None if self.hashes.is_empty() => false,
            None => {
                let decoy = self.decoys.hash_one(name) as usize % self.hashes.len();
                std::hint::black_box(self.hashes[decoy].matches(password));
                false
            }
        }
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("$argon2") {
            let wrong = "has a hash of Argon2 that cannot be read";
            let hash = PasswordHash::new(text).map_err(|_| wrong)?;
            let parameters = argon2::Params::try_from(&hash).map_err(|_| wrong)?;
            argon2::Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| wrong)?;
            if hash.hash.is_none() || hash.salt.is_none() {
                return Err(wrong);
            }
            if parameters.m_cost() > MOST_ARGON2_KIB || parameters.t_cost() > MOST_ARGON2_PASSES {
                return Err("has a hash of Argon2 that needs more than 256 MiB, or more than 64 passes");
            }
            return Ok(Self::Argon2(Box::new(hash)));
        }
        if ["$2y$", "$2b$", "$2a$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: bcrypt::HashParts =
                text.parse().map_err(|_| "has a hash of bcrypt that cannot be read")?;
            if parts.get_cost() > MOST_BCRYPT_COST {
                return Err("has a hash of bcrypt whose cost is above 16");
            }
            return Ok(Self::Bcrypt(text.into()));
        }
        Err("has no hash of Argon2 ($argon2id$) or bcrypt ($2y$): make one with portico --hash-password NAME")
    }

    /// Compares in constant time.
    fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

/// The hash of a password for a line of the users file: Argon2id with 19 MiB and two passes, and a random salt. Takes some milliseconds.
///
/// # Errors
///
/// The system gives no random numbers, or too little memory.
pub fn hash_password(password: &str) -> Result<String, String> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| format!("the password could not be hashed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // "hunter2", by crypt(3).
    const BCRYPT: &str = "$2y$04$uKeOAn6DjHbwDYCwIsKtBe93RRR5CVwoa7lcMzJdakycVuGSZxmwq";

    fn argon2() -> String {
        let parameters = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
        let hash: PasswordHash = argon2.hash_password(b"hunter2").unwrap();
        hash.to_string()
    }

    #[test]
    fn both_kinds_of_hashes_are_checked() {
        let bcrypt = bcrypt::hash("hunter2", 4).unwrap().replace("$2b$", "$2y$");
        let text = format!("# users\n\nalice:{}\n  bob:{bcrypt}\r\ncarol:{BCRYPT}\n", argon2());
        let users = Users::parse(&text).unwrap();
        for name in ["alice", "bob", "carol"] {
            assert!(users.verify(name.as_bytes(), b"hunter2"), "{name}");
            for wrong in ["", "hunter", "hunter22", "Hunter2", "hunter2\0"] {
                assert!(!users.verify(name.as_bytes(), wrong.as_bytes()), "{name} {wrong:?}");
            }
        }
        for nobody in ["", "Alice", "alice ", "mallory"] {
            assert!(!users.verify(nobody.as_bytes(), b"hunter2"), "{nobody}");
        }
        assert!(!Users::parse("").unwrap().verify(b"alice", b""));
    }

    #[test]
    fn a_hash_made_here_is_taken() {
        let users = Users::parse(&format!("alice:{}", hash_password("pässword").unwrap())).unwrap();
        assert!(users.verify(b"alice", "pässword".as_bytes()));
        assert!(!users.verify(b"alice", b"password"));
    }

    #[test]
    fn what_is_no_user_is_named_by_its_line() {
        for (line, what) in [
            ("alice", "name:hash"),
            (":$2y$04$", "no name"),
            ("alice:secret", "no hash"),
            ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "no hash"),
            ("alice:$apr1$x$y", "no hash"),
            ("alice:$2y$04$short", "cannot be read"),
            ("alice:$2y$20$uKeOAn6DjHbwDYCwIsKtBe93RRR5CVwoa7lcMzJdakycVuGSZxmwq", "cost"),
            ("alice:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ", "cannot be read"),
            ("alice:$argon2xx$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng", "cannot be read"),
            ("alice:$argon2id$v=19$m=4000000,t=1,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng", "256 MiB"),
            (&format!("bob:{BCRYPT}"), "second time"),
        ] {
            let Err(mistake) = Users::parse(&format!("bob:{BCRYPT}\n{line}\n")) else { panic!("{line}") };
            assert!(
                mistake.to_string().starts_with("line 2: ") && mistake.what.contains(what),
                "{line}: {mistake}"
            );
        }
    }
}
