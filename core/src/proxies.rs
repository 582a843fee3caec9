use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};

/// The reverse proxies in front of a listener, whose word about where a request comes from is taken.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether the connection from `address` is a trusted proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Where a request comes from that `peer` sent: `X-Forwarded-For`, read from its end for as long as a trusted proxy
    /// added it. What stands before that anybody may have written. A hop that cannot be read ends it too: the proxy
    /// that vouched for it is as far as we know.
    ///
    /// The port is 0 where the header names none.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let mut client = canonical(peer);
        for value in headers.get_all("x-forwarded-for").iter().rev() {
            // Each by itself: one that cannot be read must not hide what stands after it.
            for hop in hops(value) {
                match hop.and_then(address) {
                    Some(hop) if self.trusts(client.ip()) => client = hop,
                    _ => return client,
                }
            }
        }
        client
    }

    /// Whether the client's own connection is TLS, as the proxy that sent the request says.
    pub(crate) fn says_https(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let last = headers.get_all("x-forwarded-proto").iter().next_back().and_then(|value| hops(value).next());
        last.flatten().is_some_and(|proto| proto.eq_ignore_ascii_case("https")) && self.trusts(peer.ip())
    }
}

/// What each proxy added to a header, the last one first; `None` for what is no text.
fn hops(value: &HeaderValue) -> impl Iterator<Item = Option<&str>> {
    value.as_bytes().rsplit(|&byte| byte == b',').map(|hop| str::from_utf8(hop.trim_ascii()).ok())
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:50000`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:50000`.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok();
    bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).ok().or_else(with_port).map(canonical)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl<'de> Deserialize<'de> for TrustedProxies {
    /// From a list of addresses and networks.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let network = |text: &String| network(text).map_err(D::Error::custom);
        Vec::<String>::deserialize(from)?.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// An address or a network as an operator writes it. One of IPv4-mapped addresses (RFC 4291, 2.5.5.2) is that of IPv4:
/// [`TrustedProxies::trusts`] looks for a client's.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
    let network = text.parse().or_else(|_| address());
    let network: IpNet =
        network.map_err(|_| format!("{text:?} is neither an address nor a network such as \"10.0.0.0/8\""))?;
    let IpAddr::V4(mapped) = network.addr().to_canonical() else { return Ok(network) };
    let bits = network.prefix_len().checked_sub(network.max_prefix_len() - 32);
    let mapped = bits.and_then(|bits| IpNet::new(mapped.into(), bits).ok());
    mapped.ok_or_else(|| format!("{text:?} is of IPv4-mapped addresses and larger than ::ffff:0.0.0.0/96"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(networks: &[&str]) -> Result<TrustedProxies, String> {
        let texts = networks.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let from = serde::de::value::SeqDeserializer::<_, serde::de::value::Error>::new(texts.into_iter());
        TrustedProxies::deserialize(from).map_err(|error| error.to_string())
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let proxies = trusting(&["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"]).unwrap();
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_counts() {
        let proxy = "10.0.0.1:4000";
        for (peer, forwarded, expected) in [
            (proxy, &[][..], proxy),
            (proxy, &["192.0.2.1"], "192.0.2.1:0"),
            (proxy, &["192.0.2.1:5000"], "192.0.2.1:5000"),
            (proxy, &["[2001:db9::1]:5000"], "[2001:db9::1]:5000"),
            (proxy, &["[2001:db9::1]"], "[2001:db9::1]:0"),
            (proxy, &["::ffff:192.0.2.1"], "192.0.2.1:0"),
            // Whatever a client put before what the proxy wrote.
            (proxy, &["198.51.100.7, 192.0.2.1"], "192.0.2.1:0"),
            (proxy, &["198.51.100.7", "192.0.2.1"], "192.0.2.1:0"),
            (proxy, &["nonsense, 192.0.2.1"], "192.0.2.1:0"),
            // Through several proxies.
            (proxy, &["192.0.2.1, 10.9.9.9"], "192.0.2.1:0"),
            (proxy, &["192.0.2.1", "10.9.9.9,2001:db8::5"], "192.0.2.1:0"),
            (proxy, &["10.1.1.1, 10.9.9.9"], "10.1.1.1:0"),
            // The last trusted hop where the next one is none.
            (proxy, &["nonsense"], proxy),
            (proxy, &["192.0.2.1, unknown, 10.9.9.9"], "10.9.9.9:0"),
            (proxy, &["192.0.2.1,"], proxy),
            (proxy, &["192.0.2.1", ""], proxy),
            (proxy, &["192.0.2.1", "\u{e9}"], proxy),
            (proxy, &["192.0.2.1, \u{e9}"], proxy),
            (proxy, &["\u{e9}, 192.0.2.1"], "192.0.2.1:0"),
            (proxy, &["192.0.2.256"], proxy),
            ("[::ffff:127.0.0.1]:4000", &["192.0.2.1"], "192.0.2.1:0"),
            // From nobody we know.
            ("192.0.2.9:4000", &["192.0.2.1"], "192.0.2.9:4000"),
            ("127.0.0.2:4000", &["10.0.0.1"], "127.0.0.2:4000"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn tls_is_what_the_last_proxy_says() {
        let https = |peer: &str, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-proto", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            trusting(&["10.0.0.1"]).unwrap().says_https(peer.parse().unwrap(), &headers)
        };
        assert!(https("10.0.0.1:1", &["\u{e9}, https"]) && !https("10.0.0.1:1", &["https, \u{e9}"]));
        assert!(https("10.0.0.1:1", &["https"]) && https("10.0.0.1:1", &["http", "http, HTTPS"]));
        assert!(!https("10.0.0.1:1", &[]) && !https("10.0.0.1:1", &["https", "http"]));
        assert!(!https("10.0.0.2:1", &["https"]));
    }

    #[test]
    fn a_network_of_mapped_addresses_is_that_of_ipv4() {
        let trusts = |network: &str, address: &str| trusting(&[network]).unwrap().trusts(address.parse().unwrap());
        for address in ["10.1.2.3", "::ffff:10.1.2.3"] {
            for network in
                ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3/128", "::ffff:10.1.2.3", "::ffff:0:0/96", "10.0.0.0/8"]
            {
                assert!(trusts(network, address), "{network} {address}");
            }
            assert!(!trusts("::ffff:11.0.0.0/104", address) && !trusts("::/0", address));
        }
        assert!(trusts("::/0", "2001:db8::1") && trusts("0.0.0.0/0", "10.1.2.3"));
        assert!(trusting(&["::ffff:10.0.0.0/95"]).unwrap_err().contains("IPv4-mapped"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["proxy.example", "10.0.0.0/33", "10.0.0.1:80", "", "*"] {
            assert!(trusting(&[text]).unwrap_err().contains("neither an address nor a network"), "{text}");
        }
    }
}
