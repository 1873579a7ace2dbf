//! Property 8 and the contract of [`Reactor`]: registrations over socket pairs against a model.
//!
//! The model knows for each direction what may be tried and who waits; a waiter must be handed back
//! exactly when its direction becomes ready or its registration goes.

#![cfg(unix)]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cede_reactor::{Direction, Reactor, SourceKey};
use proptest::prelude::*;
use proptest::sample::Index;

const SOURCES: usize = 4;
const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

#[derive(Debug, Clone)]
enum Step {
    Register(usize),
    Deregister(usize),
    /// The peer sends a byte.
    Send(usize),
    /// The peer goes.
    Close(usize),
    /// Reads all there is, until "would block" or the end.
    ReadAll(usize),
    /// Writes until "would block".
    Fill(usize),
    /// The peer reads all there is.
    Drain(usize),
    Wait(usize, bool),
    Unwait(Index),
    /// Uses the key of a registration that has gone.
    Stale(usize),
    Poll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = 0..SOURCES;
    let step = prop_oneof![
        3 => source.clone().prop_map(Step::Register),
        1 => source.clone().prop_map(Step::Deregister),
        3 => source.clone().prop_map(Step::Send),
        1 => source.clone().prop_map(Step::Close),
        3 => source.clone().prop_map(Step::ReadAll),
        2 => source.clone().prop_map(Step::Fill),
        2 => source.clone().prop_map(Step::Drain),
        5 => (source.clone(), any::<bool>()).prop_map(|(at, read)| Step::Wait(at, read)),
        2 => any::<Index>().prop_map(Step::Unwait),
        1 => source.prop_map(Step::Stale),
        5 => Just(Step::Poll),
    ];
    prop::collection::vec(step, 1..60)
}

/// One direction of a registration, by the model.
#[derive(Debug, Default, Clone)]
struct Way {
    /// What `is_ready` must say.
    ready: bool,
    /// An event is under way: the next poll makes it ready.
    pending: bool,
    waiters: Vec<u32>,
}

struct Pair {
    ours: UnixStream,
    peer: Option<UnixStream>,
    key: Option<SourceKey>,
    gone: Option<SourceKey>,
    /// Indexed as `DIRECTIONS`.
    ways: [Way; 2],
}

impl Pair {
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        Self { ours, peer: Some(peer), key: None, gone: None, ways: Default::default() }
    }

    /// Something happened to the descriptor that the poller reports for this direction.
    fn event(&mut self, way: usize) {
        if self.key.is_some() {
            self.ways[way].pending = true;
        }
    }
}

fn until_blocked(mut operation: impl FnMut() -> std::io::Result<usize>) -> bool {
    loop {
        match operation() {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

struct World {
    reactor: Reactor<u32>,
    pairs: Vec<Pair>,
    next_waiter: u32,
}

impl World {
    fn new() -> Self {
        let pairs = (0..SOURCES).map(|_| Pair::new()).collect();
        Self { reactor: Reactor::new().unwrap(), pairs, next_waiter: 0 }
    }

    fn register(&mut self, at: usize) {
        let pair = &mut self.pairs[at];
        if pair.key.is_some() {
            return;
        }
        // SAFETY: the stream lives in the world, which deregisters it first.
        let key = unsafe { self.reactor.register(pair.ours.as_raw_fd()).unwrap() };
        pair.key = Some(key);
        // Optimistic at first; what is there already is reported by the next poll.
        pair.ways = [(); 2].map(|()| Way { ready: true, pending: false, waiters: Vec::new() });
    }

    fn deregister(&mut self, at: usize) -> Result<(), TestCaseError> {
        let pair = &mut self.pairs[at];
        let Some(key) = pair.key.take() else { return Ok(()) };
        pair.gone = Some(key);
        let expected = pair.ways.iter_mut().flat_map(|way| std::mem::take(&mut way.waiters));
        let expected: Vec<u32> = expected.collect();
        let mut woken = Vec::new();
        let fd = pair.ours.as_raw_fd();
        self.reactor.deregister(key, fd, |waiter| woken.push(waiter)).unwrap();
        prop_assert_eq!(woken, expected);
        Ok(())
    }

    fn read_all(&mut self, at: usize) {
        let pair = &mut self.pairs[at];
        let blocked = until_blocked(|| (&pair.ours).read(&mut [0; 64]));
        if let (true, Some(key)) = (blocked, pair.key) {
            self.reactor.clear_ready(key, Direction::Read);
            pair.ways[0].ready = false;
            // An event for bytes that have been read may still be reported: the model does not say.
        }
    }

    fn fill(&mut self, at: usize) {
        let pair = &mut self.pairs[at];
        let blocked = until_blocked(|| (&pair.ours).write(&[7; 4096]));
        if let (true, Some(key)) = (blocked, pair.key) {
            self.reactor.clear_ready(key, Direction::Write);
            pair.ways[1].ready = false;
        }
    }

    fn wait(&mut self, at: usize, way: usize) -> Result<(), TestCaseError> {
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        let pair = &mut self.pairs[at];
        let Some(key) = pair.key else { return Ok(()) };
        let waits = self.reactor.wait(key, DIRECTIONS[way], waiter);
        prop_assert_eq!(waits, !pair.ways[way].ready);
        if waits {
            pair.ways[way].waiters.push(waiter);
        }
        Ok(())
    }

    fn unwait(&mut self, index: Index) {
        let mut all: Vec<(usize, usize, u32)> = Vec::new();
        for (at, pair) in self.pairs.iter().enumerate() {
            for (way, state) in pair.ways.iter().enumerate() {
                all.extend(state.waiters.iter().map(|waiter| (at, way, *waiter)));
            }
        }
        if all.is_empty() {
            return;
        }
        let (at, way, waiter) = all[index.index(all.len())];
        let pair = &mut self.pairs[at];
        self.reactor.unwait(pair.key.unwrap(), DIRECTIONS[way], waiter);
        pair.ways[way].waiters.retain(|w| *w != waiter);
    }

    /// What an old key is asked must not touch the registration that has its place now.
    fn stale(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(key) = self.pairs[at].gone else { return Ok(()) };
        for direction in DIRECTIONS {
            prop_assert!(!self.reactor.is_ready(key, direction));
            prop_assert!(!self.reactor.wait(key, direction, u32::MAX));
            self.reactor.clear_ready(key, direction);
            self.reactor.unwait(key, direction, 0);
        }
        let fd = self.pairs[at].ours.as_raw_fd();
        self.reactor.deregister(key, fd, |_| panic!("nobody waits on what has gone")).unwrap();
        Ok(())
    }

    /// Every way that something happened to becomes ready, its waiters are woken in their order.
    /// A way to which nothing happened may become ready too, because the poller reports all that
    /// holds of a descriptor with each event; then its waiters must be woken as well.
    fn poll(&mut self) -> Result<(), TestCaseError> {
        let mut woken = Vec::new();
        self.reactor.poll(Some(Duration::ZERO), |waiter| woken.push(waiter)).unwrap();
        let mut expected = Vec::new();
        for pair in &mut self.pairs {
            let Some(key) = pair.key else { continue };
            for (way, direction) in pair.ways.iter_mut().zip(DIRECTIONS) {
                let ready = self.reactor.is_ready(key, direction);
                prop_assert!(ready || !way.ready, "a poll takes no readiness away");
                prop_assert!(ready || !way.pending, "{:?} was not reported", direction);
                way.ready = ready;
                way.pending = false;
                if ready {
                    let waiters = std::mem::take(&mut way.waiters);
                    let place = waiters.iter().map(|w| woken.iter().position(|x| x == w));
                    let place: Vec<_> = place.collect();
                    prop_assert!(place.is_sorted(), "out of order: {:?} in {:?}", waiters, woken);
                    expected.extend(waiters);
                }
            }
        }
        expected.sort_unstable();
        woken.sort_unstable();
        prop_assert_eq!(woken, expected, "woken by an event exactly when ready, and once");
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Register(at) => self.register(at),
            Step::Deregister(at) => self.deregister(at)?,
            Step::Send(at) => {
                if let Some(mut peer) = self.pairs[at].peer.as_ref()
                    && peer.write(&[1]).is_ok()
                {
                    self.pairs[at].event(0);
                }
            }
            Step::Close(at) => {
                if self.pairs[at].peer.take().is_some() {
                    self.pairs[at].event(0);
                    self.pairs[at].event(1);
                }
            }
            Step::ReadAll(at) => {
                self.pairs[at].ways[0].pending &= self.pairs[at].peer.is_none();
                self.read_all(at);
            }
            Step::Fill(at) => {
                self.pairs[at].ways[1].pending &= self.pairs[at].peer.is_none();
                self.fill(at);
            }
            Step::Drain(at) => {
                let pair = &mut self.pairs[at];
                let Some(peer) = pair.peer.as_ref() else { return Ok(()) };
                let mut bytes = 0;
                until_blocked(|| (&*peer).read(&mut [0; 65536]).inspect(|n| bytes += n));
                if bytes > 0 && !pair.ways[1].ready {
                    pair.event(1);
                }
            }
            Step::Wait(at, read) => self.wait(at, usize::from(!read))?,
            Step::Unwait(index) => self.unwait(index),
            Step::Stale(at) => self.stale(at)?,
            Step::Poll => self.poll()?,
        }
        let waiting = self.pairs.iter().flat_map(|p| &p.ways).map(|w| w.waiters.len()).sum();
        prop_assert_eq!(self.reactor.waiting(), waiting);
        let registered = self.pairs.iter().filter(|p| p.key.is_some()).count();
        prop_assert_eq!(self.reactor.registered(), registered);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    #[cfg_attr(miri, ignore = "Miri lacks epoll_pwait2 and the options of the notifier")]
    fn p08_registrations_behave_like_the_model(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        world.poll()?;
        for at in 0..SOURCES {
            world.deregister(at)?;
        }
        prop_assert_eq!(world.reactor.waiting(), 0);
    }
}
