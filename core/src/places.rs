use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::Gauge;
use ratebus_sdk::network;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use crate::seated::Seated;

/// How many connections each address has on a listener.
pub(crate) struct Places {
    per_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    open: Gauge,
}

/// One connection's place among all, and among those of its address.
pub(crate) struct Place {
    places: Arc<Places>,
    /// Whose place it is; nobody's in particular for a trusted proxy.
    network: Option<IpAddr>,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    /// At most `per_address` for each.
    pub(crate) fn new(listener: &str, per_address: usize) -> Arc<Self> {
        let open = metrics::gauge!("ratebus_open_connections", "listener" => listener.to_owned());
        Arc::new(Self { per_address, taken: Mutex::default(), open })
    }

    /// `stream` with a place, which it gives back when it is closed, whoever has it then; or `stream` alone when `address`
    /// has all the connections that it may have. `None` has no limit of its own.
    pub(crate) fn seat(
        self: &Arc<Self>,
        stream: TcpStream,
        address: Option<IpAddr>,
        of_all: OwnedSemaphorePermit,
    ) -> Result<Seated, TcpStream> {
        let network = address.map(network);
        if let Some(network) = network {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.entry(network).or_default();
            if *taken >= self.per_address {
                return Err(stream);
            }
            *taken += 1;
        }
        self.open.increment(1);
        Ok(Seated::new(stream, Place { places: Arc::clone(self), network, _of_all: of_all }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.decrement(1);
        let Some(network) = self.network else { return };
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}
