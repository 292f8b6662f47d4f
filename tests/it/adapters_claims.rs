//! Redis's claims against real servers: what they promise when all is well, and when it is not.
//!
//! Tests that stop or kill a server start one of their own.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use tidegate_shared::claims::redis::{RedisClaims, RedisSettings};
use tidegate_shared::claims::{BodyClaim, ClaimToken, Claims, ClaimsError, Decision};
use tidegate_shared::event::{BodyHash, BodyKey, EventId, EventKey, SourceName};
use tidegate_shared::health::Health;
use tidegate_shared::tasks::Tasks;
use tidegate_tests::eventually::eventually;
use tidegate_tests::health::{becomes, is_up};
use tidegate_tests::servers::Redis;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
const CLAIM_TIMEOUT: Duration = Duration::from_millis(150);
const LEASE: Duration = Duration::from_secs(10);

async fn shared() -> Redis {
    Redis::shared_or_own().await.expect("a Redis")
}

/// A namespace that no other test has.
fn namespace() -> String {
    format!("t{}", uuid::Uuid::now_v7().simple())
}

fn claims_at(url: &str, namespace: &str, tasks: &Tasks) -> RedisClaims {
    let settings = RedisSettings::try_new([url], namespace, CLAIM_TIMEOUT).expect("a valid URL");
    RedisClaims::start(&settings, tasks)
}

fn any_key() -> EventKey {
    let id = EventId::try_new(&uuid::Uuid::now_v7().to_string()).expect("a valid id");
    EventKey::new(&SourceName::try_new("shop").expect("a valid name"), &id)
}

/// A claim of another event each time.
async fn claim_any(claims: &RedisClaims) -> Result<Decision, ClaimsError> {
    claims.claim(&any_key(), ClaimToken::generate(), &BodyHash::of(b"a"), LEASE).await
}

async fn finish(tasks: Tasks) {
    tasks.shutdown().cancel();
    assert_eq!(tasks.finish(PATIENCE).await, 0, "every task ends");
}

#[tokio::test]
async fn redis_decides_each_claim() {
    let (server, tasks) = (shared().await, Tasks::new());
    let claims = claims_at(server.url(), &namespace(), &tasks);
    let (key, body, other_body) = (any_key(), BodyHash::of(b"a"), BodyHash::of(b"b"));
    let (own, other) = (ClaimToken::generate(), ClaimToken::generate());
    let claim = async |token, body| claims.claim(&key, token, body, LEASE).await.expect("an answer");
    assert_eq!(claim(own, &body).await, Decision::Fresh, "the first call waits for the connection");
    assert_eq!(claim(own, &body).await, Decision::Fresh, "a command run twice meets its own token");
    assert_eq!(claim(other, &body).await, Decision::InFlight);
    claims.accept(&key, &body, LEASE).await.expect("written");
    assert_eq!(claim(other, &body).await, Decision::Duplicate);
    assert_eq!(claim(other, &other_body).await, Decision::Conflict);
    assert_eq!(claim(own, &body).await, Decision::Duplicate);
    finish(tasks).await;
}

#[tokio::test]
async fn a_lease_runs_out_and_a_release_ends_only_its_own() {
    let (server, tasks) = (shared().await, Tasks::new());
    let claims = claims_at(server.url(), &namespace(), &tasks);
    let (key, body) = (any_key(), BodyHash::of(b"a"));
    let (first, second) = (ClaimToken::generate(), ClaimToken::generate());
    let claim = async |token, lease| claims.claim(&key, token, &body, lease).await.expect("an answer");
    assert_eq!(claim(first, Duration::from_millis(100)).await, Decision::Fresh);
    assert_eq!(claim(second, LEASE).await, Decision::InFlight);
    let ended = async || match claim(second, LEASE).await {
        Decision::Fresh => Ok(()),
        other @ (Decision::Duplicate | Decision::Conflict | Decision::InFlight) => Err(format!("{other:?}")),
    };
    eventually("the end of the lease", PATIENCE, ended).await.expect("it ends");
    claims.release(&key, first).await.expect("answered");
    assert_eq!(claim(first, LEASE).await, Decision::InFlight, "the second claim still stands");
    claims.release(&key, second).await.expect("answered");
    assert_eq!(claim(first, LEASE).await, Decision::Fresh);
    claims.accept(&key, &body, LEASE).await.expect("written");
    claims.release(&key, first).await.expect("answered");
    assert_eq!(claim(first, LEASE).await, Decision::Duplicate, "what is committed is not released");
    finish(tasks).await;
}

// The same is held of the embedded store beside its code.
#[tokio::test]
async fn redis_keeps_the_first_id_of_a_body_until_its_time_ends() {
    let (server, tasks) = (shared().await, Tasks::new());
    let claims = Claims::Redis(claims_at(server.url(), &namespace(), &tasks));
    let source = SourceName::try_new("shop").expect("a valid name");
    let claim = |id: &str, body: &[u8]| {
        let id = EventId::try_new(id).expect("a valid id");
        BodyClaim { event: EventKey::new(&source, &id), id, body: BodyKey::new(&source, &BodyHash::of(body)) }
    };
    let first = async |id| claims.first_with_body(&claim(id, b"a")).await.expect("an answer");
    let keep = async |id, window| claims.keep_body(&claim(id, b"a"), window).await.expect("an answer");
    let one = Some(claim("one", b"a").id);
    let short = Duration::from_secs(1);
    assert_eq!(first("one").await, None);
    assert_eq!(first("one").await, None, "to look keeps nothing");
    assert_eq!(keep("one", short).await, None);
    assert_eq!(keep("one", LEASE).await, None, "its own id is no other");
    assert_eq!((keep("two", LEASE).await, first("two").await, first("one").await), (one.clone(), one, None));
    assert_eq!(claims.keep_body(&claim("two", b"b"), LEASE).await.expect("an answer"), None, "another body");
    let ended = async || match first("two").await {
        None => Ok(()),
        Some(id) => Err(format!("{id} has it")),
    };
    eventually("the end of its time, which did not grow", PATIENCE, ended).await.expect("it ends");
    assert_eq!(keep("two", LEASE).await, None);
    assert_eq!(first("one").await, Some(claim("two", b"a").id));
    finish(tasks).await;
}

// Many claims travel in one pipeline; what goes wrong with one is that one's alone. Method: among many at once, one
// meets a value that `SET … GET` refuses.
#[tokio::test]
async fn of_claims_asked_together_only_the_one_that_fails_does() {
    let (server, tasks, namespace) = (shared().await, Tasks::new(), namespace());
    let claims = claims_at(server.url(), &namespace, &tasks);
    is_up(claims.health()).await;
    let refused = any_key();
    let stored = format!("{namespace}:tg:{{{}}}", URL_SAFE_NO_PAD.encode(&refused.as_bytes()[..16]));
    let client = redis::Client::open(server.url()).expect("a valid URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let () = redis::cmd("RPUSH").arg(&stored).arg("a list").query_async(&mut connection).await.expect("written");

    let keys: Vec<EventKey> = (0..200).map(|at| if at == 100 { refused } else { any_key() }).collect();
    let body = BodyHash::of(b"a");
    let answers = join_all(keys.iter().map(|key| claims.claim(key, ClaimToken::generate(), &body, LEASE))).await;
    for (at, answer) in answers.iter().enumerate() {
        match answer {
            Err(ClaimsError::Redis(_)) => assert_eq!(at, 100),
            other => assert!(at != 100 && matches!(other, Ok(Decision::Fresh)), "{at}: {other:?}"),
        }
    }
    finish(tasks).await;
}

#[tokio::test]
async fn claims_fail_within_their_time_while_redis_is_down_and_recover() {
    let server = Redis::own().await.expect("a Redis to break");
    let tasks = Tasks::new();
    let claims = claims_at(server.url(), &namespace(), &tasks);
    is_up(claims.health()).await;
    let claim = async || claim_any(&claims).await;
    let answered = async || claim().await.map_err(|error| error.to_string());
    assert_eq!(claim().await.expect("an answer"), Decision::Fresh);

    // Silent: nothing is closed, nothing answers.
    server.pause().await.expect("frozen");
    for _ in 0..5 {
        let started = Instant::now();
        let claimed = claim().await;
        assert!(matches!(claimed, Err(ClaimsError::Timeout(_))), "{claimed:?}");
        assert!(started.elapsed() < CLAIM_TIMEOUT + Duration::from_millis(60), "{:?}", started.elapsed());
    }
    let started = Instant::now();
    assert!(matches!(claim().await, Err(ClaimsError::Resting)));
    assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
    becomes(claims.health(), "down", |health| matches!(health, Health::Down(_))).await;
    server.resume().await.expect("resumed");
    is_up(claims.health()).await;
    eventually("an answer", PATIENCE, answered).await.expect("it answers again");

    // Gone: the connection is refused.
    server.kill().await.expect("killed");
    becomes(claims.health(), "down", |health| matches!(health, Health::Down(_))).await;
    let started = Instant::now();
    assert!(matches!(claim().await, Err(ClaimsError::Resting)));
    assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
    server.start().await.expect("started");
    is_up(claims.health()).await;
    let decision = eventually("an answer", PATIENCE, answered).await.expect("it answers again");
    assert_eq!(decision, Decision::Fresh);
    finish(tasks).await;
}

// Before 7.0 Redis refuses NX and GET together. Method: a server that answers every SET as such a Redis does.
#[tokio::test]
async fn a_redis_that_is_too_old_is_named_in_health() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    let tasks = Tasks::new();
    drop(tasks.spawn_job({
        let shutdown = tasks.shutdown().clone();
        async move {
            tokio::select! {
                () = answer_like_redis_6(listener) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }));
    let claims = claims_at(&url, &namespace(), &tasks);
    let health = becomes(claims.health(), "down", |health| matches!(health, Health::Down(_))).await;
    assert!(health.reason().unwrap_or_default().contains("7.0"), "{health}");
    let claimed = claim_any(&claims).await;
    assert!(matches!(claimed, Err(ClaimsError::Redis(_))), "{claimed:?}");
    finish(tasks).await;
}

async fn answer_like_redis_6(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = [0; 4_096];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            // One answer for each command, and every command begins with its array's length.
            for command in String::from_utf8_lossy(&buffer[..read]).split('*').skip(1) {
                let answer: &[u8] =
                    if command.contains("$3\r\nSET\r\n") { b"-ERR syntax error\r\n" } else { b"+OK\r\n" };
                stream.write_all(answer).await.expect("written");
            }
        }
    }
}
