//! `file`: a file of 64 MB goes from one client to a real relay and from there to another, over sockets on loopback.
//!
//! The time is from the call of `sync` on the one to its report, and the same on the other: pieces that are hashed, signed
//! and on the relay's disk one by one, then chunks that are opened as they come, hashed as a whole and synced. Sealing
//! comes before (`attach`) and is not counted. The baseline is what cannot be left out, turn by turn: the same bytes from
//! a file over a socket on loopback into another file, with one sync of the disk at the end, twice.

use super::{Measured, Row, Scale, homes, median};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;
use tombolo_client::{Client, FileSettings, Post, SyncOptions};
use tombolo_relay::{Config, Limits, Place, Relay};

const BLOCK_BYTES: usize = 256 * 1024;

/// See the head of this file.
///
/// # Errors
/// Those of the clients, the relay and the disk.
pub fn file(scale: &Scale) -> Measured<Row> {
    println!("file: plain TCP on loopback from file to file in blocks of 256 KiB, one sync each, twice");
    let bytes = scale.pick(64_000_000, 1_000_000);
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source");
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(b"bench").finalize_xof().fill(&mut noise);
    std::fs::write(&source, &noise)?;
    drop(noise);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for run in 0..scale.pick(7, 1) {
        let home = folder.path().join(run.to_string());
        std::fs::create_dir(&home)?;
        ours.push(runtime.block_on(carried(&home, &source))?);
        plain.push(copied(&source, &home.join("a"))? + copied(&home.join("a"), &home.join("b"))?);
        std::fs::remove_dir_all(home)?;
    }
    let (value, baseline) = (median(&ours), median(&plain));
    let rate = 2.0 * bytes as f64 / 1e6 / value;
    Ok(Row {
        name: "file".into(),
        value,
        unit: format!("s, median of {}: {bytes} bytes up and down, {rate:.0} MB/s", ours.len()),
        baseline: Some(baseline),
        ratio: Some(value / baseline),
        bound: "watched, not judged yet".into(),
        holds: true,
    })
}

/// **Seconds** for a file up and down.
async fn carried(folder: &Path, source: &Path) -> Measured<f64> {
    let unlimited = Limits { device_bytes_per_second: 0, address_bytes_per_second: 0, ..Limits::default() };
    let config = Config { listen: "127.0.0.1:0".into(), limits: unlimited, ..Config::default() };
    let relay = Relay::start(&Place::new(folder.join("relay")), config).await?;
    let url = relay.listening().to_owned();
    let (one, two) = (folder.join("one"), folder.join("two"));
    homes::init(&one, "One", std::slice::from_ref(&url))?;
    homes::init(&two, "Two", std::slice::from_ref(&url))?;
    let (one, two) = (Client::open(&homes::config(&one))?, Client::open(&homes::config(&two))?);
    let options = SyncOptions { once: true, ..SyncOptions::default() };
    let (link, conversation) = one.invite(None, 1, 0).await?;
    one.sync(&options, |_| {}).await?;
    two.accept(&link).await?;
    two.sync(&options, |_| {}).await?;
    two.set_file_settings(FileSettings { automatic_bytes: u64::MAX >> 1, ..FileSettings::default() }).await?;
    one.attach(conversation, Post::default(), vec![source.to_owned()], |_| {}).await?;
    let began = Instant::now();
    let up = one.sync(&options, |_| {}).await?;
    let down = two.sync(&options, |_| {}).await?;
    let took = began.elapsed().as_secs_f64();
    if (up.files_out, down.files_in) != (1, 1) {
        return Err(format!("the file did not arrive: {up:?} {down:?}").into());
    }
    one.close().await?;
    two.close().await?;
    relay.stop().await?;
    Ok(took)
}

/// **Seconds** for the same bytes by nothing but a socket.
fn copied(from: &Path, to: &Path) -> Measured<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let began = Instant::now();
    let mut file = File::open(from)?;
    let sending = std::thread::spawn(move || -> std::io::Result<()> {
        let mut socket = TcpStream::connect(address)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(()),
                read => socket.write_all(&block[..read])?,
            }
        }
    });
    let (mut socket, _) = listener.accept()?;
    let mut file = File::create(to)?;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match socket.read(&mut block)? {
            0 => break,
            read => file.write_all(&block[..read])?,
        }
    }
    file.sync_all()?;
    sending.join().map_err(|_| "the sender panicked")??;
    Ok(began.elapsed().as_secs_f64())
}
