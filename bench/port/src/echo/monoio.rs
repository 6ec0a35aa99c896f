//! On monoio: its io_uring driver, and a task for each connection.

use super::RECEIVE_BYTES;
use crate::Failure;
use monoio::{
    IoUringDriver, RuntimeBuilder,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
};

pub(super) fn serve(listener: std::net::TcpListener) -> Result<(), Failure> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(1024).build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (connection, _) = listener.accept().await?;
            monoio::spawn(echo(connection));
        }
    })
}

async fn echo(mut connection: TcpStream) {
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        let (received, filled) = connection.read(buffer).await;
        let Ok(1..) = received else { return };
        let (sent, filled) = connection.write_all(filled).await;
        if sent.is_err() {
            return;
        }
        buffer = filled;
        buffer.clear();
    }
}
