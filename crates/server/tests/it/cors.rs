use synckit_testkit::ServerProcess;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::memory_server_command;

/// The head of the answer, in lower case.
async fn head(server: &ServerProcess, method: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.expect("connect");
    let request =
        format!("{method} /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split("\r\n\r\n").next().expect("a head").to_ascii_lowercase()
}

const PREFLIGHT: &str = "Access-Control-Request-Method: GET\r\n";

#[tokio::test]
async fn pages_of_listed_origins_read_the_answers_and_no_others_do() {
    let setting = "cors.origin=https://a.example,http://b:3000";
    let server = memory_server_command(&[setting]).start().await;
    for method in ["GET", "OPTIONS"] {
        for (origin, allowed) in [
            ("https://a.example", Some("https://a.example")),
            ("HTTP://B:3000", Some("http://b:3000")),
            ("https://a.example.org", None),
            ("null", None),
        ] {
            let head = head(&server, method, &format!("Origin: {origin}\r\n{PREFLIGHT}")).await;
            let shown =
                head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
            assert_eq!(shown, allowed, "{method} from {origin}: {head}");
            let status = head.split(' ').nth(1).unwrap_or_default();
            assert!(status.starts_with('2'), "{head}");
            assert!(head.contains("vary: origin"), "caches tell origins apart: {head}");
            let methods = head.contains("access-control-allow-methods: get,head");
            assert_eq!(methods, method == "OPTIONS", "{head}");
            assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        }
    }
}

#[tokio::test]
async fn by_default_pages_of_any_origin_read_the_answers() {
    let server = memory_server_command(&[]).start().await;
    for (method, headers) in
        [("GET", ""), ("GET", "Origin: null\r\n"), ("OPTIONS", "Origin: https://a.example\r\n")]
    {
        let head = head(&server, method, headers).await;
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
}
