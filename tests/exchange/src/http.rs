use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{DEADLINE, TestCa, port::Port};

/// What a request asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path with its query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// When.
    pub at: Instant,
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
    /// 200, and a body that never ends, a byte now and then.
    Trickle,
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
    port: Port,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
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
        let port = Port::take(port);
        let listener = port.listen().await;
        let shared =
            Arc::new(Shared { script: Mutex::new(script), asked: Mutex::default(), count: watch::Sender::new(0) });
        let mut exchange = Self { port, tls, shared, server: None };
        exchange.accept(listener);
        exchange
    }

    fn accept(&mut self, listener: TcpListener) {
        let app = Router::new().fallback(answer).with_state(Arc::clone(&self.shared));
        let tls = self.tls.clone();
        self.server = Some(tokio::spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(welcome(stream, tls.clone(), app.clone()));
                while clients.try_join_next().is_some() {}
            }
        }));
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.port.address())
    }

    /// Stops listening and drops every connection.
    pub async fn go_down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // It was aborted, which is no failure.
            drop(server.await);
        }
    }

    /// Listens again on the same port.
    pub async fn come_back(&mut self) {
        let listener = self.port.listen().await;
        self.accept(listener);
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
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Asked { target: uri.to_string(), headers, at: Instant::now() };
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
        Reply::Trickle => {
            let byte = stream::repeat(()).then(|()| sleep(Duration::from_millis(20)));
            Body::from_stream(byte.map(|()| Ok::<_, &str>(Bytes::from_static(b" ")))).into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}

/// Serves a connection until it ends. A client that goes away, or refuses the certificate, is what some tests are about.
async fn welcome(stream: TcpStream, tls: Option<TlsAcceptor>, app: Router) {
    let service = TowerToHyperService::new(app);
    match tls {
        None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}
