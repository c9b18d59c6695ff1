//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts open connections.
#[derive(Debug)]
pub(crate) struct Admission {
    max: Option<NonZeroUsize>,
    max_per_ip: Option<NonZeroUsize>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The server holds as many as it may.
    Server,
    /// The address has as many as it may.
    Address,
}

/// A place for one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    ip: IpAddr,
}

impl Admission {
    pub(crate) fn new(max: Option<NonZeroUsize>, max_per_ip: Option<NonZeroUsize>) -> Self {
        Self { max, max_per_ip, open: Mutex::default() }
    }

    /// A place for a connection from `ip`, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Full> {
        let mut open = self.open.lock();
        if self.max.is_some_and(|max| open.total >= max.get()) {
            return Err(Full::Server);
        }
        let from_there = open.by_ip.entry(ip).or_default();
        if self.max_per_ip.is_some_and(|max| *from_there >= max.get()) {
            return Err(Full::Address);
        }
        *from_there += 1;
        open.total += 1;
        Ok(Admitted { admission: Arc::clone(self), ip })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.total -= 1;
        if let Some(from_there) = open.by_ip.get_mut(&self.ip) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let admission = Arc::new(Admission::new(NonZeroUsize::new(3), NonZeroUsize::new(2)));
        let [here, there] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
        let first = admission.admit(here).unwrap();
        let _second = admission.admit(here).unwrap();
        assert_eq!(admission.admit(here).unwrap_err(), Full::Address);
        let _third = admission.admit(there).unwrap();
        assert_eq!(admission.admit(there).unwrap_err(), Full::Server);
        drop(first);
        assert!(admission.admit(here).is_ok());
        assert_eq!(admission.open(), 2);
    }
}
