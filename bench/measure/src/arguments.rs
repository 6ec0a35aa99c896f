//! Flags: `--check`, and `--name VALUE` for numbers and words.

use std::str::FromStr;

/// The flags of a command line, taken out one by one.
pub struct Arguments {
    left: Vec<String>,
}

impl Arguments {
    /// Those of this process, behind its name.
    pub fn of_process() -> Self {
        Self { left: std::env::args().skip(1).collect() }
    }

    /// The words behind `child`, if this process is one that another benchmark process started.
    pub fn of_child(&self) -> Option<&[String]> {
        self.left.split_first().filter(|(first, _)| *first == "child").map(|(_, words)| words)
    }

    /// Whether the flag is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let place = self.left.iter().position(|word| word == name);
        place.map(|place| self.left.remove(place)).is_some()
    }

    /// The value behind a flag, or `default`.
    pub fn value<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        let Some(place) = self.left.iter().position(|word| word == name) else { return Ok(default) };
        self.left.remove(place);
        if place == self.left.len() {
            return Err(format!("{name} needs a value"));
        }
        let value = self.left.remove(place);
        value.parse().map_err(|_| format!("{name} {value}: not a value of the right kind"))
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some(word) => Err(format!("unknown argument {word}; README.md lists those there are")),
        }
    }
}
