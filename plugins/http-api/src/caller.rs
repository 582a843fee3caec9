use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use ratebus_sdk::bearer;

use crate::{accounts::QuotaSlot, headers::request_id};

/// Who asks: from where, in which request, and with which token. No `Debug`: a token is a secret.
pub(crate) struct Caller {
    /// For finding what belongs together in the log.
    pub(crate) request_id: Option<String>,
    /// The client's address, as far as the listener knows it.
    pub(crate) peer: Option<SocketAddr>,
    /// The bearer token, not yet checked.
    pub(crate) token: Option<String>,
    /// For what is counted of the caller.
    pub(crate) quota: QuotaSlot,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            request_id: request_id(&parts.headers).map(str::to_owned),
            peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            token: bearer(&parts.headers).map(str::to_owned),
            quota: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}
