//! tower-http's ServeDir in axum: `tower PORT FOLDER WORKERS`.

use std::net::{Ipv4Addr, SocketAddr};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [port, folder, workers] = arguments()?;
    let workers: usize = workers.parse()?;
    let runtime = if workers == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        let service = axum::Router::new().fallback_service(tower_http::services::ServeDir::new(folder));
        axum::serve(listener, service).await
    })?;
    Ok(())
}

fn arguments() -> Result<[String; 3], &'static str> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words.try_into().map_err(|_| "PORT FOLDER WORKERS")
}
