//! `web`: the interface in a browser tab, served on loopback from this process, which holds the profile meanwhile.

use crate::args::Global;
use crate::door::{self, Door};
use crate::failure::Failure;
use crate::out::Out;
use serde::Serialize;
use tombolo_app::App;
use tombolo_web::Server;

/// A line with `--json`.
#[derive(Serialize)]
struct Row {
    link: String,
}

/// Serves until the process is asked to end. There may be no profile yet: the page makes one.
pub(crate) async fn run(global: &Global, port: u16, out: &Out) -> Result<(), Failure> {
    let stop = super::stopped();
    let app = App::open(door::settings(global)?).await?;
    let served = serve(global, port, out, &app, stop).await;
    let closed = app.close().await;
    served?;
    Ok(closed?)
}

async fn serve(
    global: &Global,
    port: u16,
    out: &Out,
    app: &std::sync::Arc<App>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let server = Server::start(app.clone(), port).await.map_err(|error| {
        Failure::new(
            "listen",
            format!("cannot listen on port {port}: {error}"),
            "choose another port, or 0 for any free one",
        )
    })?;
    let mut links = server.links();
    let mut first = true;
    // Other commands of this profile are passed on to this process.
    #[cfg(unix)]
    let sharing = async {
        let door = Door::of(app.opened().await);
        let _shared = crate::share::serve(&door, global);
        std::future::pending::<()>().await
    };
    #[cfg(not(unix))]
    let sharing = std::future::pending::<()>();
    tokio::pin!(stop, sharing);
    loop {
        let link = links.borrow_and_update().clone();
        let words = if first { "Open this in a browser on this machine; it works once:" } else { "For another tab:" };
        first = false;
        out.rows([Row { link: link.clone() }], |_| vec![words.to_owned(), link])?;
        tokio::select! {
            changed = links.changed() => if changed.is_err() { return Ok(()) },
            () = &mut sharing => {}
            () = &mut stop => return Ok(()),
        }
    }
}
