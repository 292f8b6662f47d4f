//! Key pairs of the tests, made for them by OpenSSL 3.0; they open nothing.

/// PKCS #8, in base64.
pub(super) const RSA_PRIVATE: &str = "\
    MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCbgsz/pRrglKt1QZSVx9cdBJkmhjbRcH0AINDGFiZr/RfVH/Qu\
    iLgtov+bQkc+3FcO5BY08cO7xpFOuO6ANxgyz0OLX2FE6QeN7sHQnAsfy/XsQ9oGXZk8F9k1rMX2pwKesqaG0rMpSrzrJC6HB5bU\
    fjkdInq1LVsRXM51uc8s0EJvKr4C/u4xYgIU0HaXLz+Q2UKhx60piTRFWB0LGRfYoaF/8jwFzVxkIadjlS36NaIIsne1b4Fo8lAB\
    8fNqQRBDeGhvP7JHs4c9N12H0jN5kkEnUxI2nqD3fapbKr0dzxq5+HNnDNt/fCQj1/8LrKZeux4Skhws1ni4oRqGvSR1AgMBAAEC\
    ggEAA8nNbaLbg0IL5TjaQkXSfzH3+yDE4BhB60lhXJn4iKPrOzVikOmitvXkDSexrZ3XfxTeV57WGlJtgsHtiXEOJVq4NgJ2T6Pv\
    m60HyqmqebVRwdYrTwFjtLuN/ok9b1NFNJF8jgc+9xALhxzkB0UPjxCeGpAW9ifrMoKUwvhqTBii7Y8rx+ZHhvgCyoB9tMwY/Ay8\
    1Im37lJDRjKpbgr7dOiSeqrAgC/K339x3pROnVo6XGaNsxKVJjW1oj0Tq9/kA/Ki9Q3V6Pqlu4qNiEt+TXLTBL7jfxFvniHQY7o7\
    Ab3x9p03/IMDQwjSPQRvGJGt3qXFEy+i/KhiteYqdQ1moQKBgQDXnRUX+PSKtSxMpGvuNyyuPIGzcswuWXnKlzZGMReJYf0eLp6n\
    hQzCMj7Fiwp/V1ILl9p6fiJLl1ZWkNTSduCJdZu4Z/ADU02pnvzkxRojoExGn+Gf+5oxl+pDwj4KP9O/BaiQxseX2lhMa0E7blD6\
    ZF7Pf5kWJn+ZWWwyx3q4UQKBgQC4o7oxsYRtYxvZwaUzbE7t/RNZa/zxiY4TGNsapapn6qbbJsvlfWsLrTmnO9nIv3TpUk+DuueD\
    JCHkcbiu8vdap0X5HjHIo/kIpFsr5ZdVsNg5S5EoJ8k8XvIBFrNV8sFHQAdPd58tWUfgugEjgQMWeonkG7fQLgvt/5PGmYUE5QKB\
    gQCJttAZPq7axXsk/MPfJCiKpSTmfAVD+Wxb5JcK4CI7YnXsSDSXpNiQVM1ZGUS8Lwa9VuF56YR4KZJAukLkpn8l7RNoBiL7zMJG\
    +8BlUisu5Byz4zyWFXrYAELlwnQj0b6qPK/8wKoNKK3LKZpBnmVkeKVB/SrHRhGr3bzI9jZA8QKBgEBgRZEB9cw13AYGcFUHlFWC\
    AXcSIbUNYs3hwrL9w/ZLaDXMxxaSrfn6Qbm/MmW960NWgYbKaeHdfTurMts8t2WSIOGE15K/KRsMQwWBHUyxRhJj+I5poM49xF8A\
    zTJQW3c+Kc5ZRNSI5njCIZeBadQykVVJHMOm6l3m2F1MNYbJAoGBAMRL9y39lUSXUTEFoyLmYzWh1rBpmPIQxoiF6LrY5Y1r/pL+\
    ULGcUxZx2qUrMBiimyQBw+zoqusstBPg+7mS+PIbzIjZRdwHB2dg6G8Dzgw5GMJJ6WJdNa4VV/UvGzNBcAvR+4TFPcni4CB19B3L\
    AM/1w6BftcuG9cm2gpgIofnR";
/// Its public key: `SubjectPublicKeyInfo`, in base64.
pub(super) const RSA_PUBLIC: &str = "\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAm4LM/6Ua4JSrdUGUlcfXHQSZJoY20XB9ACDQxhYma/0X1R/0Loi4LaL/\
    m0JHPtxXDuQWNPHDu8aRTrjugDcYMs9Di19hROkHje7B0JwLH8v17EPaBl2ZPBfZNazF9qcCnrKmhtKzKUq86yQuhweW1H45HSJ6\
    tS1bEVzOdbnPLNBCbyq+Av7uMWICFNB2ly8/kNlCocetKYk0RVgdCxkX2KGhf/I8Bc1cZCGnY5Ut+jWiCLJ3tW+BaPJQAfHzakEQ\
    Q3hobz+yR7OHPTddh9IzeZJBJ1MSNp6g932qWyq9Hc8aufhzZwzbf3wkI9f/C6ymXrseEpIcLNZ4uKEahr0kdQIDAQAB";
/// PKCS #8, in base64.
pub(super) const P256_PRIVATE: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7XQ+OHpjRqrMwqLuFAuohlqK1Xr9n3F/gopSdK3QyMqhRANCAARW\
    sD3WtLvS5aTS711c8tktAlqR56ESy0O+albVW9+vKjQ2x+VQXcROWCHX86OZLxDb35Js2ZhKCmuch5w3ephA";
/// Its public key: `SubjectPublicKeyInfo`, in base64.
pub(super) const P256_PUBLIC: &str = "\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVrA91rS70uWk0u9dXPLZLQJakeehEstDvmpW1Vvfryo0NsflUF3ETlgh1/OjmS8Q\
    29+SbNmYSgprnIecN3qYQA==";
/// The seed of an Ed25519 key pair.
pub(super) const ED25519_SEED: [u8; 32] = [7; 32];
