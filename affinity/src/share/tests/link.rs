use super::store::Store;
use crate::share::asking::Place;
use crate::share::link::{Event, Link, Options, Unconfirmed};
use crate::share::message::Message;
use crate::share::secret::Root;
use crate::share::value::{Held, Value};

const PLACE: Place = Place { zone: 0, fingerprint: 0x0123_4567_89ab_cdef };
const A: Held<'static> = Held { server: b"10.0.0.1:80", created: 5, ttl: None };
const B: Held<'static> = Held { server: b"10.0.0.2:80", created: 6, ttl: None };

fn options() -> Options {
    Options {
        prefix: b"sticky:".to_vec(),
        user: Vec::new(),
        password: None,
        database: 0,
        timeout: 200,
        zones: vec![b"sessions".to_vec()],
        has_file: true,
    }
}

fn joined(store: &mut Store) -> Link<char> {
    let mut link = Link::new(options(), Some(Root::new([1; 32])), 1);
    link.connected(0);
    assert_eq!(store.talk(&mut link, 1), ["Joined"]);
    assert!(link.is_up());
    link
}

#[test]
fn it_authenticates_and_selects() {
    let mut store = Store::default();
    let options = Options {
        user: b"nginx".to_vec(),
        password: Some(b"secret".to_vec()),
        database: 3,
        ..options()
    };
    let mut link = Link::<char>::new(options, Some(Root::new([1; 32])), 1);
    link.connected(0);
    store.talk(&mut link, 0);
    assert_eq!(store.commands, ["AUTH", "SELECT", "GET", "SET", "GET"]);
}

#[test]
fn what_one_machine_writes_the_other_finds() {
    let mut store = Store::default();
    let (mut one, mut two) = (joined(&mut store), joined(&mut store));
    two.ask(PLACE, 'x', 0).unwrap();
    assert!(store.talk(&mut two, 0).is_empty());
    one.claim(PLACE, A, 1000, 1);
    assert!(store.talk(&mut one, 1).is_empty());
    two.ask_again(5);
    let events = store.talk(&mut two, 5);
    assert_eq!(events.len(), 1);
    assert!(events[0].contains("Held") && events[0].ends_with("['x'])"), "{events:?}");
}

#[test]
fn nothing_is_an_answer_only_if_nobody_announces() {
    for announces in [false, true] {
        let mut store = Store::default();
        let mut link = joined(&mut store);
        if announces {
            store.values.insert(b"sticky:announcing".to_vec(), b"1".to_vec());
        }
        link.ask(PLACE, 'x', 0).unwrap();
        let mut events = Vec::new();
        for now in 0..200 {
            link.ask_again(now);
            events.extend(store.talk(&mut link, now));
        }
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].contains("Unproven"), announces, "{events:?}");
    }
}

#[test]
fn a_moved_and_an_ended_session() {
    let mut store = Store::default();
    let mut link = joined(&mut store);
    link.claim(PLACE, A, 1000, 0);
    store.talk(&mut link, 0);
    // The server of another machine has created a session of the same id.
    link.claim(PLACE, B, 1000, 0);
    let events = store.talk(&mut link, 0);
    assert!(events[0].contains("Was(Held"), "{events:?}");
    // Two clients chose the id: the first one counts.
    link.keep(PLACE, A, 1000, 0);
    let events = store.talk(&mut link, 0);
    assert!(events[0].contains("Is(Held") && events[0].contains("created: 6"), "{events:?}");
    link.change(PLACE, Value::Ended, 1000, 0);
    assert!(store.talk(&mut link, 0).is_empty());
    let keys = link.keys().unwrap();
    let (origin, message) = Message::open(keys, &store.published[0]).unwrap();
    assert_eq!((origin.sender, origin.number), (1, 1));
    assert_eq!(message.value, Value::Ended);
    assert_eq!((message.zone, message.fingerprint), (&b"sessions"[..], PLACE.fingerprint));
    // A machine that did not hear it writes what it has: it hears it then.
    link.keep(PLACE, A, 1000, 0);
    assert!(store.talk(&mut link, 0)[0].ends_with("Is(Ended))"));
    link.prolong(PLACE, 1000, 0);
    assert!(store.talk(&mut link, 0).is_empty());
    link.ask(PLACE, 'x', 0).unwrap();
    assert!(store.talk(&mut link, 0)[0].ends_with("Ended, ['x'])"));
}

#[test]
fn a_value_of_another_secret_is_none() {
    let mut store = Store::default();
    let mut link = joined(&mut store);
    let forged = Value::Held(A).seal(&Root::new([2; 32]).keys(), b"sessions", PLACE.fingerprint);
    store.values.insert(b"sticky:sessions:ASNFZ4mrze8".to_vec(), forged.as_slice().to_vec());
    link.ask(PLACE, 'x', 0).unwrap();
    assert!(store.talk(&mut link, 0).is_empty());
    assert_eq!(link.questions(), 1);
}

#[test]
fn the_first_machine_makes_the_secret_and_the_others_take_it() {
    let mut store = Store::default();
    let options = Options { has_file: false, ..options() };
    let (first, second) = (Root::new([1; 32]), Root::new([2; 32]));
    let mut links = [first, second].map(|_| Link::<char>::new(options.clone(), None, 1));
    for link in &mut links {
        link.connected(0);
        assert_eq!(store.talk(link, 0), ["NoSecret"]);
        link.ask_for_secret_again(500);
        assert_eq!(store.talk(link, 500), ["NoSecret"]);
        assert!(link.lacks_secret());
    }
    // Both at once.
    let [one, two] = &mut links;
    one.offer_secret(first, 3000);
    two.offer_secret(second, 3000);
    assert_eq!(store.talk(one, 3000), ["JoinedWith(Root)"]);
    assert_eq!(store.talk(two, 3000), ["JoinedWith(Root)"]);
    one.claim(PLACE, A, 1000, 0);
    store.talk(one, 0);
    two.ask(PLACE, 'x', 0).unwrap();
    assert!(store.talk(two, 0)[0].contains("Held"));
    // A machine with a secret of its own.
    let mut other = Link::<char>::new(options.clone(), Some(Root::new([3; 32])), 1);
    other.connected(0);
    let replies = store.serve(&mut other);
    assert!(other.receive(&replies, 0).unwrap_err().contains("another secret"));
    // The store has lost all: a machine that knows the secret gives it back.
    store.values.clear();
    one.closed();
    one.connected(0);
    assert_eq!(store.talk(one, 0), ["Joined"]);
    let mut new = Link::<char>::new(options, None, 1);
    new.connected(0);
    assert_eq!(store.talk(&mut new, 0), ["JoinedWith(Root)"]);
}

#[test]
fn a_machine_without_the_file_of_the_others() {
    let mut store = Store::default();
    joined(&mut store);
    let mut link = Link::<char>::new(Options { has_file: false, ..options() }, None, 1);
    link.connected(0);
    let replies = store.serve(&mut link);
    assert!(link.receive(&replies, 0).unwrap_err().contains("secret=FILE"));
}

#[test]
fn errors_close_the_connection_but_for_a_full_store() {
    for (error, expected) in [
        ("NOAUTH Authentication required.", Some("password_file")),
        ("WRONGPASS invalid", Some("password")),
        ("NOPERM this user", Some("allow")),
        ("LOADING Redis is loading", Some("loading")),
        ("READONLY You can't write", Some("replica")),
        ("MOVED 3999 127.0.0.1:6381", Some("cluster")),
        ("ERR unknown command", Some("refused")),
        ("OOM command not allowed", None),
    ] {
        let mut store = Store::default();
        let mut link = joined(&mut store);
        link.claim(PLACE, A, 1000, 0);
        let reply = format!("-{error}\r\n");
        match (link.receive(reply.as_bytes(), 0), expected) {
            (Err(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
            (Ok((_, Event::Quiet)), None) => (),
            other => panic!("{error}: {other:?}"),
        }
    }
}

#[test]
fn a_session_that_the_store_has_lost() {
    let mut store = Store::default();
    let mut link = joined(&mut store);
    link.prolong(PLACE, 1000, 0);
    assert!(store.talk(&mut link, 0)[0].ends_with("Lost)"));
    link.ping(0);
    assert!(store.talk(&mut link, 0).is_empty());
}

#[test]
fn a_server_that_drains() {
    let mut store = Store::default();
    let (mut one, mut two) = (joined(&mut store), joined(&mut store));
    two.ask_whether_drains(0, b"10.0.0.1:80", 0);
    assert!(store.talk(&mut two, 0).is_empty());
    one.drain(0, b"10.0.0.1:80", Some(77), 1000, 0);
    one.drain(0, b"10.0.0.2:80", None, 1000, 0);
    assert!(store.talk(&mut one, 0).is_empty());
    let keys = one.keys().unwrap();
    let told = store.published.iter().map(|message| Message::open(keys, message).unwrap().1.value);
    let expected = [Value::Drains(b"10.0.0.1:80", 77), Value::Serves(b"10.0.0.2:80")];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    two.ask_whether_drains(0, b"10.0.0.1:80", 0);
    two.ask_whether_drains(0, b"10.0.0.2:80", 0);
    let events = store.talk(&mut two, 0);
    assert!(events[0].contains("Is(Drains(") && events[1].contains("Is(Serves("), "{events:?}");
}

#[test]
fn a_question_waits_for_the_link() {
    let mut store = Store::default();
    let mut link = Link::new(options(), Some(Root::new([1; 32])), 1);
    link.ask(PLACE, 'x', 0).unwrap();
    link.ask_again(10);
    assert!(store.talk(&mut link, 10).is_empty() && link.next_at().is_none());
    link.connected(20);
    assert_eq!(store.talk(&mut link, 20), ["Joined"]);
    let mut writer = joined(&mut store);
    writer.claim(PLACE, A, 1000, 20);
    store.talk(&mut writer, 20);
    link.ask_again(20);
    assert!(store.talk(&mut link, 20)[0].contains("Held"));
}

#[test]
fn a_connection_that_ends_gives_back_its_requests() {
    let mut store = Store::default();
    let mut link = joined(&mut store);
    link.ask(PLACE, 'x', 0).unwrap();
    assert_eq!(link.next_at(), Some(600));
    assert!(!link.is_overdue(599) && link.is_overdue(600));
    link.change(PLACE, Value::Ended, 1000, 0);
    link.change(PLACE, Value::Held(A), 1000, 0);
    let changes = vec![Unconfirmed::Ended(PLACE), Unconfirmed::Moved(PLACE)];
    assert_eq!(link.closed(), (vec!['x'], changes));
    assert!(!link.is_up() && link.next_at().is_none());
    assert!(link.receive(b"+OK\r\n", 0).is_err());
}
