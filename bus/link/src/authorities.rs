use std::{
    fs,
    path::{Path, PathBuf},
};

use ratebus_sdk::{Error, ErrorKind};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Certificate authorities that a broker with TLS proves itself by, instead of the public ones.
#[derive(Debug, Clone)]
pub struct Authorities {
    pub(crate) path: PathBuf,
    pub(crate) pem: Vec<u8>,
}

impl Authorities {
    /// From a file of certificates in PEM form (RFC 7468).
    ///
    /// # Errors
    /// `Config` if the file cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let fault = |why: String| Error::new(ErrorKind::Config, format!("{}: {why}", path.display()));
        let pem = fs::read(path).map_err(|error| fault(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fault("holds no certificate in PEM form".to_owned()));
        }
        Ok(Self { path: path.to_owned(), pem })
    }
}
