use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A port of this host that stays the exchange's own while nobody listens on it: no other test's server gets it
/// meanwhile, to be connected to by a source that is not its own.
pub(crate) struct Port(TcpSocket);

impl Port {
    /// This one; a free one for 0.
    pub(crate) fn take(port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Two sockets may have a port if both say so and only one of them listens.
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address()).await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn nobody_is_there_while_nobody_listens_and_again_afterwards() {
        let port = Port::take(0);
        for _ in 0..2 {
            let refused = TcpStream::connect(port.address()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let listener = port.listen().await;
            let (client, accepted) = tokio::join!(TcpStream::connect(port.address()), listener.accept());
            assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        }
    }
}
