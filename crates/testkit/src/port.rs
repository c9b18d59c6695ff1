//! Ports of the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

/// A loopback port nobody listened on a moment ago.
///
/// Another process may take it before the caller binds it: prefer port 0 where the program under test
/// can report the port it got, and retry where it cannot.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .expect("the loopback interface has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
