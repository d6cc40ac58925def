//! The lease in a bucket: two machines, lost answers, providers that cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use monolite_replica::{
    Destination, DestinationOptions, Lease, ManualClock, Node, Permit, StorageError,
};
use monolite_testkit::s3::{Fault, Operation, Rule, S3Options, S3Server};

use crate::bench::{TIME, answering, destination, file, hasty, impatient, open};

const TTL: Duration = Duration::from_secs(30);
const KEY: &str = "p/.monolite/lease";

fn node(name: &str) -> Node {
    Node {
        node: name.into(),
        host: format!("host-of-{name}"),
        pid: None,
    }
}

fn by(clock: &Arc<ManualClock>) -> DestinationOptions {
    let clock = clock.clone();
    DestinationOptions { clock, ..hasty() }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(TIME))
}

async fn acquire(destination: &Destination, name: &str) -> Result<Lease, StorageError> {
    destination.lease().acquire(&node(name), TTL).await
}

#[tokio::test]
async fn two_machines_race_and_the_loser_is_told_who_won() {
    for round in 0..10 {
        let server = S3Server::start();
        let takers = ["a", "b"].map(|name| {
            let destination = destination(&server, hasty());
            tokio::spawn(async move { acquire(&destination, name).await })
        });
        let [a, b] = takers;
        let (winner, lease, error) = match (a.await.unwrap(), b.await.unwrap()) {
            (Ok(lease), Err(error)) => ("a", lease, error),
            (Err(error), Ok(lease)) => ("b", lease, error),
            both => panic!("{round}: {both:?}"),
        };
        assert_eq!(lease.epoch(), 1);
        assert!(lease.valid_for(Duration::from_secs(20)));
        let StorageError::Held {
            holder, remaining, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(holder.node, winner);
        assert!(*remaining > Duration::from_secs(20), "{remaining:?}");
        let text = error.to_string();
        assert!(
            text.starts_with("s3://test/p is written by node "),
            "{text}"
        );
        assert!(
            text.contains(&format!("node {winner} on host-of-{winner}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn it_is_handed_on_when_it_ended_or_was_given_back() {
    let server = S3Server::start();
    let clock = clock();
    let (first, second) = (
        destination(&server, by(&clock)),
        destination(&server, by(&clock)),
    );
    let a = acquire(&first, "a").await.unwrap();
    let waiting = second.lease();
    assert!(waiting.acquire(&node("b"), TTL).await.is_err());
    clock.advance(Duration::from_secs(20));
    a.renew().await.unwrap();
    clock.advance(Duration::from_secs(20));
    assert!(a.valid_for(Duration::from_secs(9)));
    assert!(waiting.acquire(&node("b"), TTL).await.is_err());
    clock.advance(TTL);
    assert!(!a.valid_for(Duration::ZERO));
    let b = waiting.acquire(&node("b"), TTL).await.unwrap();
    assert_eq!(b.epoch(), 2);
    let error = a.renew().await.unwrap_err();
    let StorageError::Lost { holder, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(holder.as_ref().unwrap().node, "b");

    b.release().await.unwrap();
    let a = acquire(&first, "a").await.unwrap();
    assert_eq!(a.epoch(), 3);
    let holder = second.lease().holder().await.unwrap().unwrap();
    assert_eq!(
        (holder.epoch, holder.node.as_str(), holder.released),
        (3, "a", false)
    );
}

#[tokio::test]
async fn the_providers_clock_says_when_a_dead_holders_lease_ended() {
    // Objects are stored as long ago as this says.
    let ago = Arc::new(AtomicU64::new(0));
    let server = S3Server::start_with(S3Options {
        clock: {
            let ago = ago.clone();
            Arc::new(move || SystemTime::now() - Duration::from_secs(ago.load(Ordering::Relaxed)))
        },
        ..S3Options::default()
    });
    // Neither of the machines' clocks is right.
    ago.store(25, Ordering::Relaxed);
    acquire(&destination(&server, by(&clock())), "a")
        .await
        .unwrap();
    let wrong = Arc::new(ManualClock::at(TIME + 86_400_000));
    let error = acquire(&destination(&server, by(&wrong)), "b")
        .await
        .unwrap_err();
    let StorageError::Held { remaining, .. } = error else {
        panic!("{error:?}")
    };
    assert!(
        remaining > Duration::ZERO && remaining < Duration::from_secs(8),
        "{remaining:?}"
    );

    ago.store(40, Ordering::Relaxed);
    server.put(KEY, server.object(KEY).unwrap());
    let lease = acquire(&destination(&server, by(&wrong)), "b")
        .await
        .unwrap();
    assert_eq!(lease.epoch(), 2);
}

#[tokio::test]
async fn lost_answers_lose_no_lease() {
    for fault in [
        Fault::DoneThenReset,
        Fault::DoneThenStatus(500),
        Fault::DoneThenHang,
    ] {
        let server = S3Server::start();
        let clock = clock();
        let options = DestinationOptions {
            clock: clock.clone(),
            ..impatient()
        };
        let destination = destination(&server, options);
        let put = || {
            Rule::new(fault.clone())
                .operation(Operation::PutObject)
                .next(1)
        };
        server.faults().add(put());
        let lease = acquire(&destination, "a").await.unwrap();
        assert_eq!(lease.epoch(), 1, "{fault:?}");
        server.faults().clear();

        clock.advance(Duration::from_secs(20));
        server.faults().add(put());
        lease.renew().await.unwrap();
        assert!(lease.valid_for(Duration::from_secs(29)), "{fault:?}");
        lease.renew().await.unwrap();
        server.faults().add(put());
        lease.release().await.unwrap();
        assert!(
            destination
                .lease()
                .holder()
                .await
                .unwrap()
                .unwrap()
                .released
        );
    }
}

#[tokio::test]
async fn an_outage_takes_the_lease_from_nobody_before_its_time() {
    let server = S3Server::start();
    let clock = clock();
    let destination = destination(&server, by(&clock));
    let lease = acquire(&destination, "a").await.unwrap();
    server.down();
    clock.advance(Duration::from_secs(10));
    let error = lease.renew().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(lease.valid_for(Duration::from_secs(19)));
    clock.advance(Duration::from_secs(20));
    assert!(!lease.valid_for(Duration::ZERO));
    server.up();
    lease.renew().await.unwrap();
    assert!(lease.valid_for(Duration::from_secs(29)));
}

#[tokio::test]
async fn a_removed_lease_is_lost() {
    let server = S3Server::start();
    let destination = destination(&server, hasty());
    let lease = acquire(&destination, "a").await.unwrap();
    assert!(server.remove(KEY));
    let error = lease.renew().await.unwrap_err();
    assert!(
        matches!(error, StorageError::Lost { holder: None, .. }),
        "{error:?}"
    );
    assert_eq!(acquire(&destination, "a").await.unwrap().epoch(), 1);
}

#[tokio::test]
async fn nobody_writes_under_a_lost_lease() {
    let server = S3Server::start();
    let clock = clock();
    let first = destination(&server, by(&clock));
    let lease = Arc::new(acquire(&first, "a").await.unwrap());
    let replica = first.replica("app").with_permit(lease.clone());
    let (header, body) = file(2, 2, TIME);
    let stored = replica.put(0, &header, body.clone().into()).await.unwrap();
    server.reset_counts();
    let (header, body) = file(3, 3, TIME);
    replica.put(0, &header, body.clone().into()).await.unwrap();
    assert_eq!(server.counts().requests, 1, "the lease cost nothing");

    clock.advance(Duration::from_secs(60));
    // Nobody else wants it: it is renewed.
    let (header, body) = file(4, 4, TIME);
    replica.put(0, &header, body.into()).await.unwrap();
    assert!(lease.valid_for(Duration::from_secs(29)));

    let waiting = destination(&server, by(&clock)).lease();
    assert!(waiting.acquire(&node("b"), TTL).await.is_err());
    clock.advance(Duration::from_secs(60));
    waiting.acquire(&node("b"), TTL).await.unwrap();
    let (header, body) = file(5, 5, TIME);
    let error = replica.put(0, &header, body.into()).await.unwrap_err();
    assert!(matches!(error, StorageError::Lost { .. }), "{error:?}");
    let error = replica.delete(&[stored]).await.unwrap_err();
    assert!(error.is_lease(), "{error:?}");
    assert_eq!(server.keys("p/app/0000/").len(), 3);
    assert!(lease.permit(Duration::ZERO).await.is_err());
}

#[tokio::test]
async fn a_provider_that_refuses_conditions_has_no_lease() {
    let server = S3Server::start();
    let refuse = Rule::new(Fault::Code(501, "NotImplemented"));
    server.faults().add(refuse.operation(Operation::PutObject));
    let error = acquire(&destination(&server, hasty()), "a")
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::Unconditional { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("no lease can keep two machines"),
        "{error}"
    );
}

#[tokio::test]
async fn a_provider_that_does_not_heed_conditions_has_none_either() {
    let url = answering(|head| match head.starts_with("put") {
        true => "200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n",
        false => "404 Not Found\r\ncontent-length: 0\r\n\r\n",
    });
    let variables = [
        ("AWS_ACCESS_KEY_ID", "id-of-someone".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "a-secret".to_owned()),
        ("AWS_ENDPOINT_URL", url),
    ];
    let destination = open("s3://test/p", &variables, hasty());
    let error = acquire(&destination, "a").await.unwrap_err();
    assert!(
        matches!(error, StorageError::Unconditional { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("in spite of If-None-Match"),
        "{error}"
    );
}
