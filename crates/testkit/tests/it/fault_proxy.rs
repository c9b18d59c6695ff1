use std::io::ErrorKind;
use std::time::Duration;

use synckit_testkit::FaultProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// A proxy before a service that says every byte again.
struct Echo {
    proxy: FaultProxy,
    /// What the service has heard, connection by connection.
    heard: tokio::sync::mpsc::Receiver<u8>,
    _service: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (tell, heard) = tokio::sync::mpsc::channel(100);
        let mut service = JoinSet::new();
        service.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Ok(byte) = stream.read_u8().await {
                    tell.send(byte).await.expect("the test still runs");
                    if stream.write_u8(byte).await.is_err() {
                        break;
                    }
                }
            }
        });
        Self { proxy: FaultProxy::start(address).await, heard, _service: service }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.expect("the proxy listens")
    }

    async fn heard(&mut self) -> u8 {
        let heard = timeout(Duration::from_secs(10), self.heard.recv()).await;
        heard.expect("heard in time").expect("the service still runs")
    }
}

#[tokio::test]
async fn lost_answers_stay_lost_and_requests_arrive() {
    let mut echo = Echo::start().await;
    let mut client = echo.connect().await;
    client.write_u8(1).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 1);

    echo.proxy.lose_answers();
    client.write_u8(2).await.unwrap();
    assert_eq!((echo.heard().await, echo.heard().await), (1, 2));
    echo.proxy.cut();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let mut again = echo.connect().await;
    again.write_u8(3).await.unwrap();
    assert_eq!(again.read_u8().await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_stalled_goes_on_when_it_is_healed_and_not_when_it_is_cut() {
    let mut echo = Echo::start().await;
    let mut client = echo.connect().await;
    echo.proxy.stall();
    client.write_u8(1).await.unwrap();
    let stalled = timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(stalled.is_err(), "{stalled:?}");
    echo.proxy.heal();
    assert_eq!(client.read_u8().await.unwrap(), 1);

    echo.proxy.stall();
    client.write_u8(2).await.unwrap();
    let stalled = timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(stalled.is_err(), "{stalled:?}");
    echo.proxy.cut();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    echo.connect().await.write_u8(3).await.unwrap();
    assert_eq!((echo.heard().await, echo.heard().await), (1, 3));
}

#[tokio::test]
async fn delayed_answers_come_late() {
    let echo = Echo::start().await;
    let mut client = echo.connect().await;
    let delay = Duration::from_millis(50);
    echo.proxy.delay_answers(delay);
    let sent = Instant::now();
    client.write_u8(1).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 1);
    assert!(sent.elapsed() >= delay);
}
