//! OAuth grants: renewed by one process at a time, lost, brought back by a login.

use tidegate_shared::event::ApiName;
use tidegate_shared::ledger::Grant;

use super::world::*;
use super::*;

fn api() -> ApiName {
    ApiName::try_new("crm").expect("a valid name")
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a moment")
}

async fn grant(world: &World) -> Grant {
    world.another().grant(api()).await.expect("an answer").expect("a grant")
}

fn kept(version: i64, sealed: &[u8]) -> Grant {
    Grant { version, sealed: Some(sealed.to_vec()), problem: None, renewing_until: None }
}

pub(super) async fn a_grant_is_renewed_lost_and_brought_back(world: &World) {
    let ledger = &world.ledger;
    assert_eq!(ledger.grant(api()).await.expect("an answer"), None);
    assert!(!ledger.lease_grant(api(), 1, second(9), second(0)).await.expect("an answer"), "there is none");
    assert_eq!(ledger.put_grant(api(), vec![0, 255]).await.expect("a version"), 1);
    assert_eq!(grant(world).await, kept(1, &[0, 255]));

    let lease = async |version, from, until| {
        ledger.lease_grant(api(), version, second(until), second(from)).await.expect("an answer")
    };
    assert!(!lease(2, 0, 10).await, "it is not of this version");
    assert!(lease(1, 0, 10).await);
    assert_eq!(grant(world).await.renewing_until, Some(second(10)));
    assert!(!lease(1, 9, 20).await, "somebody has it");
    assert!(lease(1, 10, 20).await, "the lease ended");
    ledger.release_grant(api(), 2).await.expect("an answer");
    assert!(!lease(1, 11, 20).await, "only who knows its version releases it");
    ledger.release_grant(api(), 1).await.expect("an answer");
    assert!(lease(1, 11, 20).await);

    assert!(ledger.renew_grant(api(), 1, vec![2]).await.expect("an answer"));
    assert_eq!(grant(world).await, kept(2, &[2]));
    assert!(!ledger.renew_grant(api(), 1, vec![3]).await.expect("an answer"), "it was renewed since");
    assert!(!ledger.revoke_grant(api(), 1, "late".to_owned()).await.expect("an answer"), "it was renewed since");
    assert_eq!(grant(world).await, kept(2, &[2]));

    assert!(lease(2, 30, 40).await);
    assert!(ledger.revoke_grant(api(), 2, "invalid_grant".to_owned()).await.expect("an answer"));
    let lost = Grant { version: 3, sealed: None, problem: Some("invalid_grant".to_owned()), renewing_until: None };
    assert_eq!(grant(world).await, lost);
    assert!(!lease(3, 50, 60).await, "there is nothing to renew");
    assert_eq!(ledger.put_grant(api(), vec![4]).await.expect("a version"), 4);
    assert_eq!(grant(world).await, kept(4, &[4]));
    assert!(lease(4, 70, 80).await);
    assert_eq!(ledger.put_grant(api(), vec![5]).await.expect("a version"), 5, "a login waits for nobody");
    assert_eq!(grant(world).await, kept(5, &[5]));
    assert!(!format!("{:?}", kept(1, b"canary")).contains(&format!("{:?}", b"canary")), "not even sealed");
}

pub(super) async fn of_many_that_renew_a_grant_one_does(world: &World) {
    world.ledger.put_grant(api(), vec![0]).await.expect("a version");
    let ledgers = [world.another(), world.another()];
    for round in 1..=10 {
        let racers = (0..8).map(|racer| {
            let ledger = ledgers[racer % 2].clone();
            world.tasks.spawn_job(async move {
                let leased = ledger.lease_grant(api(), round, second(10), second(0)).await.expect("an answer");
                leased && ledger.renew_grant(api(), round, vec![1]).await.expect("an answer")
            })
        });
        let renewed = join_all(racers.collect::<Vec<_>>()).await;
        let renewed = renewed.into_iter().filter(|renewed| *renewed.as_ref().expect("a racer")).count();
        assert_eq!((renewed, grant(world).await.version), (1, round + 1));
    }
}
