//! The page: the files of `page/`, built into the binary.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use ratebus_sdk::Routes;
use ring::digest;

use crate::envelope;

struct File {
    /// Below `/ws-test/`.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $content_type:literal) => {
        File { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("../page/", $path)) }
    };
}

const INDEX: File = file!("index.html", "text/html; charset=utf-8");

const FILES: &[File] = &[
    INDEX,
    file!("admin.js", "text/javascript; charset=utf-8"),
    file!("api.js", "text/javascript; charset=utf-8"),
    file!("app.js", "text/javascript; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("money.js", "text/javascript; charset=utf-8"),
    file!("style.css", "text/css; charset=utf-8"),
    file!("table.js", "text/javascript; charset=utf-8"),
    file!("vendor/socket.io.esm.min.js", "text/javascript; charset=utf-8"),
];

/// Everything from here and nothing inline, no frames around it, no forms to elsewhere.
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Adds `/ws-test/` and the page's files below it.
pub(crate) fn mount(routes: Routes) -> Routes {
    let redirect = || async { (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "/ws-test/")]) };
    let folder = routes
        .route("/ws-test", envelope::family(get(redirect)))
        .route("/ws-test/", envelope::family(get(async |headers: HeaderMap| index(&headers))));
    FILES.iter().fold(folder, |routes, file| {
        let serve = async |headers: HeaderMap| answer(file, &headers);
        routes.route(&format!("/ws-test/{}", file.path), envelope::family(get(serve)))
    })
}

/// How a browser on this machine names a listener.
pub(crate) fn origin(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip() == Ipv4Addr::LOCALHOST {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// The page itself.
pub(crate) fn index(headers: &HeaderMap) -> Response {
    answer(&INDEX, headers)
}

/// A file, or 304 to who has this version of it. Browsers keep it and ask each time, so that a new release shows at once.
fn answer(file: &File, headers: &HeaderMap) -> Response {
    let etag = etag(file.bytes);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|tags| tags.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, file.content_type)], Body::from(file.bytes)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("content-security-policy", HeaderValue::from_static(POLICY));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.extend(HeaderValue::from_str(&etag).map(|etag| (ETAG, etag)));
    response
}

fn etag(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("\"{:016x}\"", u64::from_be_bytes(start))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn an_origin_is_one_that_this_machine_can_open() {
        for (address, expected) in [
            ("0.0.0.0:3334", "http://localhost:3334"),
            ("[::]:3334", "http://localhost:3334"),
            ("127.0.0.1:4000", "http://localhost:4000"),
            ("127.0.0.2:4000", "http://127.0.0.2:4000"),
            ("[2001:db8::7]:80", "http://[2001:db8::7]:80"),
        ] {
            assert_eq!(origin(address.parse().unwrap()), expected);
        }
    }

    /// A file that is in the folder and not in the list would be missing in the browser only.
    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/page"));
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            let files = entries.filter(|path| path.is_file() && path.extension().is_none_or(|kind| kind != "md"));
            files.map(|path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
        };
        let mut there = names(folder);
        there.extend(names(&folder.join("vendor")));
        there.sort();
        let mut listed: Vec<&str> = FILES.iter().map(|file| file.path).collect();
        listed.sort_unstable();
        assert_eq!(there, listed);
    }
}
