//! The page of results.

use crate::{Failure, peer::PEERS, scale};
use socket2::Socket;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

/// When, where, and with what.
pub fn heading(rounds: usize, time: Duration, both: bool) -> String {
    let layout = if both {
        "The servers had both processors, the client the second"
    } else {
        "A processor for the server, the other for the client"
    };
    let mut text = format!(
        "# Benchmarks\n\nMade by `bench/serve` ({rounds} rounds of {} ms; figures are medians, ratios are medians of the ratios of each round). \
         {layout}. [Its README](../bench/serve/README.md) says what the columns are.\n\n",
        time.as_millis()
    );
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg("-u").arg(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let date = said("date", "+%Y-%m-%d");
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| format!("Linux {}", text.trim()));
    let processors = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "))?.1;
        let count = text.lines().filter(|line| line.starts_with("processor")).count();
        Some(format!("{count} x {model}"))
    });
    let mut line = |what: &str, said: Option<String>| {
        text.push_str(&format!("- {what}: {}\n", said.unwrap_or_else(|| "not here".to_owned())));
    };
    line("date", date);
    line("kernel", kernel);
    line("processors", processors);
    line("congestion control", congestion_control());
    PEERS.iter().for_each(|peer| line(peer.name, peer.said_version()));
    text
}

/// What a server's side of a connection uses here.
pub fn congestion_control() -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let _client = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let server = Socket::from(listener.accept().ok()?.0);
    let name = server.tcp_congestion().ok()?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Some(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// Writes the page, with the plots that are in the folder beside it of the same name.
pub fn write(file: &Path, mut text: String) -> Result<(), Failure> {
    let folder = file.with_extension("");
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plots: Vec<String> = scale::FILES
        .iter()
        .filter(|plot| folder.join(plot).is_file())
        .map(|plot| format!("\n![{}]({name}/{plot})\n", plot.trim_end_matches(".svg")))
        .collect();
    if !plots.is_empty() {
        text.push_str("\n## Scale in work\n");
        text.push_str(&plots.concat());
    }
    Ok(fs::write(file, text)?)
}
