//! Certificates of all kinds, made here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;

const NOW_S: i64 = 1_800_000_000;

struct Folder {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), own.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `name.pem` and `name.key`.
    fn make(&self, name: &str, until: i32, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        change(&mut params);
        let made = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), made.pem()).unwrap();
        let path = self.path(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn files(&self, name: &str) -> ServerFiles {
        ServerFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            client_ca: Some(self.path("ca.pem")),
        }
    }

    fn names(&self, name: &str) -> CertificateNames {
        let pem = fs::read(self.path(&format!("{name}.pem"))).unwrap();
        CertificateNames::of(&CertificateDer::from_pem_slice(&pem).unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

#[test]
fn a_certificate_names_devices_in_three_ways_and_no_others() {
    let folder = Folder::new();
    folder.make("dev", 2100, |params| {
        params.distinguished_name.push(DnType::CommonName, "Truck_7");
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        params.subject_alt_names = vec![
            SanType::DnsName("truck-8".try_into().unwrap()),
            SanType::DnsName("truck.example.org".try_into().unwrap()),
            uri("urn:milepost:device:truck9"),
            uri("urn:other:truck10"),
            SanType::Rfc822Name("truck11".try_into().unwrap()),
        ];
    });
    let names = folder.names("dev");
    let include = |name: &str| names.include(&name.parse().unwrap());
    assert!(include("Truck_7") && include("truck-8") && include("truck9"));
    for other in ["truck_7", "TRUCK-8", "truck", "truck10", "truck11", "urn"] {
        assert!(!include(other), "{other}");
    }
    folder.make("nobody", 2100, |params| {
        params.distinguished_name.push(DnType::CommonName, "not a device id");
    });
    assert_eq!(folder.names("nobody"), CertificateNames::default());
    let nonsense = CertificateDer::from(vec![1, 2, 3]);
    assert_eq!(CertificateNames::of(&nonsense), CertificateNames::default());
}

#[test]
fn only_a_good_pair_replaces_what_is_in_use() {
    let folder = Folder::new();
    folder.make("port", 2100, |_| {});
    folder.make("next", 2090, |_| {});
    folder.make("old", 2021, |_| {});
    let files = folder.files("port");
    let tls = ServerTls::load(files.clone()).unwrap();
    let first = tls.config();
    let good_left = tls.status(NOW_S).left_s;
    assert!(tls.wants_certificates() && tls.status(NOW_S).is_ok());
    assert!(!tls.refresh(false, NOW_S), "nothing changed");

    let bad = |what: &str| {
        assert!(!tls.refresh(true, NOW_S), "{what}");
        let status = tls.status(NOW_S);
        assert!(!status.is_ok() && status.left_s == good_left, "{what}: {status}");
        assert!(status.problem.as_ref().unwrap().contains(what), "{status}");
        assert!(Arc::ptr_eq(&first, &tls.config()), "{what}");
    };
    copy(&folder.path("next.key"), &files.key);
    bad("does not belong to the certificate");
    copy(&folder.path("old.pem"), &files.certificate);
    copy(&folder.path("old.key"), &files.key);
    bad("has expired");
    fs::write(&files.certificate, "").unwrap();
    bad("no certificate in PEM");
    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    bad("not an X.509 certificate");
    fs::remove_file(&files.key).unwrap();
    copy(&folder.path("next.pem"), &files.certificate);
    bad("No such file");
    copy(&folder.path("next.key"), &files.key);
    fs::set_permissions(&files.key, PermissionsExt::from_mode(0o640)).unwrap();
    bad("chmod 600");
    fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(files.client_ca.as_ref().unwrap(), "").unwrap();
    bad("ca.pem");
    copy(&folder.path("next.pem"), files.client_ca.as_ref().unwrap());
    assert!(tls.refresh(false, NOW_S), "changed, and good");
    let status = tls.status(NOW_S);
    assert!(status.is_ok() && status.left_s < good_left, "{status}");
    assert!(!Arc::ptr_eq(&first, &tls.config()));
    assert!(!tls.refresh(false, NOW_S), "taken up once");
}

/// A renewal whose time has not come, or a clock that is behind: nobody need touch the files again.
#[test]
fn a_pair_that_is_refused_for_its_time_is_tried_again() {
    let folder = Folder::new();
    folder.make("port", 2100, |_| {});
    let files = folder.files("port");
    let tls = ServerTls::load(files.clone()).unwrap();
    let first = tls.config();
    // 2030-01-01.
    let begins_s = 1_893_456_000;
    folder.make("port", 2100, |params| params.not_before = date_time_ymd(2030, 1, 1));
    for now_s in [NOW_S, NOW_S + 10, begins_s - 1] {
        assert!(!tls.refresh(false, now_s));
        let status = tls.status(now_s);
        assert!(status.problem.as_ref().unwrap().contains("is not valid yet"), "{status}");
        assert!(Arc::ptr_eq(&first, &tls.config()));
    }
    assert!(tls.refresh(false, begins_s), "its time has come");
    assert!(tls.status(begins_s).is_ok() && !Arc::ptr_eq(&first, &tls.config()));
    assert!(!tls.refresh(false, begins_s), "taken up once");

    // The clock was ahead, and is set right.
    let ahead_s = 4_200_000_000;
    folder.make("port", 2099, |_| {});
    assert!(!tls.refresh(false, ahead_s));
    assert!(tls.status(ahead_s).problem.unwrap().contains("has expired"));
    assert!(tls.refresh(false, begins_s));
    // What is wrong in itself is read once.
    fs::write(&files.certificate, "").unwrap();
    assert!(!tls.refresh(false, begins_s) && !tls.refresh(false, begins_s));
    assert!(tls.status(begins_s).problem.unwrap().contains("no certificate in PEM"));
}

#[test]
fn an_expired_certificate_starts_and_is_said() {
    let folder = Folder::new();
    folder.make("port", 2021, |_| {});
    let tls = ServerTls::load(folder.files("port")).unwrap();
    let status = tls.status(NOW_S);
    assert!(!status.is_ok() && status.to_string().starts_with("expired "), "{status}");
    assert!(matches!(
        check_server(&folder.files("port"), NOW_S),
        Err(TlsError::OutOfTime { is_over: true, .. })
    ));
    assert!(matches!(
        check_server(&folder.files("port"), 0),
        Err(TlsError::OutOfTime { is_over: false, .. })
    ));
}

#[test]
fn the_end_of_a_certificate_is_said_in_words() {
    for (left_s, words) in [
        (400 * 86_400, "valid for 400 days"),
        (EXPIRY_WARNING_S, "valid for 14 days"),
        (EXPIRY_WARNING_S - 1, "expires in 13 days: renew it"),
        (7200, "expires in 2 h: renew it"),
        (-90, "expired 1 min ago"),
    ] {
        assert_eq!(remaining(left_s), words);
    }
}

#[test]
fn a_client_checks_its_own_files() {
    let folder = Folder::new();
    folder.make("own", 2021, |_| {});
    let mut files = ClientFiles { ca: folder.path("ca.pem"), identity: None };
    assert!(check_client(&files, NOW_S).is_ok());
    files.identity = Some((folder.path("own.pem"), folder.path("own.key")));
    assert!(matches!(check_client(&files, NOW_S), Err(TlsError::OutOfTime { is_over: true, .. })));
    files.ca = folder.path("own.key");
    assert!(matches!(check_client(&files, NOW_S), Err(TlsError::NoCertificate(_))));
}
