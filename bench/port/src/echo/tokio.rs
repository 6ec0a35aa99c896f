//! On tokio: its runtime of one thread, and a task for each connection.

use super::RECEIVE_BYTES;
use crate::Failure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(super) fn serve(listener: std::net::TcpListener) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (connection, _) = listener.accept().await?;
            tokio::spawn(echo(connection));
        }
    })
}

async fn echo(mut connection: TcpStream) {
    let mut buffer = vec![0; RECEIVE_BYTES];
    while let Ok(bytes @ 1..) = connection.read(&mut buffer).await {
        if connection.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
