use std::{sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use ratebus_sdk::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::policy::HashCost;

/// How many passwords wait for their turn, at about 25 ms each with the default cost.
const QUEUE: usize = 32;
/// How long one waits for it, should each take longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Computes Argon2id hashes (version 19), a few at a time and off the async threads: each takes 19 MiB and tens of
/// milliseconds, or more by the config. Those that wait take no memory yet.
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    /// One for each hash being computed.
    turns: Arc<Semaphore>,
    /// One for each hash computed or waiting.
    places: Arc<Semaphore>,
    /// What is compared against where there is no account, so that this takes the same time.
    nobody: String,
}

/// A turn to compute hashes. While it is held, there is one fewer for others.
pub(crate) struct Turn<'a> {
    hasher: &'a Hasher,
    /// Of a turn and of a place.
    permits: Arc<[OwnedSemaphorePermit; 2]>,
}

/// The queue is full: try again in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub(crate) struct Busy;

impl Hasher {
    pub(crate) fn new(cost: HashCost) -> Result<Self, Error> {
        Self::with_turns(cost, turns(available_parallelism().map_or(1, usize::from)), QUEUE)
    }

    fn with_turns(cost: HashCost, parallel: usize, queue: usize) -> Result<Self, Error> {
        let internal = |message| Error::new(ErrorKind::Internal, message);
        let params = Params::new(cost.memory_kib, cost.iterations, cost.lanes, None)
            .map_err(|error| internal("the parameters of Argon2 are invalid").because(error))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, b"nobody").ok_or_else(|| internal("cannot hash a password"))?;
        let (turns, places) = (Arc::new(Semaphore::new(parallel)), Arc::new(Semaphore::new(parallel + queue)));
        Ok(Self { argon2, turns, places, nobody })
    }

    /// Waits for a turn to compute hashes, one after the other. Who counts attempts takes it before: while the hasher is
    /// busy nothing is written, and a flood of logins does not queue for the writer that changes of spreads need.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Busy> {
        let busy = || {
            metrics::counter!("ratebus_passwords_refused_total").increment(1);
            Busy
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await.map_err(|_| busy())?;
        Ok(Turn { hasher: self, permits: Arc::new([turn.map_err(|_| busy())?, place]) })
    }

    /// As [`Turn::hash`], in a turn of its own.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<String, Busy> {
        self.turn().await?.hash(password).await
    }

    /// Whether `hash` was made with other parameters than new ones are.
    pub(crate) fn is_outdated(&self, hash: &str) -> bool {
        let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
        let ours = self.argon2.params();
        let of = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        params.is_none_or(|params| of(&params) != of(ours))
    }

    /// Takes every place, so that nobody else gets one.
    #[cfg(test)]
    pub(super) fn occupy(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(self.places.available_permits()).unwrap();
        Arc::clone(&self.places).try_acquire_many_owned(all).unwrap()
    }
}

impl Turn<'_> {
    /// The hash of `password` with a new salt, as a PHC string.
    pub(crate) async fn hash(&mut self, password: SecretString) -> Result<String, Busy> {
        let argon2 = self.hasher.argon2.clone();
        self.run(move || hash(&argon2, password.expose_secret().as_bytes())).await?.ok_or(Busy)
    }

    /// Whether `password` is the one of `hash`; never for no hash, which takes as long.
    pub(crate) async fn verify(&mut self, password: SecretString, hash: Option<&str>) -> Result<bool, Busy> {
        let (known, hash) = (hash.is_some(), hash.unwrap_or(&self.hasher.nobody).to_owned());
        let argon2 = self.hasher.argon2.clone();
        let matches = move || {
            let hash = PasswordHash::new(&hash).ok()?;
            Some(argon2.verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
        };
        Ok(self.run(matches).await?.unwrap_or(false) && known)
    }

    async fn run<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        metrics::counter!("ratebus_password_hashes_total").increment(1);
        // The permits go with the work: a client that goes away does not make room for more of it.
        let permits = Arc::clone(&self.permits);
        let held = move || {
            let done = work();
            drop(permits);
            done
        };
        spawn_blocking(held).await.map_err(|_| Busy)
    }
}

/// How many hashes are computed at once: one core stays for the rates.
fn turns(cores: usize) -> usize {
    cores.saturating_sub(1).max(1)
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> Option<String> {
    argon2.hash_password(password).ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    impl Hasher {
        async fn verify(&self, password: SecretString, hash: Option<&str>) -> Result<bool, Busy> {
            self.turn().await?.verify(password, hash).await
        }

        async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
            self.turn().await?.run(work).await
        }
    }

    #[tokio::test]
    async fn only_the_password_itself_is_accepted() {
        let hasher = Hasher::new(HashCost::default()).unwrap();
        let hash = hasher.hash("correct horse".into()).await.unwrap();
        let (head, salt) = hash.split_at("$argon2id$v=19$m=19456,t=2,p=1$".len());
        assert_eq!(head, "$argon2id$v=19$m=19456,t=2,p=1$");
        // 16 random bytes in base64, without padding.
        assert_eq!(salt.split('$').next().map(str::len), Some(22), "{hash}");
        assert_ne!(hasher.hash("correct horse".into()).await.unwrap(), hash);
        assert_eq!(hasher.verify("correct horse".into(), Some(&hash)).await, Ok(true));
        assert_eq!(hasher.verify("correct horsf".into(), Some(&hash)).await, Ok(false));
        assert_eq!(hasher.verify("nobody".into(), None).await, Ok(false));
        assert_eq!(hasher.verify("anything".into(), Some("no hash")).await, Ok(false));
    }

    #[tokio::test]
    async fn the_cost_is_that_of_the_config_and_other_hashes_are_outdated() {
        let weak = Hasher::new(HashCost::default()).unwrap();
        let cost = HashCost { memory_kib: 20_000, iterations: 3, lanes: 4 };
        let strong = Hasher::new(cost).unwrap();
        let (old, new) = (weak.hash("correct horse".into()).await, strong.hash("correct horse".into()).await);
        let (old, new) = (old.unwrap(), new.unwrap());
        assert!(new.starts_with("$argon2id$v=19$m=20000,t=3,p=4$"), "{new}");
        assert!(strong.is_outdated(&old) && !strong.is_outdated(&new) && weak.is_outdated(&new));
        assert_eq!(strong.verify("correct horse".into(), Some(&old)).await, Ok(true));
        // What takes the place of a missing hash costs the same.
        assert!(!strong.is_outdated(&strong.nobody));
    }

    #[test]
    fn one_core_stays_for_the_rates() {
        assert_eq!([1, 2, 3, 8].map(turns), [1, 1, 2, 7]);
        let hasher = Hasher::new(HashCost::default()).unwrap();
        let permits = available_parallelism().unwrap().get().max(2) - 1;
        assert_eq!(hasher.turns.available_permits(), permits);
        assert_eq!(hasher.places.available_permits(), permits + QUEUE);
    }

    /// So two hundred logins at once take the memory of as many hashes as there are turns, and no more.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_hashes_at_once_than_turns() {
        let hasher = Arc::new(Hasher::with_turns(HashCost::default(), 3, 200).unwrap());
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..200).map(|_| {
            let (hasher, running, most) = (Arc::clone(&hasher), Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, SeqCst);
                };
                hasher.run(work).await
            })
        });
        for done in tasks.collect::<Vec<_>>() {
            assert_eq!(done.await.unwrap(), Ok(()));
        }
        assert!((1..=3).contains(&most.load(SeqCst)), "{most:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_turn() {
        let hasher = Hasher::with_turns(HashCost::default(), 1, 1).unwrap();
        let _turn = hasher.turns.acquire().await.unwrap();
        let asked = tokio::time::Instant::now();
        assert_eq!(hasher.run(|| true).await, Err(Busy));
        assert_eq!(asked.elapsed(), PATIENCE);
        assert_eq!(hasher.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_refused() {
        let hasher = Arc::new(Hasher::with_turns(HashCost::default(), 1, 1).unwrap());
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let hasher = Arc::clone(&hasher);
            async move { hasher.run(move || wait.recv().is_ok()).await }
        });
        let waiting = tokio::spawn({
            let hasher = Arc::clone(&hasher);
            async move { hasher.run(|| true).await }
        });
        while hasher.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.run(|| true).await, Err(Busy));
        // Where there is no account a hash is computed all the same, so this waits for its turn too.
        assert_eq!(hasher.verify("password".into(), None).await, Err(Busy));
        release.send(()).unwrap();
        assert_eq!((running.await.unwrap(), waiting.await.unwrap()), (Ok(true), Ok(true)));
        assert_eq!(hasher.run(|| true).await, Ok(true));
    }
}
