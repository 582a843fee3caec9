//! Everybody comes back at once.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    client::{Client, TRANSPORTS, Transport},
    launch,
    market::{Market, State},
    number,
    seen::Seen,
    start,
};
use crate::harness::eventually;

/// For very many, on a slow machine.
const DEADLINE: Duration = Duration::from_mins(5);
/// Those that a client of so many would use: nobody polls where there are sockets.
const SOCKETS: [Transport; 3] = [TRANSPORTS[0], TRANSPORTS[1], TRANSPORTS[2]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_all_are_back_at_once_on_the_current_prices() {
    let clients = number("RATEBUS_CROWD_CLIENTS", 300);
    let mut market = Market::open().await;
    let launch = launch(&market, clients).await;
    let (ratebus, address) = start(&launch).await;
    let crowd = Crowd::come(clients, address, market.states()).await;
    ratebus.kill().await;
    crowd.gone().await;

    // Nobody tells it of these: it finds them when it is back.
    market.tick();
    let (ratebus, address) = start(&launch).await;
    let began = Instant::now();
    let mut crowd = Crowd::come(clients, address, market.states()).await;
    println!("{clients} clients were back on the current prices after {:?}", began.elapsed());
    // Who gave up an attempt, and came again, may still be counted twice.
    eventually("as many to be there as came", async || {
        (ratebus.metric("ratebus_clients").await == clients as u64).then_some(())
    })
    .await;
    assert_eq!(ratebus.metric("ratebus_clients_refused_total").await, 0);

    let began = Instant::now();
    crowd.want(market.states().map(|state| State { tick: state.tick + 1, ..state }));
    market.tick();
    crowd.all().await;
    println!("and all had the next price after {:?}", began.elapsed());
}

/// Clients that stay until the server ends.
struct Crowd {
    clients: JoinSet<()>,
    wanted: watch::Sender<[State; 2]>,
    /// A permit of each client whose prices are made from what is wanted.
    have: Arc<Semaphore>,
}

impl Crowd {
    /// All connect at once; waits until they have the prices made from this.
    async fn come(number: usize, address: SocketAddr, states: [State; 2]) -> Self {
        let (wanted, have) = (watch::Sender::new(states), Arc::new(Semaphore::new(0)));
        let mut clients = JoinSet::new();
        for index in 0..number {
            clients.spawn(stay(address, SOCKETS[index % SOCKETS.len()], wanted.subscribe(), have.clone()));
        }
        let mut crowd = Self { clients, wanted, have };
        crowd.all().await;
        crowd
    }

    /// From now on the prices made from this.
    fn want(&self, states: [State; 2]) {
        self.wanted.send_replace(states);
    }

    /// Waits until all have what is wanted.
    async fn all(&mut self) {
        let number = u32::try_from(self.clients.len()).unwrap();
        tokio::select! {
            permits = timeout(DEADLINE, self.have.acquire_many(number)) => {
                let permits = permits.unwrap_or_else(|_| panic!("{} of {number} have it", self.have.available_permits()));
                permits.unwrap().forget();
            }
            Some(ended) = self.clients.join_next() => panic!("a client was sent away: {ended:?}"),
        }
    }

    /// Waits until the server has ended all connections.
    async fn gone(self) {
        timeout(DEADLINE, self.clients.join_all()).await.expect("all notice");
    }
}

async fn stay(address: SocketAddr, transport: Transport, wanted: watch::Receiver<[State; 2]>, have: Arc<Semaphore>) {
    let mut client = Client::connect(address, transport, None).await.unwrap();
    let (mut seen, mut had) = (Seen::default(), None);
    while let Some(told) = client.next().await {
        seen.take(&told);
        let wanted = *wanted.borrow();
        if had != Some(wanted) && seen.is(&wanted) {
            had = Some(wanted);
            have.add_permits(1);
        }
    }
}
