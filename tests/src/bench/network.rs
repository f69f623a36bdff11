//! `heal` and `live`: real clients over sockets on loopback, in this process.
//!
//! * `heal`: two devices that were proven equal a day ago; since then ten people wrote 5,000 messages near the one and
//!   ten others near the other. One listens, the other connects (Noise, session, everything): the time is from the call
//!   of `sync` to its report that both are proven equal, the bytes are those on the socket, both ways, handshakes
//!   included. Payload is the texts alone.
//! * `live`: two clients watch a real relay; the time is from before `send` on the one to the message's event on the
//!   other: three stores, each with one sync of the disk, and two sockets. Turn by turn with one sync of the disk alone.

use super::baseline::{Disk, SYNC};
use super::corpus::Corpus;
use super::{AUTHORS, Measured, Row, Scale, TEXT_BYTES, homes, median, wire};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tombolo_client::{Client, Event, Kind, SyncOptions};
use tombolo_relay::{Config, Place, Relay};
use tombolo_replica::{Now, Scope};
use tombolo_testkit::rng::Rng;

fn runtime() -> Measured<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// See the head of this file.
///
/// # Errors
/// Those of the clients.
pub fn heal(scale: &Scale) -> Measured<Vec<Row>> {
    println!("heal: bytes on the socket both ways, Noise and handshakes included; payload: the texts alone");
    let count = scale.pick(5_000, 300);
    let folder = tempfile::tempdir()?;
    let (left, right) = (folder.path().join("left"), folder.path().join("right"));
    part(&left, &right, count)?;
    let runtime = runtime()?;
    let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
    for run in 0..scale.pick(7, 1) {
        let (one, two) = (folder.path().join(format!("left-{run}")), folder.path().join(format!("right-{run}")));
        homes::copy(&left, &one)?;
        homes::copy(&right, &two)?;
        let (took, moved) = runtime.block_on(meet(&one, &two, count))?;
        seconds.push(took.as_secs_f64());
        bytes.push(moved as f64);
    }
    let payload = (2 * count * TEXT_BYTES) as f64;
    let (moved, took) = (median(&bytes), median(&seconds));
    let each = moved / (2 * count) as f64;
    Ok(vec![
        Row {
            name: "heal/bytes".into(),
            value: moved,
            unit: format!("bytes both ways for 2 x {count} texts of {TEXT_BYTES}: {each:.2} each"),
            baseline: Some(payload),
            ratio: Some(moved / payload),
            bound: "ratio <= 1.4".into(),
            holds: scale.smoke || moved <= 1.4 * payload,
        },
        Row {
            name: "heal/time".into(),
            value: took,
            unit: format!("s, median of {}", seconds.len()),
            baseline: None,
            ratio: None,
            bound: "<= 1 s".into(),
            holds: scale.smoke || took <= 1.0,
        },
    ])
}

/// Makes two profiles that were equal and have grown apart.
fn part(left: &Path, right: &Path, count: usize) -> Measured<()> {
    homes::init(left, "Left", &[])?;
    homes::init(right, "Right", &[])?;
    let (mut one, mut two) = (homes::node(left, "Left")?, homes::node(right, "Right")?);
    let now = Now { mono_ms: 0, wall_ms: super::corpus::BEGINS_MS };
    let conversation = one.create("Two islands", Kind::Group, now)?;
    let invitation = one.invite(Some(conversation), 1 + AUTHORS as u32, 0, now)?;
    two.accept(&invitation, now)?;
    let met = wire::exchange((two.replica(), Scope::Dialled), (one.replica(), Scope::Members), 1, now)?;
    let heads = one.log().heads(&conversation)?;
    if !met.proven || heads != two.log().heads(&conversation)? {
        return Err("the two were not equal before they parted".into());
    }
    one.close()?;
    two.close()?;
    let corpus = Corpus::joining(6, &invitation, heads, now.wall_ms, AUTHORS);
    let half = AUTHORS / 2;
    let (mut here, mut there) = (corpus.apart(7), corpus.apart(8));
    homes::append(left, &corpus, std::iter::once(here.messages(count, 0..half)))?;
    homes::append(right, &corpus, std::iter::once(there.messages(count, half..AUTHORS)))
}

/// Lets two profiles meet; how long it took and how many bytes crossed the socket.
async fn meet(one: &Path, two: &Path, count: usize) -> Measured<(Duration, u64)> {
    let (one, two) = (Client::open(&homes::config(one))?, Client::open(&homes::config(two))?);
    let listening = one.listen("127.0.0.1:0").await?;
    let options = SyncOptions { peers: vec![listening.address.to_string()], once: true, ..SyncOptions::default() };
    let began = Instant::now();
    let report = two.sync(&options, |_| {}).await?;
    let took = began.elapsed();
    let equal = one.digest(None).await? == two.digest(None).await?;
    // Both were told who joined, by others: one side may say so once more.
    let sent = count as u64..=(count + AUTHORS) as u64;
    if !report.proven || !equal || report.ops_in != count as u64 || !sent.contains(&report.ops_out) {
        return Err(format!("the two did not heal: {report:?}").into());
    }
    drop(listening);
    one.close().await?;
    two.close().await?;
    Ok((took, report.bytes_in + report.bytes_out))
}

/// See the head of this file.
///
/// # Errors
/// Those of the clients and the relay.
pub fn live(scale: &Scale) -> Measured<Row> {
    println!("live: {SYNC}");
    let folder = tempfile::tempdir()?;
    let runtime = runtime()?;
    let (ours, disk) = runtime.block_on(chat(folder.path(), scale.pick(400, 20)))?;
    let (value, baseline) = (median(&ours), median(&disk));
    Ok(Row {
        name: "live".into(),
        value,
        unit: format!("ms, p50 of {}", ours.len()),
        baseline: Some(baseline),
        ratio: Some(value / baseline),
        bound: "<= 3 x + 1 ms".into(),
        holds: scale.smoke || value <= 3.0 * baseline + 1.0,
    })
}

/// Sends messages one after the other; **milliseconds** of each, and of a sync after each.
async fn chat(folder: &Path, count: usize) -> Measured<(Vec<f64>, Vec<f64>)> {
    let config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
    let relay = Relay::start(&Place::new(folder.join("relay")), config).await?;
    let url = relay.listening().to_owned();
    let (one, two) = (folder.join("one"), folder.join("two"));
    homes::init(&one, "One", std::slice::from_ref(&url))?;
    homes::init(&two, "Two", &[url])?;
    let (one, two) = (Client::open(&homes::config(&one))?, Client::open(&homes::config(&two))?);
    let conversation = one.create("Live").await?;
    let (link, _) = one.invite(Some(conversation), 1, 0).await?;
    let options = SyncOptions::default();
    one.sync(&options, |_| {}).await?;
    two.accept(&link).await?;
    two.sync(&options, |_| {}).await?;
    let (mut sending, mut receiving) = (one.watch(&options).await?, two.watch(&options).await?);
    while !matches!(sending.recv().await, Some(Event::Connected { .. }) | None) {}
    while !matches!(receiving.recv().await, Some(Event::Connected { .. }) | None) {}
    // Whoever does not read its events is waited for.
    let draining = tokio::spawn(async move { while sending.recv().await.is_some() {} });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut disk = Disk::new(&folder.join("sync"))?;
    let (mut taken, mut synced) = (Vec::new(), Vec::new());
    let mut rng = Rng::new(9);
    for run in 0..count + 20 {
        let text = super::corpus::text(&mut rng, TEXT_BYTES);
        let began = Instant::now();
        let sent = one.send(conversation, vec![text]).await?;
        let id = sent.first().ok_or("nothing was sent")?.id;
        let arrived = async {
            while let Some(event) = receiving.recv().await {
                if matches!(&event, Event::Message { message, .. } if message.id == id) {
                    return true;
                }
            }
            false
        };
        if !tokio::time::timeout(Duration::from_secs(10), arrived).await? {
            return Err("the receiver stopped".into());
        }
        let took = began.elapsed();
        // Acknowledgements are still on their way: they are not part of the next message's time.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sync = disk.sync()?;
        if run >= 20 {
            taken.push(took.as_secs_f64() * 1e3);
            synced.push(sync.as_secs_f64() * 1e3);
        }
    }
    drop(receiving);
    draining.abort();
    one.close().await?;
    two.close().await?;
    relay.stop().await?;
    Ok((taken, synced))
}
