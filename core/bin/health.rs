//! `ratebus health`: asks a running process whether it can do its work.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};

/// Less than what asks (a container engine, a supervisor) waits itself.
const PATIENCE: Duration = Duration::from_secs(4);
/// The most bytes of an answer that are read.
const LONGEST: usize = 4 * 1024 * 1024;
/// Where the operator's listener tells how the process is.
const PATH: &str = "/health";

/// The answer of the operator's listener.
#[derive(Deserialize)]
struct Report {
    plugins: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    plugin: String,
    state: String,
    reason: Option<String>,
}

/// Where a process of this machine that listens on `listen` is asked: who listens everywhere does so on loopback, too.
pub(crate) fn at(listen: SocketAddr) -> Result<Uri> {
    ensure!(listen.port() != 0, "metrics.listen leaves the port open: say where with --url");
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(format!("http://{}{PATH}", SocketAddr::new(host, listen.port())).parse()?)
}

/// Whether the process is ready, in a line: an error if it is not.
pub(crate) async fn ask(uri: &Uri) -> Result<String> {
    let answered = timeout(PATIENCE, answer(uri)).await.unwrap_or_else(|_| Err(anyhow!("nothing in {PATIENCE:?}")));
    let (status, body) = answered.with_context(|| format!("{uri} does not answer"))?;
    let incomplete = incomplete(&body);
    if status != StatusCode::OK {
        bail!("not ready ({status}){incomplete}");
    }
    Ok(format!("ready{incomplete}"))
}

async fn answer(uri: &Uri) -> Result<(StatusCode, Bytes)> {
    let host = uri.authority().filter(|_| uri.scheme_str() == Some("http")).context("expected http://host:port")?;
    let address = (host.host().trim_matches(['[', ']']), host.port_u16().unwrap_or(80));
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let path = if uri.path() == "/" { PATH } else { uri.path() };
    let request = Request::get(path).header(HOST, host.as_str()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|error| anyhow!(error))?;
    Ok((status, body.to_bytes()))
}

/// Each plugin that is not simply ready, and why; nothing if the answer does not tell.
fn incomplete(body: &[u8]) -> String {
    let plugins = serde_json::from_slice::<Report>(body).map(|report| report.plugins).unwrap_or_default();
    let words = |one: Entry| {
        let reason = one.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("; {} is {}{reason}", one.plugin, one.state.replace('_', " "))
    };
    plugins.into_iter().filter(|one| one.state != "ready").map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let asked = |listen: &str| at(listen.parse().unwrap()).map(|uri| uri.to_string()).ok();
        assert_eq!(asked("0.0.0.0:9090").as_deref(), Some("http://127.0.0.1:9090/health"));
        assert_eq!(asked("[::]:9090").as_deref(), Some("http://[::1]:9090/health"));
        assert_eq!(asked("10.0.0.1:9091").as_deref(), Some("http://10.0.0.1:9091/health"));
        assert_eq!(asked("127.0.0.1:0"), None);
    }
}
