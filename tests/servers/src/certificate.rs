use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Writes a certificate for `localhost` into a folder, and the authority that signed it: `cert.pem`, `key.pem`, `ca.pem`.
pub(crate) fn write(folder: &Path) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = own.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [("ca", ca_certificate.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())] {
        fs::write(folder.join(name).with_extension("pem"), text).expect("a file");
    }
    let private = PermissionsExt::from_mode(0o600);
    fs::set_permissions(folder.join("key.pem"), private).expect("a private key");
}
