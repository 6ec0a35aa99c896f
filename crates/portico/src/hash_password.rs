//! `--hash-password`: a line for the users file.

use crate::explain;
use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

/// Takes the password from the terminal, where it is not shown, or as the first line of standard input.
pub(crate) fn run(name: &str) -> ExitCode {
    match read_password().and_then(|password| portico::hash_password(&password)) {
        Ok(hash) => explain::print(&format!("{name}:{hash}\n")),
        Err(mistake) => {
            explain::say(&mistake);
            ExitCode::from(explain::FAILED)
        }
    }
}

fn read_password() -> Result<String, String> {
    let failed = |error: io::Error| format!("the password cannot be read: {error}");
    let password = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ").map_err(failed)?;
        if rpassword::prompt_password("Again: ").map_err(failed)? != first {
            return Err("the two passwords differ".to_owned());
        }
        first
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(failed)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() { Err("the password is empty".to_owned()) } else { Ok(password) }
}
