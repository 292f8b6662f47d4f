use http::{StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::tasks::Tasks;

/// Lets the tests' own server through.
const LOCAL: Rules = Rules { scheme: "http", has_port: |_| true, has_address: |ip| ip.is_loopback() };

fn client(rules: Rules) -> PublicClient {
    PublicClient::with_rules(rules).expect("a client")
}

/// Where every request is answered so, byte for byte.
async fn serve(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(Tasks::new().spawn_job(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4_096];
            // One read holds the head of a request without a body.
            let asked = stream.read(&mut head).await.is_ok() && stream.write_all(answer.as_bytes()).await.is_ok();
            assert!(asked, "the client went away");
        }
    }));
    format!("http://{address}")
}

/// An answer with this status line, head and body.
fn answer(status: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn only_the_public_internet_is_public() {
    let check = |expected: bool, addresses: &[&str]| {
        for address in addresses {
            assert_eq!(is_public(address.parse().expect(address)), expected, "{address}");
        }
    };
    // The first and the last of each range, and their neighbours.
    check(false, &["0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255"]);
    check(true, &["1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"]);
    check(false, &["127.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255"]);
    check(true, &["126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0"]);
    check(false, &["172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0", "192.0.2.255"]);
    check(true, &["172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0"]);
    check(false, &["192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255"]);
    check(true, &["192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"]);
    check(false, &["198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255"]);
    check(true, &["198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "8.8.8.8"]);
    check(false, &["224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255"]);
    check(true, &["223.255.255.255"]);

    check(false, &["::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8", "100::", "100::1"]);
    check(false, &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]);
    check(false, &["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8"]);
    check(true, &["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]);
    check(false, &["2001::", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1"]);
    check(false, &["2001:db8::", "2001:db8:ffff:ffff::1", "3fff::", "3fff:fff:ffff::1", "2002::", "2002:7f00:1::"]);
    check(true, &["2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1", "3fff:1000::1", "2003::1"]);
    check(false, &["1fff::1", "4000::1", "5f00::1", "fc00::", "fdff:ffff::1", "fe80::1", "febf::1", "fec0::1"]);
    check(false, &["ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
    check(true, &["2000::1", "2606:4700:4700::1111", "3ffe:ffff::1"]);
}

#[test]
fn no_spelling_of_an_address_gets_through() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "%31%32%37.0.0.1",
        "user@127.0.0.1",
        "example.com:pass@127.0.0.1",
        "0",
        "0.0.0.0",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
    ] {
        for scheme in ["https://", "HTTPS:\\\\", "\thttps:/"] {
            let refused = PUBLIC.check(&format!("{scheme}{host}/latest/meta-data"));
            assert!(matches!(refused, Err(GuardError::Address(_))), "{scheme}{host}: {refused:?}");
        }
    }
    assert!(PUBLIC.check("https://8.8.8.8/").is_ok());
    assert!(PUBLIC.check("https://[2606:4700:4700::1111]/").is_ok());
    assert!(PUBLIC.check("https://example.com:443/").is_ok());
}

#[test]
fn other_schemes_and_ports_are_refused() {
    for url in ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com:443/"] {
        assert!(matches!(PUBLIC.check(url), Err(GuardError::Scheme(_))), "{url}");
    }
    for url in ["https://example.com:80/", "https://example.com:6379/", "https://example.com:0/"] {
        assert!(matches!(PUBLIC.check(url), Err(GuardError::Port(_))), "{url}");
    }
    for url in ["", "example.com", "https://", "https://exa mple.com/", "https://1.2.3.4.5/"] {
        assert!(matches!(PUBLIC.check(url), Err(GuardError::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn a_name_of_a_local_address_is_refused_by_the_resolver() {
    let resolve = |rules: Rules| {
        let name: Name = "localhost".parse().expect("a name");
        GuardedResolver { has_address: rules.has_address }.resolve(name)
    };
    assert!(resolve(LOCAL).await.is_ok_and(|mut found| found.next().is_some()), "this machine knows the name");
    let refused = resolve(PUBLIC).await.map(Iterator::collect::<Vec<_>>).expect_err("it is no public address");
    assert!(refused.is::<NoPublicAddress>(), "{refused:?}");

    let client = client(PUBLIC);
    let refused = client.get("https://localhost/").await.unwrap_err();
    assert!(matches!(refused, GuardError::Host), "{refused:?}");
    // Whether the name with a dot resolves is the system's affair; it is not asked either way.
    let refused = client.get("https://localhost./").await.unwrap_err();
    assert!(matches!(&refused, GuardError::Host | GuardError::Exchange(_)), "{refused:?}");
}

#[tokio::test]
async fn a_server_behind_a_local_name_is_never_asked() {
    let url = serve(answer("200 OK", "", "secret")).await;
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(client(LOCAL).get(&by_name).await.expect("the test's own rules allow it").body(), "secret");
    let rules = Rules { has_address: is_public, ..LOCAL };
    assert!(matches!(client(rules).get(&by_name).await, Err(GuardError::Host)));
    assert!(matches!(client(rules).get(&url).await, Err(GuardError::Address(_))));
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let url = serve(answer("302 Found", "location: /inside\r\n", "")).await;
    let answer = client(LOCAL).get(&url).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()[header::LOCATION], "/inside");
    assert!(answer.body().is_empty());
}

#[tokio::test]
async fn an_answer_is_read_up_to_the_cap() {
    let most = serve(answer("200 OK", "", &"a".repeat(BODY_MAX))).await;
    let most = client(LOCAL).get(&most).await.expect("an answer");
    assert_eq!(most.body().len(), BODY_MAX);
    let more = serve(answer("200 OK", "", &"a".repeat(BODY_MAX + 1))).await;
    let more = client(LOCAL).get(&more).await.unwrap_err();
    assert!(matches!(more, GuardError::TooLarge { limit: BODY_MAX }), "{more:?}");
}
