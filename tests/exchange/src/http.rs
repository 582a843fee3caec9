use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
    serve::Listener,
};
use futures_util::stream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{DEADLINE, TestCa};

/// What a request asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path with its query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with a JSON body.
    Json(String),
    /// A status, headers and a body.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// 200, the beginning of a body, and the connection is gone.
    BreakOff(&'static str),
    /// 200, and a body that never ends. (Each piece is 64 KiB.)
    Endless,
    /// Nothing, ever.
    Hang,
}

impl Reply {
    /// A status with a body and without headers.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self::Raw(status, Vec::new(), body.into().into_bytes())
    }
}

type Script = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// An exchange that is asked over HTTP, on a free port of this host, and answers what its script says.
pub struct HttpExchange {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    /// How many requests there were, for waiting.
    count: watch::Sender<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpExchange {
    /// Without TLS.
    pub async fn start(script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::start_on(0, script).await
    }

    /// As [`HttpExchange::start`], on a port of one's choice.
    pub async fn start_on(port: u16, script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::start_with(port, None, Box::new(script)).await
    }

    /// One that proves itself by a certificate for `names`, issued by `ca`.
    pub async fn start_tls(ca: &TestCa, names: &[&str], script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::start_with(0, Some(ca.acceptor(names, false)), Box::new(script)).await
    }

    async fn start_with(port: u16, tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { script: Mutex::new(script), asked: Mutex::default(), count: watch::Sender::new(0) });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = tokio::spawn(async move {
            let served = match tls {
                Some(tls) => axum::serve(TlsListener { tcp: listener, tls }, app).await,
                None => axum::serve(listener, app).await,
            };
            served.unwrap();
        });
        Self { address, scheme, shared, server }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// From now on it answers by another script.
    pub fn script(&self, script: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// How many requests there were whose target begins so.
    pub fn count(&self, target: &str) -> usize {
        lock(&self.shared.asked).iter().filter(|asked| asked.target.starts_with(target)).count()
    }

    /// Waits until there are `more` requests whose target begins so than there were.
    pub async fn wait_more(&self, target: &str, more: usize) {
        let wanted = self.count(target) + more;
        let mut count = self.shared.count.subscribe();
        let came = timeout(DEADLINE, count.wait_for(|_| self.count(target) >= wanted)).await;
        came.expect("the requests waited for come").unwrap();
    }
}

impl Drop for HttpExchange {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Asked { target: uri.to_string(), headers };
    let reply = (lock(&shared.script))(&asked);
    lock(&shared.asked).push(asked);
    shared.count.send_modify(|count| *count += 1);
    match reply {
        Reply::Json(body) => ([("content-type", "application/json")], body).into_response(),
        Reply::Raw(status, headers, body) => {
            let headers = headers
                .into_iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()));
            (StatusCode::from_u16(status).unwrap(), headers.collect::<HeaderMap>(), body).into_response()
        }
        Reply::BreakOff(start) => {
            let pieces = [Ok(Bytes::from_static(start.as_bytes())), Err("gone")];
            Body::from_stream(stream::iter(pieces)).into_response()
        }
        Reply::Endless => {
            let piece = Bytes::from(vec![b' '; 64 << 10]);
            Body::from_stream(stream::repeat_with(move || Ok::<_, &str>(piece.clone()))).into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(Ok(stream)) = timeout(Duration::from_secs(5), self.tls.accept(stream)).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
