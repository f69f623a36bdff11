//! The files of the interface, as they were when the program was built.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What is served where no interface was built.
const UNBUILT: &str = "<!doctype html><meta charset=utf-8><title>Tombolo</title>\
<p>This program was built without its interface. <code>cargo xtask ui</code> builds it; then build the program again.";

fn media(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("webmanifest" | "json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// A file, or the page.
pub(crate) async fn serve(uri: Uri) -> Response {
    let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
    // What the build named by its content never changes; the page does.
    let keep = if path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    match ASSETS.iter().find(|(name, _)| *name == path) {
        Some((name, bytes)) => {
            ([(header::CONTENT_TYPE, media(name)), (header::CACHE_CONTROL, keep)], *bytes).into_response()
        }
        None if path == "/index.html" => ([(header::CONTENT_TYPE, media(path))], UNBUILT).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such file.").into_response(),
    }
}
