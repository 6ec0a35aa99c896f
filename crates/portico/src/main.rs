//! The program `portico`: reads its settings, and runs the server.
#![forbid(unsafe_code)]

mod command_line;
mod explain;
mod hash_password;
mod program_log;
mod run;
mod signals;

use std::process::ExitCode;

use command_line::Request;

fn main() -> ExitCode {
    let request = match command_line::read(std::env::args_os()) {
        Ok(request) => request,
        Err(mistake) => {
            explain::say(&mistake);
            return ExitCode::from(explain::USAGE);
        }
    };
    match request {
        Request::Print(text) => explain::print(&text),
        Request::Version { verbose } => {
            let backends = if verbose { run::backends() } else { Vec::new() };
            explain::print(&command_line::version(&backends))
        }
        Request::HashPassword { name } => hash_password::run(&name),
        Request::Serve(effective) => {
            program_log::install(&effective.settings);
            for warning in &effective.warnings {
                tracing::warn!("{warning}");
            }
            run::run(effective.settings)
        }
    }
}
