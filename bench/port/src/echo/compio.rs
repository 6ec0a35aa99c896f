//! On compio: its io_uring driver, and a task for each connection.

use super::RECEIVE_BYTES;
use crate::Failure;
use compio::{
    BufResult,
    io::{AsyncRead, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

pub(super) fn serve(listener: std::net::TcpListener) -> Result<(), Failure> {
    Runtime::new()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (connection, _) = listener.accept().await?;
            compio::runtime::spawn(echo(connection)).detach();
        }
    })
}

async fn echo(mut connection: TcpStream) {
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        let BufResult(received, filled) = connection.read(buffer).await;
        let Ok(1..) = received else { return };
        let BufResult(sent, filled) = connection.write_all(filled).await;
        if sent.is_err() {
            return;
        }
        buffer = filled;
        buffer.clear();
    }
}
