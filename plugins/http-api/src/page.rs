//! The page: the files of `page/`, built into the binary.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{http::HeaderMap, response::Response};

use crate::asset::{Asset, Folder, asset};

/// What `/ws-test/` has: everything from here and nothing inline, no frames around it, no forms to elsewhere.
pub(crate) static FOLDER: Folder = Folder {
    path: "/ws-test",
    files: &[
        asset!("page", "index.html", "text/html; charset=utf-8"),
        asset!("page", "admin.js", "text/javascript; charset=utf-8"),
        asset!("page", "api.js", "text/javascript; charset=utf-8"),
        asset!("page", "app.js", "text/javascript; charset=utf-8"),
        asset!("page", "icon.svg", "image/svg+xml"),
        asset!("page", "money.js", "text/javascript; charset=utf-8"),
        asset!("page", "style.css", "text/css; charset=utf-8"),
        asset!("page", "table.js", "text/javascript; charset=utf-8"),
        asset!("page", "vendor/socket.io.esm.min.js", "text/javascript; charset=utf-8"),
    ],
    policy: "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
};

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
    FOLDER.answer(&FOLDER.files[0], headers)
}

#[cfg(test)]
mod tests {
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
}
