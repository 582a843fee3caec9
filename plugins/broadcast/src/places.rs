//! How many clients there may be.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An address may come as often in this time as it may have clients at once: all of them can return together, and nobody
/// can come and go without end.
const WINDOW: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// The places for clients: so many in total, and so many for one address.
#[derive(Debug)]
pub(crate) struct Places {
    total: Arc<Semaphore>,
    max: u32,
    max_per_address: u32,
    max_per_second: u32,
    addresses: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    /// Those that have a client, or had one lately.
    known: HashMap<IpAddr, Address>,
    swept: Option<Instant>,
    /// Those who were let in within the second that began then.
    came: u32,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Address {
    clients: u32,
    /// How many came since then.
    came: u32,
    since: Instant,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many clients as are allowed are connected.
    Total,
    /// As many of this address.
    Address,
    /// This address comes too often.
    TooOften,
    /// Too many come at once, whoever they are.
    TooFast,
}

impl Full {
    /// In a sentence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "As many clients as are allowed are connected.",
            Self::Address => "As many clients as one address may have are connected.",
            Self::TooOften => "Too many clients came from this address.",
            Self::TooFast => "Too many clients come at once.",
        }
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
    _total: OwnedSemaphorePermit,
}

impl Places {
    /// For at most so many clients, so many of one address, and so many who come within a second.
    pub(crate) fn new(max: u32, max_per_address: u32, max_per_second: u32) -> Arc<Self> {
        let total = Arc::new(Semaphore::new(max as usize));
        Arc::new(Self { total, max, max_per_address, max_per_second, addresses: Mutex::default() })
    }

    /// A place for a client of `address`; one whose address is unknown counts in total only.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Result<Place, Full> {
        let total = Arc::clone(&self.total).try_acquire_owned().map_err(|_| Full::Total)?;
        let mut addresses = self.addresses();
        addresses.begin_second(now);
        if addresses.came >= self.max_per_second {
            return Err(Full::TooFast);
        }
        if let Some(address) = address {
            addresses.enter(address, self.max_per_address, now)?;
        }
        // Only of those who are let in: who is refused takes nothing from the others.
        addresses.came += 1;
        drop(addresses);
        Ok(Place { places: Arc::clone(self), address, _total: total })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        (self.max as usize).saturating_sub(self.total.available_permits())
    }

    /// Resolves when the last client is gone.
    pub(crate) async fn empty(&self) {
        // An error means that the semaphore is closed, which it never is.
        let _all = self.total.acquire_many(self.max).await;
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    /// Counts anew when the second is over.
    fn begin_second(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (self.came, self.since) = (0, Some(now));
        }
    }

    fn enter(&mut self, address: IpAddr, max: u32, now: Instant) -> Result<(), Full> {
        self.sweep(now);
        let known = self.known.entry(address).or_insert(Address { clients: 0, came: 0, since: now });
        if known.is_past(now) {
            (known.came, known.since) = (0, now);
        }
        if known.clients >= max {
            return Err(Full::Address);
        }
        if known.came >= max {
            return Err(Full::TooOften);
        }
        known.clients += 1;
        known.came += 1;
        Ok(())
    }

    /// Forgets who has not been here for long.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= WINDOW) {
            self.swept = Some(now);
            self.known.retain(|_, address| address.clients > 0 || !address.is_past(now));
        }
    }
}

impl Address {
    fn is_past(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(address) = self.address
            && let Some(known) = self.places.addresses().known.get_mut(&address)
        {
            known.clients -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn there_are_so_many_in_total_and_of_one_address() {
        let (places, now) = (Places::new(3, 2, 99), Instant::now());
        let (here, there) = (Some(address("192.0.2.1")), Some(address("2001:db8::")));
        let _first = places.take(here, now).unwrap();
        let _second = places.take(here, now).unwrap();
        assert_eq!(places.take(here, now).unwrap_err(), Full::Address);
        let third = places.take(there, now).unwrap();
        assert_eq!(places.take(None, now).unwrap_err(), Full::Total);
        drop(third);
        places.take(None, now).unwrap();
    }

    #[test]
    fn so_many_come_in_a_second() {
        let (places, start) = (Places::new(10, 1, 2), Instant::now());
        let one = Some(address("192.0.2.1"));
        let _one = places.take(one, start).unwrap();
        assert_eq!(places.take(one, start).unwrap_err(), Full::Address);
        let _other = places.take(None, start).unwrap();
        assert_eq!(places.take(None, start + SECOND / 2).unwrap_err(), Full::TooFast);
        drop(places.take(None, start + SECOND).unwrap());
        assert_eq!(places.total.available_permits(), 8);
    }

    #[test]
    fn an_address_cannot_come_and_go_without_end() {
        let (places, start) = (Places::new(10, 2, 99), Instant::now());
        let ip = address("192.0.2.1");
        let here = Some(ip);
        drop(places.take(here, start).unwrap());
        let stays = places.take(here, start).unwrap();
        assert_eq!(places.take(here, start + WINDOW / 2).unwrap_err(), Full::TooOften);
        drop(places.take(here, start + WINDOW).unwrap());
        drop(stays);
        // Nothing is remembered of who is gone.
        drop(places.take(Some(address("192.0.2.2")), start + 2 * WINDOW).unwrap());
        assert!(!places.addresses().known.contains_key(&ip));
        assert_eq!(places.total.available_permits(), 10);
    }
}
