//! Listeners of a table whose writers, and who themselves, are killed at random moments.

use super::common::watch::Watch;
use super::random::{change, Tables};
use super::*;

const WRITERS: usize = 3;

/// Memory shared with the children beside the tables.
#[repr(C)]
struct Control {
    /// Changes that writers have begun, or wait to begin.
    begun: AtomicU64,
    /// Changes that they may begin.
    allowed: AtomicU64,
    refused: AtomicU64,
    /// The print of each session's server, as a listener has heard it last; zero if it has ended.
    heard: [AtomicU64; IDS as usize],
    /// Calls of `hear`, and what was heard.
    calls: AtomicU64,
    events: AtomicU64,
}

fn kills() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(400)
}

/// Makes changes of all kinds.
fn write(tables: &Tables, control: &Control, seed: u64) {
    let mut random = Random(seed);
    loop {
        let id = random.below(IDS);
        change(tables, &control.refused, &mut random, id, key(&tables.table, id));
    }
}

/// Makes changes as far as they are allowed: a note in each, so that a kill is often inside one.
fn write_allowed(table: &Table, servers: [ServerId; 2], control: &Control, seed: u64) {
    let mut random = Random(seed);
    loop {
        let begun = control.begun.fetch_add(1, Ordering::SeqCst);
        while begun >= control.allowed.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let key = key(table, random.below(IDS));
        match random.below(8) {
            0..=2 => {
                table.forget(key, End::Deleted);
            }
            number => {
                let ttl = (number == 3).then_some(Span(2));
                let server = servers[random.below(2) as usize];
                table.bind(key, server, ttl, now(), &ENDLESS, Existing::Move);
            }
        }
    }
}

/// A listener that comes in time hears the end of each session, and all else, whichever writer died at
/// whichever instruction.
pub fn what_is_heard_last_is_what_the_table_says() {
    // Fewer than one shard's ring has notes.
    const AT_ONCE: u64 = 50;
    let [memory, region] = [64 * 1024, 1 << 20].map(Mapping::new);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.start.cast().as_ref() };
    let table = &region.table();
    let servers = [0, 1].map(|number| table.intern(&address(number), now()).unwrap());
    let start = |seed| spawn(move || write_allowed(table, servers, control, seed));
    let mut watch = Watch::new(table);
    let mut random = Random(std::process::id().into());
    let mut children: Vec<i32> = (0..WRITERS as u64).map(start).collect();
    let (least, mut kills, mut ends, mut events) = (kills(), 0, 0, 0);
    // A kill in a hundred is inside a change.
    while kills < least || table.stats().deaths < 2 {
        assert!(kills < 100 * least, "the kills have missed the changes");
        let begun = control.begun.load(Ordering::SeqCst);
        let allowed = begun.min(control.allowed.load(Ordering::SeqCst)) + AT_ONCE;
        control.allowed.store(allowed, Ordering::SeqCst);
        // The kill comes in the middle of these changes.
        let enough = allowed - 1 - random.below(AT_ONCE - 10);
        while control.begun.load(Ordering::SeqCst) < enough {
            std::thread::yield_now();
        }
        let number = random.below(WRITERS as u64) as usize;
        end(children[number]);
        // Beside the other writers.
        let heard = watch.hear(table);
        events += heard.len();
        ends += heard.iter().filter(|heard| matches!(heard.change, Change::Ended(_))).count();
        children[number] = start(random.next());
        kills += 1;
        if kills % 20 == 0 {
            children.drain(..).for_each(end);
            watch.hear(table);
            let wrong = watch.wrong(table, (0..IDS).map(|id| key(table, id)));
            assert!(wrong.is_empty(), "{wrong:?} after {kills} kills");
            children = (0..WRITERS).map(|_| start(random.next())).collect();
        }
        assert!(!watch.missed);
    }
    children.into_iter().for_each(end);
    let deaths = table.stats().deaths;
    println!(
        "listener in time: {kills} kills, {deaths} inside a change; {events} events, {ends} ends"
    );
    assert!(events > kills && ends > 0);
}

/// Listeners that come too late, and die themselves: only ends are unheard, and whoever looks up what it
/// knows finds them.
pub fn what_is_not_heard_is_repaired() {
    let [memory, region, former] = [64 * 1024, Table::MIN_SIZE, 64 * 1024].map(Mapping::new);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.start.cast().as_ref() };
    let tables = Tables { table: region.table(), former: former.table() };
    let table = &tables.table;
    let ids: std::collections::HashMap<Key, u64> =
        (0..IDS).map(|id| (key(table, id), id)).collect();
    let note = |heard: Heard| {
        let print = heard.held.map_or(0, |held| held.session.server.print);
        control.heard[ids[&heard.key] as usize].store(print, Ordering::SeqCst);
        control.events.fetch_add(1, Ordering::SeqCst);
    };
    let listen = || {
        let mut listener = Listener::new();
        loop {
            table.hear(&mut listener, 50, note);
            control.calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    let mut random = Random(std::process::id().into());
    let start = |number: usize, seed: u64| match number {
        0 => spawn(listen),
        _ => spawn(|| write(&tables, control, seed)),
    };
    let mut children: Vec<i32> = (0..=WRITERS).map(|number| start(number, number as u64)).collect();
    let (kills, mut unheard) = (kills(), 0);
    for kill in 0..kills {
        sleep_micros(random.below(1500));
        let number = random.below(children.len() as u64) as usize;
        end(children[number]);
        children[number] = start(number, random.next());
        if kill % 50 == 49 {
            children.drain(..).for_each(end);
            // As the next listener does. It is the first to lock, and finishes what a writer has begun.
            let (mut listener, mut missed) = (Listener::new(), false);
            loop {
                let hearing = table.hear(&mut listener, 50, note);
                missed |= hearing.missed;
                if !hearing.more {
                    break;
                }
            }
            assert!(missed);
            for id in 0..IDS {
                let print = table.held(key(table, id)).map_or(0, |held| held.session.server.print);
                let heard = control.heard[id as usize].load(Ordering::SeqCst);
                if heard != print {
                    assert_eq!(print, 0, "session {id} is there and not heard of");
                    // What the listener's list has, and the table has not: its repair.
                    control.heard[id as usize].store(0, Ordering::SeqCst);
                    unheard += 1;
                }
            }
            children = (0..=WRITERS).map(|number| start(number, random.next())).collect();
        }
    }
    children.into_iter().for_each(end);
    let [calls, events] =
        [&control.calls, &control.events].map(|count| count.load(Ordering::SeqCst));
    let deaths = table.stats().deaths;
    println!("listeners late and killed: {kills} kills, {deaths} inside a change; {calls} calls, {events} events, {unheard} ends unheard and repaired");
    assert!(unheard > 0 && deaths > 0);
}
