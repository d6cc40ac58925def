//! Who the client is, and by what way its request came: `X-Forwarded-For`,
//! `-Proto`, `-Host`, `X-Real-IP` and `Forwarded`, all from one chain.
//!
//! A proxy appends the address it was asked from to `X-Forwarded-For`; what
//! stands before that is what the client claims. So the list is read from its
//! end, as long as the addresses are those of trusted proxies. The nearest
//! address that is not trusted is the client; what stands before it is dropped.
//! All headers are then written from what is left, so that an app finds the same
//! client in whichever it reads.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::connection::{ConnectionInfo, Scheme};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FLY_CLIENT_IP: HeaderName = HeaderName::from_static("fly-client-ip");

/// Longest chain that is read, in addresses; longer ones are cut at their far end.
const CHAIN_MAX: usize = 32;

/// Networks without a way from the internet. 100.64/10 is the shared space of
/// carriers and of some platforms.
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// The networks of Cloudflare's edge (<https://www.cloudflare.com/ips/>).
const CLOUDFLARE: &[&str] = &[
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

/// The front ends of Google Cloud's load balancers.
const GCP: &[&str] = &[
    "35.191.0.0/16",
    "130.211.0.0/22",
    "2600:2d00:1:1::/64",
    "2600:2d00:1:b029::/64",
];

/// The proxies whose word on a request's way is believed.
///
/// ```
/// use monolite_gate::TrustedProxies;
///
/// let proxies: TrustedProxies = "cloudflare, 192.0.2.0/24".parse()?;
/// assert!(proxies.trusts("192.0.2.7".parse().unwrap()));
/// assert!(!proxies.trusts("10.0.0.1".parse().unwrap()));
/// # Ok::<(), monolite_gate::UnknownProxy>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whoever connects to the gate is a proxy.
    every_peer: bool,
    /// `Fly-Client-IP` of a trusted peer names the client.
    fly: bool,
    /// The last address in `X-Forwarded-For` of such a peer is the load
    /// balancer's own.
    gcp: Vec<IpNet>,
}

/// A word that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no proxy: use an address, a network as in 192.0.2.0/24, or one of private, fly, \
     cloudflare, aws, gcp, kamal, all, none"
)]
pub struct UnknownProxy(String);

impl Default for TrustedProxies {
    /// `private`.
    fn default() -> Self {
        let mut proxies = Self::none();
        proxies.add_networks(PRIVATE);
        proxies
    }
}

impl FromStr for TrustedProxies {
    type Err = UnknownProxy;

    /// A list of names, addresses and networks, with commas between them.
    fn from_str(text: &str) -> Result<Self, UnknownProxy> {
        let mut proxies = Self::none();
        text.split(',').try_for_each(|word| proxies.add(word))?;
        Ok(proxies)
    }
}

impl TrustedProxies {
    /// No proxy: the peer of each connection is the client.
    pub fn none() -> Self {
        Self {
            networks: Vec::new(),
            every_peer: false,
            fly: false,
            gcp: Vec::new(),
        }
    }

    /// Adds what `word` names:
    ///
    /// | word | proxies |
    /// |---|---|
    /// | an address or a network | that one |
    /// | `private` | those with a private, loopback, link-local or shared (100.64/10) address |
    /// | `aws`, `kamal` | as `private`: load balancers in the VPC, kamal-proxy in Docker's network |
    /// | `fly` | as `private`; whom `Fly-Client-IP` names has asked Fly's proxy, which also appends its own address |
    /// | `cloudflare` | Cloudflare's networks |
    /// | `gcp` | Google Cloud's load balancers, which append their own address, too |
    /// | `all` | whoever connects, whatever its address: only where nothing but a proxy can reach the port |
    /// | `none` | nobody |
    ///
    /// # Errors
    /// When it is none of these.
    pub fn add(&mut self, word: &str) -> Result<(), UnknownProxy> {
        let word = word.trim();
        match word {
            "none" => {}
            "private" | "aws" | "kamal" => self.add_networks(PRIVATE),
            "fly" => {
                self.add_networks(PRIVATE);
                self.fly = true;
            }
            "cloudflare" => self.add_networks(CLOUDFLARE),
            "gcp" => {
                self.add_networks(GCP);
                self.gcp = parsed(GCP).collect();
            }
            "all" => self.every_peer = true,
            word => {
                let address = word
                    .parse()
                    .map(|address: IpAddr| address.to_canonical().into());
                let network = address.or_else(|_| word.parse::<IpNet>());
                self.networks
                    .push(network.map_err(|_| UnknownProxy(word.to_owned()))?);
            }
        }
        Ok(())
    }

    fn add_networks(&mut self, networks: &[&str]) {
        self.networks.extend(parsed(networks));
    }

    /// True if `address` is that of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        contains(&self.networks, address)
    }

    /// True if what the peer of a connection says is believed.
    pub(crate) fn trusts_peer(&self, peer: IpAddr) -> bool {
        self.every_peer || self.trusts(peer)
    }
}

fn parsed(networks: &[&str]) -> impl Iterator<Item = IpNet> {
    networks.iter().filter_map(|network| network.parse().ok())
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// What is written for the requests of one connection.
pub(crate) struct Forwarding {
    peer: IpAddr,
    scheme: Scheme,
    /// The peer is a trusted proxy.
    pub(crate) is_trusted: bool,
    /// The lines of a request without a chain, but for the host.
    direct: Lines,
}

impl Forwarding {
    pub(crate) fn new(info: &ConnectionInfo, proxies: &TrustedProxies) -> Self {
        let peer = info.peer.ip().to_canonical();
        Self {
            peer,
            scheme: info.scheme,
            is_trusted: match info.is_named {
                // It is a client, unless it is one of the named proxies.
                true => proxies.trusts(peer),
                false => proxies.trusts_peer(peer),
            },
            direct: Lines::new(&[peer], info.scheme),
        }
    }

    /// Appends the lines of a request for `host`. `believes_host` is whether
    /// `X-Forwarded-Host` of a trusted peer counts.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        headers: &HeaderMap,
        host: &[u8],
        proxies: &TrustedProxies,
        believes_host: bool,
    ) {
        if !self.is_trusted || !has_chain(headers) {
            return self.direct.write(out, host);
        }
        let (chain, scheme) = self.chain(headers, proxies);
        let lines = Lines::new(&chain, scheme.unwrap_or(self.scheme));
        let named = believes_host
            .then(|| last_element(headers, &FORWARDED_HOST))
            .flatten();
        let named = named.map(str::as_bytes).filter(|host| is_host(host));
        lines.write(out, named.unwrap_or(host));
    }

    /// The client of a request.
    pub(crate) fn client(&self, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
        if !self.is_trusted || !has_chain(headers) {
            return self.peer;
        }
        let (chain, _) = self.chain(headers, proxies);
        chain.first().copied().unwrap_or(self.peer)
    }

    /// The client, the proxies it came by, and the peer; and the scheme that the
    /// nearest proxy names.
    fn chain(
        &self,
        headers: &HeaderMap,
        proxies: &TrustedProxies,
    ) -> (Vec<IpAddr>, Option<Scheme>) {
        let mut scheme = last_element(headers, &FORWARDED_PROTO).and_then(scheme_named);
        let mut chain = vec![self.peer];
        let mut named = elements(headers, &FORWARDED_FOR);
        let mut of_forwarded = Vec::new();
        if named.is_empty() {
            // Only where the other family is absent: a proxy that appends to
            // one lets pass what the client says in the other.
            of_forwarded = elements(headers, &header::FORWARDED);
            named = of_forwarded
                .iter()
                .map(|hop| parameter(hop, "for"))
                .collect();
            if scheme.is_none() {
                scheme = of_forwarded
                    .last()
                    .and_then(|hop| scheme_named(parameter(hop, "proto")));
            }
        }
        if proxies.fly
            && let Some(client) = last_element(headers, &FLY_CLIENT_IP)
            && let Some(address) = address_named(client)
        {
            // Fly's own address comes after it. What comes before it counts only
            // if it is a proxy, too.
            let at = named
                .iter()
                .rposition(|named| address_named(named) == Some(address));
            named.truncate(at.unwrap_or_default());
            named.push(client);
        }
        let is_gcp = contains(&proxies.gcp, self.peer) && of_forwarded.is_empty();
        let skipped = usize::from(is_gcp && named.len() > 1);
        for address in named.iter().rev().skip(skipped).take(CHAIN_MAX) {
            let Some(address) = address_named(address) else {
                break;
            };
            chain.push(address);
            if !proxies.trusts(address) {
                break;
            }
        }
        chain.reverse();
        (chain, scheme)
    }
}

/// True if a header says by what way the request came.
fn has_chain(headers: &HeaderMap) -> bool {
    [
        &FORWARDED_FOR,
        &FORWARDED_PROTO,
        &header::FORWARDED,
        &FORWARDED_HOST,
        &FLY_CLIENT_IP,
    ]
    .into_iter()
    .any(|name| headers.contains_key(name))
}

/// The lines for one chain, but for the host.
struct Lines {
    /// Up to where the host follows in `forwarded`.
    before: String,
    /// From there on: the elements of the proxies.
    after: String,
}

impl Lines {
    /// `chain` begins with the client and ends with the peer.
    fn new(chain: &[IpAddr], scheme: Scheme) -> Self {
        let (mut before, mut after) = (String::with_capacity(160), String::new());
        let scheme = scheme.as_str();
        // Writing to a string cannot fail.
        if let [client, hops @ ..] = chain {
            let _ = write!(
                before,
                "x-real-ip: {client}\r\nx-forwarded-proto: {scheme}\r\nx-forwarded-for: {client}"
            );
            for hop in hops {
                let _ = write!(before, ", {hop}");
                let _ = write!(after, ", for={}", Node(*hop));
            }
            let _ = write!(
                before,
                "\r\nforwarded: for={};proto={scheme}",
                Node(*client)
            );
        }
        Self { before, after }
    }

    fn write(&self, out: &mut Vec<u8>, host: &[u8]) {
        out.extend_from_slice(self.before.as_bytes());
        if !host.is_empty() {
            out.extend_from_slice(b";host=");
            write_quoted(out, host);
        }
        out.extend_from_slice(self.after.as_bytes());
        if !host.is_empty() {
            out.extend_from_slice(b"\r\nx-forwarded-host: ");
            out.extend_from_slice(host);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// An address as `Forwarded` writes it (RFC 7239 §6).
struct Node(IpAddr);

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "\"[{address}]\""),
        }
    }
}

/// A token as it is, anything else in quotes.
fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if text.iter().all(is_token) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    out.extend(text.iter().filter(|byte| !matches!(byte, b'"' | b'\\')));
    out.push(b'"');
}

/// A name or address with perhaps a port, and nothing that another reader
/// could take for more (RFC 3986 §3.2.2, without the exotic).
pub(crate) fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+=".contains(b))
}

/// The elements of a list header, over all its lines. A line that is not text
/// counts as one element that names nothing.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    let lines = headers.get_all(name).iter().map(text);
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect()
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("?")
}

/// The last element of a list header: what the nearest proxy says.
fn last_element<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let last = headers.get_all(name).iter().next_back().map(text)?;
    last.rsplit(',').next().map(str::trim)
}

/// The value of a parameter of an element of `Forwarded`, without quotes.
fn parameter<'h>(element: &'h str, name: &str) -> &'h str {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value.trim().trim_matches('"'))
}

/// An address, perhaps with a port: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn address_named(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(address, _)| address);
    let bare = bracketed.unwrap_or(text);
    let without_port = || bare.rsplit_once(':').map(|(address, _)| address);
    let address: Option<IpAddr> = bare.parse().ok();
    address
        .or_else(|| without_port()?.parse().ok().filter(IpAddr::is_ipv4))
        .map(|address| address.to_canonical())
}

fn scheme_named(text: &str) -> Option<Scheme> {
    match text {
        _ if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") => {
            Some(Scheme::Https)
        }
        _ if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") => {
            Some(Scheme::Http)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an app gets, by header.
    fn written(
        peer: &str,
        proxies: &str,
        lines: &[(&'static str, String)],
        believes_host: bool,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let info = ConnectionInfo::new(peer.parse().unwrap(), Scheme::Http, 80);
        let proxies: TrustedProxies = proxies.parse().unwrap();
        let forwarding = Forwarding::new(&info, &proxies);
        let mut out = Vec::new();
        forwarding.write(&mut out, &headers, b"shop.example", &proxies, believes_host);
        let mut map = HeaderMap::new();
        for line in String::from_utf8(out).unwrap().lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            assert!(map.insert(name, value.parse().unwrap()).is_none());
        }
        map
    }

    fn one(name: &'static str, value: &str) -> (&'static str, String) {
        (name, value.to_owned())
    }

    const LIES: [(&str, &str); 4] = [
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6;proto=https;host=evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("fly-client-ip", "6.6.6.6"),
    ];

    fn lies() -> Vec<(&'static str, String)> {
        LIES.iter().map(|(name, value)| one(name, value)).collect()
    }

    #[test]
    fn a_client_that_connects_itself_is_what_it_is() {
        let mut lines = lies();
        lines.push(one("x-forwarded-for", "10.0.0.1"));
        lines.push(one("x-forwarded-proto", "https"));
        for proxies in ["private", "none", "fly,cloudflare,gcp,aws,kamal"] {
            let map = written("203.0.113.9:1", proxies, &lines, true);
            assert_eq!(map["x-forwarded-for"], "203.0.113.9");
            assert_eq!(map["x-real-ip"], "203.0.113.9");
            assert_eq!(map["x-forwarded-proto"], "http");
            assert_eq!(map["x-forwarded-host"], "shop.example");
            let expected = "for=203.0.113.9;proto=http;host=shop.example";
            assert_eq!(map["forwarded"], expected);
        }
    }

    #[test]
    fn the_nearest_address_that_is_not_trusted_is_the_client() {
        let v6 = "2001:db8::7";
        for (proxies, peer, chain, client, kept) in [
            (
                "private",
                "127.0.0.1:1",
                "6.6.6.6, 203.0.113.9",
                "203.0.113.9",
                "203.0.113.9, 127.0.0.1",
            ),
            (
                "private",
                "[::ffff:172.16.0.2]:1",
                "203.0.113.9",
                "203.0.113.9",
                "203.0.113.9, 172.16.0.2",
            ),
            (
                "private",
                "10.0.0.1:1",
                "6.6.6.6, 203.0.113.9, 10.0.0.2",
                "203.0.113.9",
                "203.0.113.9, 10.0.0.2, 10.0.0.1",
            ),
            (
                "private",
                "10.0.0.1:1",
                "10.0.0.3, 10.0.0.2",
                "10.0.0.3",
                "10.0.0.3, 10.0.0.2, 10.0.0.1",
            ),
            (
                "private",
                "10.0.0.1:1",
                "203.0.113.9, unknown",
                "10.0.0.1",
                "10.0.0.1",
            ),
            ("private", "10.0.0.1:1", "", "10.0.0.1", "10.0.0.1"),
            (
                "private",
                "10.0.0.1:1",
                "203.0.113.9:55",
                "203.0.113.9",
                "203.0.113.9, 10.0.0.1",
            ),
            (
                "private",
                "10.0.0.1:1",
                "[2001:db8::7]:55",
                v6,
                "2001:db8::7, 10.0.0.1",
            ),
            (
                "192.0.2.0/24",
                "192.0.2.1:1",
                "6.6.6.6, 10.0.0.1",
                "10.0.0.1",
                "10.0.0.1, 192.0.2.1",
            ),
            (
                "192.0.2.1",
                "192.0.2.2:1",
                "6.6.6.6",
                "192.0.2.2",
                "192.0.2.2",
            ),
            (
                "cloudflare,private",
                "10.0.0.1:1",
                "6.6.6.6, 203.0.113.9, 172.70.1.1",
                "203.0.113.9",
                "203.0.113.9, 172.70.1.1, 10.0.0.1",
            ),
            (
                "gcp",
                "35.191.0.1:1",
                "6.6.6.6, 203.0.113.9, 34.1.1.1",
                "203.0.113.9",
                "203.0.113.9, 35.191.0.1",
            ),
            (
                "all",
                "198.51.100.1:1",
                "6.6.6.6, 203.0.113.9",
                "203.0.113.9",
                "203.0.113.9, 198.51.100.1",
            ),
            (
                "none",
                "127.0.0.1:1",
                "203.0.113.9",
                "127.0.0.1",
                "127.0.0.1",
            ),
        ] {
            let map = written(peer, proxies, &[one("x-forwarded-for", chain)], false);
            assert_eq!(map["x-real-ip"], client, "{proxies}: {chain}");
            assert_eq!(map["x-forwarded-for"], kept, "{proxies}: {chain}");
        }
    }

    #[test]
    fn fly_names_the_client_in_a_header_of_its_own() {
        let lines = [
            one("fly-client-ip", "203.0.113.9"),
            one("x-forwarded-for", "6.6.6.6, 203.0.113.9, 66.241.1.1"),
            one("x-forwarded-proto", "https"),
        ];
        let map = written("172.16.3.4:1", "fly", &lines, false);
        assert_eq!(map["x-real-ip"], "203.0.113.9");
        assert_eq!(map["x-forwarded-for"], "203.0.113.9, 172.16.3.4");
        assert_eq!(
            map["forwarded"],
            "for=203.0.113.9;proto=https;host=shop.example, for=172.16.3.4"
        );
        // Cloudflare before Fly.
        let lines = [
            one("fly-client-ip", "172.70.1.1"),
            one(
                "x-forwarded-for",
                "6.6.6.6, 203.0.113.9, 172.70.1.1, 66.241.1.1",
            ),
        ];
        let map = written("172.16.3.4:1", "fly,cloudflare", &lines, false);
        assert_eq!(
            map["x-forwarded-for"],
            "203.0.113.9, 172.70.1.1, 172.16.3.4"
        );
        let map = written("172.16.3.4:1", "fly", &lines, false);
        assert_eq!(map["x-real-ip"], "172.70.1.1");
    }

    #[test]
    fn a_proxy_that_writes_forwarded_is_understood() {
        let forwarded = "for=6.6.6.6, for=\"[2001:db8::7]:4711\";proto=https;host=x";
        let map = written(
            "127.0.0.1:1",
            "private",
            &[one("forwarded", forwarded)],
            false,
        );
        assert_eq!(map["x-real-ip"], "2001:db8::7");
        assert_eq!(map["x-forwarded-proto"], "https");
        let expected = "for=\"[2001:db8::7]\";proto=https;host=shop.example, for=127.0.0.1";
        assert_eq!(map["forwarded"], expected);
    }

    #[test]
    fn the_host_of_a_proxy_is_believed_only_if_asked_for() {
        let lines = [one("x-forwarded-host", "a.example, b.example:8080")];
        let map = written("127.0.0.1:1", "private", &lines, false);
        assert_eq!(map["x-forwarded-host"], "shop.example");
        let map = written("127.0.0.1:1", "private", &lines, true);
        assert_eq!(map["x-forwarded-host"], "b.example:8080");
        let expected = "for=127.0.0.1;proto=http;host=\"b.example:8080\"";
        assert_eq!(map["forwarded"], expected);
        let evil = [one("x-forwarded-host", "a\";for=1.1.1.1")];
        let map = written("127.0.0.1:1", "private", &evil, true);
        assert_eq!(map["x-forwarded-host"], "shop.example");
    }

    #[test]
    fn unknown_proxies_are_named() {
        for wrong in ["heroku", "10.0.0.0/33", "10.0.0", "", "private,,all"] {
            let error = wrong.parse::<TrustedProxies>().unwrap_err().to_string();
            assert!(error.contains("names no proxy: use an address"), "{error}");
        }
    }

    proptest! {
        /// Whatever a client says through a proxy that appends to
        /// `X-Forwarded-For`, all headers name the address that the proxy saw.
        #[test]
        fn a_client_cannot_choose_its_address(
            claimed in "[0-9a-z.:, ]{0,30}",
            forwarded in "[0-9a-z.:,;= ]{0,30}",
            real in "[0-9.]{0,15}",
            proxies in prop::sample::select(vec!["private", "aws", "kamal", "all,private", "10.0.0.1", "cloudflare,10.0.0.0/8"]),
        ) {
            let appended = match claimed.is_empty() {
                true => "203.0.113.9".to_owned(),
                false => format!("{claimed}, 203.0.113.9"),
            };
            let lines = [
                ("x-forwarded-for", appended),
                ("forwarded", forwarded),
                ("x-real-ip", real),
            ];
            let map = written("10.0.0.1:1", proxies, &lines, false);
            prop_assert_eq!(&map["x-real-ip"], "203.0.113.9");
            prop_assert_eq!(&map["x-forwarded-for"], "203.0.113.9, 10.0.0.1");
            prop_assert_eq!(
                &map["forwarded"],
                "for=203.0.113.9;proto=http;host=shop.example, for=10.0.0.1"
            );
        }
    }
}
