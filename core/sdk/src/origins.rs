use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue,
        header::{HOST, ORIGIN},
        request::Parts,
    },
};
use serde::{Deserialize, Deserializer, de::Error};

/// Whose pages may use a listener from a browser: those of the listener's own address, and those of the origins listed
/// in its `origins`.
///
/// The engine puts it into the extensions of every request, from where it is taken as an extractor; a request that went
/// through no listener, as in a test, is from nobody but the listener's own pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Listed);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    Any,
    These(Arc<[HeaderValue]>),
}

impl Default for Listed {
    fn default() -> Self {
        Self::These(Arc::default())
    }
}

impl Origins {
    /// Whether the listener serves pages of other origins at all, so that an answer may differ from one to the other.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Listed::These(listed) if listed.is_empty())
    }

    /// Whether every origin is listed.
    pub fn is_any(&self) -> bool {
        self.0 == Listed::Any
    }

    /// Whether `origin` is listed: compared as a whole, as the header `Origin` has it (RFC 6454, section 6.2).
    pub fn lists(&self, origin: &HeaderValue) -> bool {
        match &self.0 {
            Listed::Any => true,
            Listed::These(listed) => listed.contains(origin),
        }
    }

    /// Whether a request with these headers may open a WebSocket or a Socket.IO session: to these a browser lets every
    /// page connect. It may if it comes from no page (it has no `Origin`), from one of the address it is sent to, or from
    /// a listed origin.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.lists(origin) || is_own(origin, headers),
            (Some(_), Some(_)) => false,
        }
    }
}

/// Whether `origin` is the address that the request was sent to. The scheme is left out: a proxy may have taken TLS off.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let own = || {
        let (_, authority) = origin.to_str().ok()?.split_once("://")?;
        Some(headers.get(HOST)?.to_str().ok()?.eq_ignore_ascii_case(authority))
    };
    own().unwrap_or(false)
}

impl<S: Sync> FromRequestParts<S> for Origins {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Origins {
    /// From a list of origins, or `["*"]`.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        match texts.as_slice() {
            [any] if any == "*" => return Ok(Self(Listed::Any)),
            texts if texts.iter().any(|text| text == "*") => {
                return Err(D::Error::custom("\"*\" is every origin, so it stands alone"));
            }
            _ => {}
        }
        let listed = texts.iter().map(|text| origin(text).ok_or_else(|| D::Error::custom(not_an_origin(text))));
        Ok(Self(Listed::These(listed.collect::<Result<_, _>>()?)))
    }
}

fn not_an_origin(text: &str) -> String {
    format!(
        "{text:?} is not an origin as browsers send it, such as \"https://app.example.com\": lower case, no path, no default port"
    )
}

/// `text` as a header's value, if a browser could send it.
fn origin(text: &str) -> Option<HeaderValue> {
    let (scheme, authority) = text.split_once("://")?;
    let of = |text: &str, others: &[u8]| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || others.contains(&b);
        !text.is_empty() && text.bytes().all(allowed)
    };
    let default_port = matches!(scheme, "http") && authority.ends_with(":80")
        || matches!(scheme, "https") && authority.ends_with(":443");
    let valid = of(scheme, b"+-.") && of(authority, b".-_:[]") && !authority.ends_with(':') && !default_port;
    valid.then(|| HeaderValue::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Result<Origins, String> {
        let texts = texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let from = serde::de::value::SeqDeserializer::<_, serde::de::value::Error>::new(texts.into_iter());
        Origins::deserialize(from).map_err(|error| error.to_string())
    }

    fn allowed(listed: &[&str], host: &str, from: &[&str]) -> bool {
        let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        for origin in from {
            headers.append(ORIGIN, origin.parse().unwrap());
        }
        origins(listed).unwrap().allows(&headers)
    }

    #[test]
    fn only_the_exact_origin_is_the_listed_one() {
        let good = ["https://good.example", "http://localhost:5173"];
        for from in good {
            assert!(allowed(&good, "rates.example:3334", &[from]), "{from}");
        }
        for from in [
            "https://good.example.evil",
            "https://evil.good.example",
            "https://evilgood.example",
            "https://good.example:8443",
            "https://good.example:443",
            "https://good.example/",
            "http://good.example",
            "HTTPS://GOOD.EXAMPLE",
            "null",
            "",
            "*",
            "good.example",
            "http://localhost",
        ] {
            assert!(!allowed(&good, "rates.example:3334", &[from]), "{from}");
            assert!(allowed(&["*"], "rates.example:3334", &[from]), "{from}");
        }
        assert!(!allowed(&good, "rates.example", &["https://good.example", "https://evil.example"]));
    }

    #[test]
    fn own_pages_and_programs_need_no_list() {
        assert!(allowed(&[], "rates.example:3334", &[]));
        assert!(allowed(&[], "Rates.Example:3334", &["http://rates.example:3334"]));
        assert!(allowed(&[], "rates.example", &["https://rates.example"]));
        assert!(!allowed(&[], "rates.example:3334", &["http://rates.example:3335"]));
        assert!(!allowed(&[], "rates.example:3334", &["http://rates.example"]));
        assert!(!allowed(&[], "rates.example", &["null"]));
    }

    #[test]
    fn what_no_browser_sends_cannot_be_listed() {
        for text in [
            "null",
            "good.example",
            "https://",
            "https://good.example/",
            "https://Good.example",
            "https://*.example",
            "https://user@good.example",
            "https://good.example:443",
            "http://good.example:80",
            "https://good.example:",
            "https://good.example ",
            "",
        ] {
            assert!(origins(&[text]).unwrap_err().contains("is not an origin"), "{text}");
        }
        assert!(origins(&["*", "https://good.example"]).unwrap_err().contains("stands alone"));
        for text in
            ["https://good.example:8443", "http://[::1]:3000", "capacitor://localhost", "http://good.example:443"]
        {
            assert!(origins(&[text]).is_ok(), "{text}");
        }
    }
}
