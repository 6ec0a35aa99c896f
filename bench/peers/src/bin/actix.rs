//! actix-files: `actix PORT FOLDER WORKERS`.

use actix_web::{App, HttpServer, http::KeepAlive};
use std::{net::Ipv4Addr, time::Duration};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, folder, workers]: [String; 3] = words.try_into().map_err(|_| "PORT FOLDER WORKERS")?;
    let (port, workers): (u16, usize) = (port.parse()?, workers.parse()?);
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(move || App::new().service(actix_files::Files::new("/", folder.clone())))
            .workers(workers)
            .max_connections(32_768)
            .keep_alive(KeepAlive::Timeout(Duration::from_secs(600)))
            .tcp_nodelay(true)
            .bind((Ipv4Addr::LOCALHOST, port))?
            .run()
            .await
    })?;
    Ok(())
}
