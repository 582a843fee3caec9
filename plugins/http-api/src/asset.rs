//! Files that are built into the binary: the page's and the documentation's.

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use ratebus_sdk::Routes;
use ring::digest;

use crate::{envelope, headers::knows};

/// A file.
pub(crate) struct Asset {
    /// Below its folder.
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'static [u8],
}

impl Asset {
    /// Its name without the ending, if it is compressed.
    fn compressed(&self) -> Option<&'static str> {
        self.path.strip_suffix(".gz")
    }
}

/// The [`Asset`] of a file in a folder beside `src`.
macro_rules! asset {
    ($folder:literal, $path:literal, $content_type:literal) => {
        Asset { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("../", $folder, "/", $path)) }
    };
}
pub(crate) use asset;

/// Files below one path; the first is also what the path itself shows.
pub(crate) struct Folder {
    /// `/ws-test`.
    pub(crate) path: &'static str,
    pub(crate) files: &'static [Asset],
    /// The content security policy.
    pub(crate) policy: &'static str,
}

impl Folder {
    /// Adds the files to the routes.
    pub(crate) fn mount(&'static self, routes: Routes) -> Routes {
        let Self { path, files, .. } = self;
        let location = format!("{path}/");
        let index = async |headers: HeaderMap| self.answer(&self.files[0], &headers);
        let routes = routes.route(&location, envelope::family(get(index)));
        let redirect = || async { (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]) };
        let routes = routes.route(path, envelope::family(get(redirect)));
        files.iter().fold(routes, |routes, file| {
            let serve = async |headers: HeaderMap| self.answer(file, &headers);
            let name = file.compressed().unwrap_or(file.path);
            routes.route(&format!("{path}/{name}"), envelope::family(get(serve)))
        })
    }

    /// A file, or 304 to who has this version of it.
    pub(crate) fn answer(&self, file: &Asset, headers: &HeaderMap) -> Response {
        let mut response = answer(file.content_type, Bytes::from_static(file.bytes), headers);
        let headers = response.headers_mut();
        // Every browser takes it, and nobody else asks.
        if file.compressed().is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert("content-security-policy", HeaderValue::from_static(self.policy));
        headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        response
    }
}

/// A document, or 304 to who has this version of it. Clients keep it and ask each time, so that a new release shows at
/// once.
pub(crate) fn answer(content_type: &'static str, bytes: Bytes, headers: &HeaderMap) -> Response {
    let etag = etag(&bytes);
    let mut response = if knows(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, content_type)], Body::from(bytes)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.extend(HeaderValue::from_str(&etag).map(|etag| (ETAG, etag)));
    response
}

/// A strong entity tag of these bytes.
pub(crate) fn etag(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    let start = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("\"{:016x}\"", u64::from_be_bytes(start))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::{docs, page};

    /// A file that is in the folder and not in the list would be missing in the browser only.
    #[test]
    fn every_file_of_a_folder_is_served() {
        for (name, folder) in [("page", &page::FOLDER), ("docs", &docs::FOLDER)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let names = |inner: &Path| -> Vec<String> {
                let entries = fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path());
                let files = entries.filter(|path| path.is_file() && path.extension().is_none_or(|kind| kind != "md"));
                files.map(|file| file.strip_prefix(&path).unwrap().to_str().unwrap().to_owned()).collect()
            };
            let mut there = names(&path);
            there.extend(names(&path.join("vendor")));
            there.sort();
            let mut listed: Vec<&str> = folder.files.iter().map(|file| file.path).collect();
            listed.sort_unstable();
            assert_eq!(there, listed);
        }
    }
}
