use axum::http::{HeaderMap, header::AUTHORIZATION};

/// The longest token looked at; ours have about 400 characters.
const LONGEST: usize = 1024;

/// The token of `Authorization: Bearer <token>` (RFC 6750, section 2.1): one such header, one space, nothing after it. Not
/// yet checked.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let valid = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= LONGEST
        && token.bytes().all(allowed);
    valid.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_the_exact_form_is_a_token() {
        assert_eq!(token_of(&["Bearer a.b-c_d"]).as_deref(), Some("a.b-c_d"));
        assert_eq!(token_of(&["bearer a"]).as_deref(), Some("a"));
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        for value in
            ["", "Bearer", "Bearer ", "Bearer  a", "Bearer a ", "Bearer a b", "Basic a", "a", "Bearer a,b", &long]
        {
            assert_eq!(token_of(&[value]), None, "{value:?}");
        }
        assert_eq!(token_of(&[]), None);
        assert_eq!(token_of(&["Bearer a", "Bearer a"]), None);
    }
}
