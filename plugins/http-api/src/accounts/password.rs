use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use ratebus_sdk::{Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// How many passwords wait for their turn, at about 25 ms each.
const QUEUE: usize = 32;

/// Computes Argon2id hashes, a few at a time and off the async threads: each takes 19 MiB and tens of milliseconds.
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    /// One for each hash being computed.
    turns: Arc<Semaphore>,
    /// One for each hash computed or waiting.
    places: Arc<Semaphore>,
    /// What is compared against where there is no account, so that this takes the same time.
    nobody: String,
}

/// The queue is full: try again in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub(crate) struct Busy;

impl Hasher {
    /// The first choice of the OWASP password storage cheat sheet for Argon2id (version 19): 19 MiB, 2 passes, 1 lane.
    pub(crate) fn new() -> Result<Self, Error> {
        let parallel = std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        Self::with_turns(parallel, QUEUE)
    }

    fn with_turns(parallel: usize, queue: usize) -> Result<Self, Error> {
        let internal = |message| Error::new(ErrorKind::Internal, message);
        let params = Params::new(19 * 1024, 2, 1, None)
            .map_err(|error| internal("the parameters of Argon2 are invalid").because(error))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, b"nobody").ok_or_else(|| internal("cannot hash a password"))?;
        let (turns, places) = (Arc::new(Semaphore::new(parallel)), Arc::new(Semaphore::new(parallel + queue)));
        Ok(Self { argon2, turns, places, nobody })
    }

    /// The hash of `password` with a new salt, as a PHC string.
    pub(crate) async fn hash(&self, password: SecretString) -> Result<String, Busy> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, password.expose_secret().as_bytes())).await?.ok_or(Busy)
    }

    /// Whether `password` is the one of `hash`; never for no hash, which takes as long.
    pub(crate) async fn verify(&self, password: SecretString, hash: Option<&str>) -> Result<bool, Busy> {
        let (known, hash) = (hash.is_some(), hash.unwrap_or(&self.nobody).to_owned());
        let argon2 = self.argon2.clone();
        let matches = move || {
            let hash = PasswordHash::new(&hash).ok()?;
            Some(argon2.verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
        };
        Ok(self.run(matches).await?.unwrap_or(false) && known)
    }

    /// Whether `hash` was made with other parameters than new ones are.
    pub(crate) fn is_outdated(&self, hash: &str) -> bool {
        let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
        let ours = self.argon2.params();
        let of = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        params.is_none_or(|params| of(&params) != of(ours))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            metrics::counter!("ratebus_passwords_refused_total").increment(1);
            Busy
        })?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Busy)?;
        metrics::counter!("ratebus_password_hashes_total").increment(1);
        // The permits go with the work: a client that goes away does not make room for more of it.
        let held = move || {
            let done = work();
            drop((turn, place));
            done
        };
        spawn_blocking(held).await.map_err(|_| Busy)
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> Option<String> {
    argon2.hash_password(password).ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_is_accepted() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(hasher.verify("correct horse".into(), Some(&hash)).await, Ok(true));
        assert_eq!(hasher.verify("correct horsf".into(), Some(&hash)).await, Ok(false));
        assert_eq!(hasher.verify("nobody".into(), None).await, Ok(false));
        assert_eq!(hasher.verify("anything".into(), Some("no hash")).await, Ok(false));
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_refused() {
        let hasher = Arc::new(Hasher::with_turns(1, 1).unwrap());
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
