use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

use super::fixture::*;
use crate::wire::{Cause, ConnectError, Identity, Listener, Role, Security, Tls, TlsError, WireLimits};

/// An authority that signs certificates for hosts.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, host: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate, key)
    }

    /// What somebody uses who has a certificate of this authority for `host`.
    fn tls(&self, host: &str) -> Security {
        let (certificate, key) = self.sign(host);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Security::open().tls(Tls::new(vec![self.0.der().clone()], vec![certificate.der().clone()], key).unwrap())
    }
}

#[tokio::test]
async fn certificates_of_one_authority_open() {
    let authority = Authority::new();
    let (silo, limits) = (silo(authority.tls("127.0.0.1")), WireLimits::default());
    let (address, mut accepted) = listen(&silo, &limits).await;
    let mut near = connect(&address, &client(authority.tls("client")), &limits).await.expect("connected");
    let mut far = timeout(PATIENCE, accepted.recv()).await.unwrap().unwrap();
    // Larger than what TLS puts into one record, and than what it buffers.
    near.link.send(message(1), |body| body.resize(body.len() + 300_000, 7)).unwrap();
    assert_eq!(far.body().await, vec![7; 300_000]);
    far.link.send(message(1), |body| body.extend_from_slice(b"answer")).unwrap();
    assert_eq!(near.body().await, "answer");
    near.link.close("enough");
    assert_eq!(near.closed().await, "enough");
    assert_eq!(far.closed().await, "the peer said goodbye: enough");
}

#[tokio::test]
async fn silos_whose_certificates_name_their_hosts_open() {
    let authority = Authority::new();
    let limits = WireLimits::default();
    let (address, mut accepted) = listen(&silo(authority.tls("127.0.0.1")), &limits).await;
    let _near = connect(&address, &silo(authority.tls("127.0.0.1")), &limits).await.expect("connected");
    let far = timeout(PATIENCE, accepted.recv()).await.unwrap().unwrap();
    assert_eq!(far.link.peer().role, Role::Silo);
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_open() {
    let limits = WireLimits::default();
    let ours = Authority::new();
    let silo = silo(ours.tls("127.0.0.1"));
    let (address, mut accepted) = listen(&silo, &limits).await;
    // It does not trust the silo, and says nothing to it.
    let refused = connect(&address, &client(Authority::new().tls("client")), &limits).await;
    assert!(matches!(refused, Err(ConnectError::Untrusted { .. })), "{refused:?}");
    // It trusts the silo, and is not trusted.
    let (certificate, key) = Authority::new().sign("client");
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let stranger = Tls::new(vec![ours.0.der().clone()], vec![certificate.der().clone()], key).unwrap();
    let refused = connect(&address, &client(Security::open().tls(stranger)), &limits).await;
    assert!(matches!(refused, Err(ConnectError::Untrusted { .. })), "{refused:?}");
    refusals(&silo, 2).await;
    assert!(accepted.try_recv().is_err());
}

#[tokio::test]
async fn no_certificate_does_not_open() {
    let limits = WireLimits::default();
    let authority = Authority::new();
    let silo = silo(authority.tls("127.0.0.1"));
    let (address, mut accepted) = listen(&silo, &limits).await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(&address).await.unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), socket).await.unwrap();
    let dialed = crate::wire::handshake::dial(&mut stream, &client(Security::open()), &limits).await;
    assert!(dialed.is_err());
    refusals(&silo, 1).await;
    // Without TLS at all it is no better.
    connect(&address, &client(Security::open()), &limits).await.expect_err("no TLS");
    refusals(&silo, 2).await;
    assert!(accepted.try_recv().is_err());
}

#[tokio::test]
async fn a_silo_whose_certificate_names_another_host_is_not_trusted() {
    let limits = WireLimits::default();
    let authority = Authority::new();
    let (address, _accepted) = listen(&silo(authority.tls("192.0.2.1")), &limits).await;
    let refused = connect(&address, &client(authority.tls("client")), &limits).await;
    assert!(matches!(refused, Err(ConnectError::Untrusted { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_client_cannot_say_that_it_is_a_silo() {
    let limits = WireLimits::default();
    let authority = Authority::new();
    let me = silo(authority.tls("127.0.0.1"));
    let (address, mut accepted) = listen(&me, &limits).await;
    let mut near =
        connect(&address, &silo(authority.tls("client")), &limits).await.expect("the handshake is over here");
    assert_eq!(
        near.closed().await,
        "the peer said goodbye: your certificate does not name the host that you advertise"
    );
    assert_eq!(me.stats.refused(Cause::Role), 1);
    assert!(accepted.try_recv().is_err());
}

#[tokio::test]
async fn with_both_a_certificate_alone_does_not_open() {
    let limits = WireLimits::default();
    let authority = Authority::new();
    let both = || authority.tls("127.0.0.1").secret(crate::wire::Secret::new(SECRET));
    let me = silo(both());
    let (address, _accepted) = listen(&me, &limits).await;
    let refused = connect(&address, &client(authority.tls("client")), &limits).await;
    assert!(matches!(refused, Err(ConnectError::Rejected { incarnation: None, .. })), "{refused:?}");
    connect(&address, &client(both()), &limits).await.expect("both are right");
}

#[tokio::test]
async fn certificates_come_from_files_and_wrong_ones_start_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let authority = Authority::new();
    let (certificate, key) = authority.sign("127.0.0.1");
    std::fs::write(path("ca"), authority.0.pem()).unwrap();
    std::fs::write(path("cert"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("other key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();

    let tls = Tls::from_files(path("ca"), path("cert"), path("key")).unwrap();
    let me = Identity::new(Role::Client, uuid::Uuid::new_v4(), "bank", None, Security::open().tls(tls));
    let limits = WireLimits::default();
    Listener::bind("0.0.0.0:0", &me.security, &limits, &me.world).await.expect("TLS is enough to listen everywhere");
    let (address, _accepted) = listen(&silo(authority.tls("127.0.0.1")), &limits).await;
    connect(&address, &me, &limits).await.expect("connected");

    let wrong = |ca, cert, key| Tls::from_files(path(ca), path(cert), path(key)).unwrap_err();
    assert!(matches!(wrong("none", "cert", "key"), TlsError::File { .. }));
    assert!(matches!(wrong("empty", "cert", "key"), TlsError::Empty { .. }));
    assert!(matches!(wrong("ca", "key", "key"), TlsError::Empty { .. }));
    assert!(matches!(wrong("ca", "cert", "cert"), TlsError::File { .. }));
    assert!(matches!(wrong("ca", "cert", "other key"), TlsError::Unusable(_)));
}

/// Until so many were refused for their certificates. The dialing side may know it before they are counted.
async fn refusals(silo: &Identity, count: u64) {
    let counted = async {
        while silo.stats.refused(Cause::Tls) < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{} were refused", silo.stats.refused(Cause::Tls)));
}
