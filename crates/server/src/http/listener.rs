//! Accepts connections and has them served until the server takes no more in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a connection could not be accepted for want of file handles or memory: some other
/// one has to end first.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long a request that is being answered when the server stops may still take. All answers are
/// small, and the slowest asks the store for two seconds.
const LAST_ANSWER_WITHIN: Duration = Duration::from_millis(2_500);

/// An address that is listened on.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    /// Accept no more.
    pub(crate) intake: CancellationToken,
    /// Where connections are served.
    pub(crate) tasks: TaskTracker,
}

impl Listener {
    /// Accepts until the intake ends.
    pub(crate) async fn run(&self) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = self.intake.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(error = %error, "TCP_NODELAY is not set");
                    }
                    let (router, intake) = (self.router.clone(), self.intake.clone());
                    self.tasks.spawn(Box::pin(serve(stream, peer, router, intake)));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(error = %error, "accepting a connection failed");
                    self.intake.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers the requests of one connection. When the intake ends, only a request that has come whole
/// is still answered: who sent half of one, or none, may take any time for the rest.
async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, intake: CancellationToken) {
    let is_answering = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&is_answering);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        answering.store(true, Ordering::Relaxed);
        let (answer, answering) = (router.call(request), Arc::clone(&answering));
        async move {
            let answer = answer.await;
            answering.store(false, Ordering::Relaxed);
            answer
        }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served.with_upgrades());
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = intake.cancelled() => {
            if !is_answering.load(Ordering::Relaxed) {
                return;
            }
            served.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_WITHIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %error, "an HTTP connection failed");
    }
}
