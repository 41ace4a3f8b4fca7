//! Runs the scripted model: `cargo run -p model --example serve -- 127.0.0.1:8800`.

use std::io;

use model::Model;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let addr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let addr = addr.parse().map_err(io::Error::other)?;
    let model = Model::bind(addr).await?;
    println!("http://{}", model.addr());
    model.serve().await;
    Ok(())
}
