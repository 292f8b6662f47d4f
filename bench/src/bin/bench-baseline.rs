//! The baseline: a bare axum server that reads a POST's body and answers it. What it does, any server must do.
#![expect(clippy::print_stdout, reason = "says where it listens")]

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let router = Router::new().route("/webhooks/bench", post(|body: Bytes| async move { body.len().to_string() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
