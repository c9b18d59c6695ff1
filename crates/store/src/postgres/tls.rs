//! TLS to the database: what each mode promises, and the certificates that it takes.
//!
//! Nothing here connects. Files are read once, when the connector is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;

/// How a connection is encrypted and whom it trusts; the modes of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only if the server takes nothing else. Nobody's identity is verified.
    Allow,
    /// Encrypted if the server can. Nobody's identity is verified.
    #[default]
    Prefer,
    /// Encrypted, but with whoever answers.
    Require,
    /// Encrypted, with a server whose certificate goes back to a trusted one.
    VerifyCa,
    /// As `VerifyCa`, and the certificate is for the host that was asked for.
    VerifyFull,
}

/// The TLS part of a connection string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// What a connection promises.
    pub mode: SslMode,
    /// PEM file of the certificates that a server's must go back to. Without it those that the
    /// platform trusts: an operator adds a company's own authority there, which a list built into
    /// the program would not have.
    pub root_certificate: Option<PathBuf>,
    /// PEM file of the certificate that this side shows, with those that lead to its authority.
    pub client_certificate: Option<PathBuf>,
    /// PEM file of the key to it, not encrypted.
    pub client_key: Option<PathBuf>,
}

/// Reads the certificates.
pub(super) fn connector(settings: &TlsSettings) -> Result<MakeRustlsConnect, OpenError> {
    // Named here, because a default of the process would be one more thing that a caller must set.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier {
        trusted: match settings.mode {
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => None,
            SslMode::VerifyCa | SslMode::VerifyFull => {
                Some(trusted(settings.root_certificate.as_deref())?)
            }
        },
        checks_name: settings.mode == SslMode::VerifyFull,
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OpenError::Configuration(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&settings.client_certificate, &settings.client_key) {
        (Some(certificate), Some(key)) => {
            let refused = |error: &dyn std::fmt::Display| {
                OpenError::Configuration(format!("client key {}: {error}", key.display()))
            };
            let chain = certificates("client certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| refused(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| refused(&error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn trusted(file: Option<&Path>) -> Result<Trusted, OpenError> {
    let certificates = match file {
        Some(file) => certificates("root certificate", file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in &certificates {
                roots.add(certificate.clone()).map_err(|error| {
                    OpenError::Configuration(format!(
                        "root certificate {}: {error}",
                        file.display()
                    ))
                })?;
            }
        }
        // The platform's list is not this program's to correct; what it can't read it can't trust.
        None => drop(roots.add_parsable_certificates(certificates.iter().cloned())),
    }
    if roots.is_empty() {
        let text = "this machine has no root certificates: install them (ca-certificates) or name \
            a file of them by sslrootcert (Root Certificate)";
        return Err(OpenError::Configuration(text.to_owned()));
    }
    Ok(Trusted { roots, certificates })
}

fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let refused = |error: &dyn std::fmt::Display| {
        OpenError::Configuration(format!("{what} {}: {error}", file.display()))
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| refused(&error))?;
    if certificates.is_empty() {
        return Err(refused(&"the file has no certificate in PEM form"));
    }
    Ok(certificates)
}

/// Decides whether the server is the right one.
#[derive(Debug)]
struct Verifier {
    /// `None`: everybody is.
    trusted: Option<Trusted>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), Error> {
        let checked = verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            &self.roots,
            intermediates,
            now,
            provider.signature_verification_algorithms.all,
        );
        match checked {
            // The one certificate of a server that signs for itself, made as PostgreSQL's manual
            // says, is an authority, which may not stand for a server. But to name it is to trust
            // it. That it has expired, or is for something else, has errors of its own.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.certificates.contains(certificate) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trusted) = &self.trusted {
            trusted.check(certificate, intermediates, now, &self.provider)?;
        }
        if self.checks_name {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Proves that the server has the key of its certificate, which says nothing about a server
        // that may show any certificate; and it can't be read from one of the oldest version.
        if self.trusted.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.trusted.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
