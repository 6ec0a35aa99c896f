//! Limits for each client address: how many connections it has, and how many requests it makes.
//!
//! All workers share one table. It is asked, under the lock of one shard, when a connection begins; from then on the connection
//! has the state of its client at hand, and a request costs one exchange of an atomic. An address is remembered until it has
//! no connection and could make all its requests at once again.

use crate::settings::Settings;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

const SHARDS: usize = 64;
/// Addresses that are remembered beside those that have a connection.
const REMEMBERED: usize = 65_536;

/// The table, and the limits.
pub(crate) struct Clients {
    /// None where connections are not limited.
    connections: Option<u32>,
    /// None where requests are not limited.
    rate: Option<Rate>,
    most_in_shard: usize,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// Clients by the number of their address.
type Shard = HashMap<u128, Arc<State>>;

/// A bucket of `burst` tokens that is refilled at a steady pace; a request takes one.
#[derive(Clone, Copy)]
struct Rate {
    interval_ns: u64,
    burst: u64,
}

#[derive(Default)]
struct State {
    connections: AtomicU32,
    /// When the bucket is full again, from the time that the port counts from. It says how many tokens are missing now.
    full_at_ns: AtomicU64,
    /// As in the table: here, so that a connection need not keep it.
    rate: Option<Rate>,
}

/// A connection's part in its client's state.
pub(crate) struct Share {
    state: Arc<State>,
}

impl Clients {
    /// None where nothing is limited.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let connections = Some(settings.client_connections).filter(|limit| *limit > 0);
        let rate = (settings.client_requests_per_s > 0).then(|| Rate {
            interval_ns: 1_000_000_000 / u64::from(settings.client_requests_per_s),
            burst: u64::from(settings.client_request_burst),
        });
        (connections.is_some() || rate.is_some()).then(|| Self {
            connections,
            rate,
            most_in_shard: (settings.connections + REMEMBERED) / SHARDS,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        })
    }

    /// A place for one more connection of this address; none if it has as many as it may.
    pub(crate) fn join(&self, address: IpAddr, now: Duration) -> Option<Share> {
        let key = key_of(address);
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.contains_key(&key) && shard.len() >= self.most_in_shard {
            make_room(&mut shard, nanoseconds(now));
        }
        // Counted under the lock, so that a state with a connection is never taken for one at rest.
        let state = Arc::clone(
            shard.entry(key).or_insert_with(|| Arc::new(State { rate: self.rate, ..State::default() })),
        );
        let before = state.connections.fetch_add(1, Ordering::Relaxed);
        // Its drop takes the connection back.
        let share = Share { state };
        self.connections.is_none_or(|limit| before < limit).then_some(share)
    }
}

/// Forgets the clients at rest, or, if all have a connection or ask often, the one without a connection that asks least.
fn make_room(shard: &mut Shard, now_ns: u64) {
    let gone = |state: &State| state.connections.load(Ordering::Relaxed) == 0;
    let full_at = |state: &State| state.full_at_ns.load(Ordering::Relaxed);
    let before = shard.len();
    shard.retain(|_, state| !gone(state) || full_at(state) > now_ns);
    if shard.len() == before {
        let least = shard.iter().filter(|(_, state)| gone(state)).min_by_key(|(_, state)| full_at(state));
        if let Some(key) = least.map(|(key, _)| *key) {
            shard.remove(&key);
        }
    }
}

impl Share {
    /// Takes a token for a request.
    ///
    /// # Errors
    ///
    /// How long it takes until there is one.
    pub(crate) fn take(&self, now: Duration) -> Result<(), Duration> {
        let Some(Rate { interval_ns, burst }) = self.state.rate else { return Ok(()) };
        let now_ns = nanoseconds(now);
        let taken = |full_at_ns: u64| full_at_ns.max(now_ns) + interval_ns;
        let most = now_ns + burst * interval_ns;
        let update = |full_at_ns| Some(taken(full_at_ns)).filter(|next| *next <= most);
        match self.state.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(_) => Ok(()),
            Err(full_at_ns) => Err(Duration::from_nanos(taken(full_at_ns) - most)),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.state.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of an address. Whoever has an IPv6 address has its /64 network.
pub(crate) fn key_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(change: impl FnOnce(&mut Settings)) -> Clients {
        let mut settings = Settings::new(".");
        change(&mut settings);
        Clients::new(&settings).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_limited() {
        assert!(Clients::new(&Settings::new(".")).is_none());
    }

    #[test]
    fn connections_are_counted_by_address() {
        let clients = clients(|settings| settings.client_connections = 2);
        let now = Duration::ZERO;
        let one = clients.join(address("192.0.2.1"), now).unwrap();
        let _mapped = clients.join(address("::ffff:192.0.2.1"), now).unwrap();
        assert!(clients.join(address("192.0.2.1"), now).is_none());
        assert!(clients.join(address("192.0.2.2"), now).is_some());
        drop(one);
        let _again = clients.join(address("192.0.2.1"), now).unwrap();
        assert!(clients.join(address("192.0.2.1"), now).is_none(), "a refused one has left no trace");

        let _six = clients.join(address("2001:db8::1"), now).unwrap();
        let _other = clients.join(address("2001:db8::ffff:1"), now).unwrap();
        assert!(clients.join(address("2001:db8:0:0:1::"), now).is_none(), "one /64 is one client");
        assert!(clients.join(address("2001:db8:0:1::"), now).is_some());
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let clients = clients(|settings| {
            settings.client_requests_per_s = 10;
            settings.client_request_burst = 3;
        });
        let at = |ms: u64| Duration::from_millis(1_000 + ms);
        let share = clients.join(address("192.0.2.1"), at(0)).unwrap();
        for _ in 0..3 {
            assert_eq!(share.take(at(0)), Ok(()));
        }
        assert_eq!(share.take(at(0)), Err(Duration::from_millis(100)));
        assert_eq!(share.take(at(40)), Err(Duration::from_millis(60)));
        assert_eq!(share.take(at(100)), Ok(()));
        // Who leaves and comes again has no more than before.
        drop(share);
        let share = clients.join(address("192.0.2.1"), at(100)).unwrap();
        assert_eq!(share.take(at(100)), Err(Duration::from_millis(100)));
        let full = (0..10).filter(|_| share.take(at(10_000)).is_ok()).count();
        assert_eq!(full, 3, "no more than the burst, however long it waited");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_who_asks_most() {
        let mut clients = clients(|settings| {
            settings.client_requests_per_s = 1;
            settings.client_request_burst = 5;
        });
        assert_eq!(clients.most_in_shard, (16_384 + REMEMBERED) / SHARDS);
        clients.most_in_shard = 8;
        let now = Duration::from_secs(1);
        let busy = address("192.0.2.1");
        let share = clients.join(busy, now).unwrap();
        while share.take(now).is_ok() {}
        drop(share);
        let connected = clients.join(address("192.0.2.2"), now).unwrap();
        for number in 0..5_000_u32 {
            let share = clients.join(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), now).unwrap();
            share.take(now).unwrap();
        }
        let count = || clients.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert!(count() <= 8 * SHARDS, "{}", count());
        assert!(clients.join(busy, now).unwrap().take(now).is_err(), "forgotten");
        assert_eq!(Arc::strong_count(&connected.state), 2, "forgotten while connected");
        // Everybody rests: one more makes room in its shard.
        let before = count();
        clients.join(address("192.0.2.3"), now + Duration::from_secs(60)).unwrap();
        assert!(count() < before);
    }
}
