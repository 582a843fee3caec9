//! The limit: one loop, and one write of ready bytes for each socket. What is pending is one write.

use std::io::{ErrorKind, Read, Write};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

use crate::Protocol;

/// The argument that makes this program the limit.
pub(crate) const NAME: &str = "limit";

const LISTENER: Token = Token(usize::MAX - 1);
const FEED: Token = Token(usize::MAX - 2);
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Connection {
    stream: TcpStream,
    /// Whether it is sent what comes.
    listens: bool,
}

/// A frame of text, unmasked (RFC 6455, section 5.2).
pub(crate) fn frame(text: &[u8]) -> Vec<u8> {
    let length = text.len();
    let mut frame = match u8::try_from(length) {
        Ok(short @ ..126) => vec![0x81, short],
        _ => [&[0x81, 126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    frame.extend_from_slice(text);
    frame
}

/// Serves clients on the first address with the frames that come from the second, until it is killed.
pub(crate) fn run(args: &[String]) {
    let [address, feed, protocol] = args else { panic!("two addresses and a protocol were expected") };
    let socketio = *protocol == format!("{:?}", Protocol::SocketIo);
    let mut listener = TcpListener::bind(address.parse().unwrap()).unwrap();
    let feed = std::net::TcpStream::connect(feed).unwrap();
    feed.set_nonblocking(true).unwrap();
    let mut feed = TcpStream::from_std(feed);
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    poll.registry().register(&mut feed, FEED, Interest::READABLE).unwrap();
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
    let mut connections = Slab::new();
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        stream.set_nodelay(true).unwrap();
                        let entry = connections.vacant_entry();
                        poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE).unwrap();
                        entry.insert(Connection { stream, listens: false });
                    }
                }
                FEED => {
                    let mut length = 0;
                    while let Ok(more @ 1..) = feed.read(&mut buffer[length..]) {
                        length += more;
                    }
                    // Nobody here is so slow that they do not take it.
                    for (_, connection) in connections.iter_mut().filter(|(_, connection)| connection.listens) {
                        let _ = connection.stream.write(&buffer[..length]);
                    }
                }
                Token(key) => {
                    let gone = connections.get_mut(key).is_some_and(|one| !converse(one, socketio, &mut buffer));
                    if gone {
                        connections.remove(key);
                    }
                }
            }
        }
    }
}

/// Takes the steps of the handshake. Returns whether the client is still there.
fn converse(connection: &mut Connection, socketio: bool, buffer: &mut [u8]) -> bool {
    let Connection { stream, listens } = connection;
    let length = match stream.read(buffer) {
        Ok(length @ 1..) => length,
        Ok(0) => return false,
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    };
    let answer = match (socketio, &buffer[..length]) {
        (false, [b'G', ..]) => SWITCH.to_vec(),
        (true, [b'G', ..]) => [
            SWITCH,
            &frame(br#"0{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#),
        ]
        .concat(),
        (true, _) if !*listens => frame(br#"40{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#),
        _ => return true,
    };
    *listens = !socketio || buffer[0] != b'G';
    stream.write(&answer).is_ok()
}
