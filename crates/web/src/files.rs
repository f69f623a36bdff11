//! Files over HTTP: what somebody attaches comes up, what somebody wants to see goes down. Both with the key of a tab.
//!
//! What strangers sent is never shown as a page of ours: all but pictures of four kinds is handed over as bytes to be saved,
//! and what a picture is, its first bytes say. Not here: where files wait (`app`).

use crate::{Shared, from_our_page};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use std::io::{Read, Write};
use std::sync::Arc;
use tombolo_app::Staged;
use tombolo_app::api::Problem;

/// **Bytes** that are read from the disk at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest name, **bytes**.
const NAME_BYTES_MAX: usize = 1024;

fn refuse(status: StatusCode, problem: &Problem) -> Response {
    (status, axum::Json(problem)).into_response()
}

fn problem(code: &str, message: impl Into<String>, hint: &str) -> Problem {
    Problem { code: code.into(), message: message.into(), hint: hint.into() }
}

fn stranger() -> Response {
    refuse(StatusCode::UNAUTHORIZED, &problem("key", "this tab has no key", "open the link that the program shows"))
}

/// What stands behind `name=` in a query or a header, percent-encoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Takes a file; answers with what names it in a call.
pub(crate) async fn put(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !from_our_page(&headers) || !shared.knows(query.as_deref()) {
        return stranger();
    }
    let name =
        headers.get("tombolo-name").and_then(|name| name.to_str().ok()).filter(|name| name.len() <= NAME_BYTES_MAX);
    let Some(name) = name.and_then(decoded) else {
        return refuse(StatusCode::BAD_REQUEST, &problem("malformed", "the file has no name", ""));
    };
    let found = shared.app.largest_bytes().await.and_then(|largest| Ok((largest, shared.app.stage(&name)?)));
    let (largest, staged) = match found {
        Ok(found) => found,
        Err(problem) => return refuse(StatusCode::INSUFFICIENT_STORAGE, &problem),
    };
    match write(&staged, body, largest).await {
        Ok(()) => (StatusCode::CREATED, staged.keep()).into_response(),
        Err(refused) => refused,
    }
}

async fn write(staged: &Staged, body: Body, largest: u64) -> Result<(), Response> {
    let disk = |error: std::io::Error| {
        let words = format!("the file cannot be kept on this machine: {error}");
        refuse(StatusCode::INSUFFICIENT_STORAGE, &problem("file-disk", words, "make room on the disk and try again"))
    };
    let mut file = std::fs::File::create_new(&staged.path).map_err(disk)?;
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = body.next().await {
        let cut =
            |_| refuse(StatusCode::BAD_REQUEST, &problem("cut", "the file did not come whole", "attach it again"));
        let piece = piece.map_err(cut)?;
        bytes += piece.len() as u64;
        if bytes > largest {
            let words = format!("the file has more than {largest} bytes, which is the most that may be sent");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &problem("file-too-large", words, "split it")));
        }
        file.write_all(&piece).map_err(disk)?;
    }
    Ok(())
}

/// A picture's media type by its first bytes; anything else is only bytes.
fn media(begins: &[u8]) -> &'static str {
    match begins {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "application/octet-stream",
    }
}

/// A file of a message, fetched first if it is not here.
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Path((message, n)): Path<(String, u32)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    // Browsers say whose page asks; one that does not is still held to the key.
    let foreign = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin");
    if foreign || !shared.knows(query.as_deref()) {
        return stranger();
    }
    let staged = match shared.app.bring(&message, n).await {
        Ok(staged) => staged,
        Err(problem) => return refuse(StatusCode::NOT_FOUND, &problem),
    };
    let opened = std::fs::File::open(&staged.path).and_then(|mut file| {
        let mut begins = Vec::new();
        Read::by_ref(&mut file).take(12).read_to_end(&mut begins)?;
        let bytes = file.metadata()?.len();
        Ok((file, begins, bytes))
    });
    let (file, begins, bytes) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, &problem("file-disk", error.to_string(), "try again"));
        }
    };
    let media = media(&begins);
    let first = Bytes::from(begins);
    // What is read was opened for this answer alone, and is gone with it.
    let pieces = stream::unfold((file, staged, false), |(mut file, staged, failed)| async move {
        if failed {
            return None;
        }
        let mut piece = vec![0; PIECE_BYTES];
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Bytes::from(piece)), (file, staged, false)))
            }
            Err(error) => Some((Err(error), (file, staged, true))),
        }
    });
    let body = Body::from_stream(stream::once(async { Ok(first) }).chain(pieces));
    let answer = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (answer, body).into_response()
}
