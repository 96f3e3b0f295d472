//! Processes that are killed at random moments, in a superseded table and its successor.

use super::*;

/// Memory shared with the children beside the tables.
#[repr(C)]
struct Handover {
    /// The session that an old worker deals with next.
    next: AtomicU64,
    /// Of each session: an old worker has finished with it.
    done: [AtomicBool; IDS as usize],
    /// Lookups that did not see that.
    wrong: AtomicU64,
    stop: AtomicBool,
}

/// Old workers forget and move sessions, and create some again and forget them again. New workers look up
/// and pass over the old table. The next lookup sees what an old worker has finished. In the end both
/// tables agree on each session, whichever process died at whichever moment.
pub fn successors_know_what_killed_workers_have_done() {
    const ROUNDS: usize = 10;
    let mut random = Random(std::process::id().into());
    let (mut deaths, mut kills) = (0, 0);
    for _ in 0..ROUNDS {
        let [memory, old_region, new_region] = [4096, 128 * 1024, 256 * 1024].map(Mapping::new);
        // SAFETY: zeroed shared memory, of which all fields are atomics.
        let handover: &Handover = unsafe { memory.start.cast().as_ref() };
        let (old, new) = (old_region.table(), new_region.table());
        let [other, one] = [1, 0].map(|number| old.intern(&address(number), now()).unwrap());
        for id in 0..IDS {
            old.bind(key(&old, id), one, None, now(), &ENDLESS, Existing::Keep);
        }
        old.supersede();
        new.import(&old, now(), &ENDLESS);
        let old_worker = || spawn(|| end_and_move(&old, [other, one], handover));
        let new_worker = |number: u64| spawn(move || follow(&old, &new, other, handover, number));
        let mut children = [old_worker(), old_worker(), new_worker(0), new_worker(1)];
        while handover.next.load(Ordering::SeqCst) < IDS {
            sleep_micros(random.below(300));
            let number = random.below(4) as usize;
            end(children[number]);
            children[number] =
                if number < 2 { old_worker() } else { new_worker(number as u64 - 2) };
            kills += 1;
        }
        handover.stop.store(true, Ordering::SeqCst);
        for child in children {
            assert_eq!(wait(child), Some(0), "a child failed");
        }
        assert_eq!(handover.wrong.load(Ordering::SeqCst), 0);
        let mut pass = HandOn::default();
        while old.hand_on_some(&mut pass, iter::once(&new), now(), &ENDLESS, 240) {}
        let mut counts = [0; 2];
        for id in 0..IDS {
            let key = key(&old, id);
            assert!(!old.is_ahead(key));
            let found = old.lookup(key, now(), &ENDLESS).map(|session| session.server.print);
            assert_eq!(look_up(&old, &new, key), found, "session {id}");
            counts[usize::from(found.is_some())] += 1;
        }
        assert!(counts.iter().all(|count| *count > IDS / 10), "{counts:?}");
        for table in [&old, &new] {
            // A new worker may have died with the lock.
            for id in 0..IDS {
                let server = table.servers().next().unwrap();
                table.bind(key(table, id), server, None, now(), &ENDLESS, Existing::Keep);
            }
            let stats = table.stats();
            assert_eq!((stats.live, stats.evicted, stats.expired), (IDS, 0, 0), "{stats:?}");
            let live = |server| table.server_stats(server).unwrap().live;
            assert_eq!(table.servers().map(live).sum::<u64>(), IDS);
            deaths += stats.deaths;
        }
    }
    println!("{kills} kills in {ROUNDS} successions, {deaths} of them inside a change");
    assert!(deaths > 0);
}

fn end_and_move(old: &Table, [other, one]: [ServerId; 2], handover: &Handover) {
    const CHANGES: usize = 100;
    while !handover.stop.load(Ordering::SeqCst) {
        let id = handover.next.fetch_add(1, Ordering::SeqCst);
        let Some(done) = handover.done.get(id as usize) else { break };
        let key = key(old, id);
        let bind = |server| old.bind(key, server, None, now(), &ENDLESS, Existing::Move);
        for _ in 0..CHANGES {
            match id % 4 {
                // The last word: forgotten.
                0 => {
                    bind(one);
                    assert!(old.forget(key, End::Forgotten));
                }
                // Moved.
                1 => {
                    bind(one);
                    bind(other);
                }
                // Created again.
                2 => {
                    assert!(old.forget(key, End::Forgotten));
                    bind(other);
                }
                _ => (),
            }
        }
        if id % 4 == 3 {
            continue;
        }
        done.store(true, Ordering::SeqCst);
    }
}

/// The print of a session's server as a new worker finds it.
fn look_up(old: &Table, new: &Table, key: Key) -> Option<u64> {
    if old.is_ahead(key) {
        old.hand_on(key, iter::once(new), now(), &ENDLESS);
    }
    let session = new.lookup(key, now(), &ENDLESS).or_else(|| {
        new.import_session(old, key, now(), &ENDLESS);
        new.lookup(key, now(), &ENDLESS)
    });
    Some(session?.server.print)
}

fn follow(old: &Table, new: &Table, other: ServerId, handover: &Handover, number: u64) {
    let mut random = Random(number);
    let mut pass = HandOn::default();
    while !handover.stop.load(Ordering::SeqCst) {
        if number == 0 {
            old.hand_on_some(&mut pass, iter::once(new), now(), &ENDLESS, 60);
        }
        let id = random.below(IDS);
        let was_done = handover.done[id as usize].load(Ordering::SeqCst);
        let key = key(new, id);
        let found = look_up(old, new, key);
        let expected = if id % 4 == 0 { None } else { Some(other.print) };
        if was_done && found != expected {
            handover.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}
