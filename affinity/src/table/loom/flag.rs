//! The flag that stands for a list.

use ::loom::sync::Arc;
use ::loom::thread;

use super::model::explore;
use crate::table::sync::flag::Flag;
use crate::table::sync::{AtomicU32, Ordering};

/// Two workers change a server each and note what they see then: when both have returned, the flag
/// says what the servers say.
#[test]
fn a_flag_ends_on_what_its_list_says() {
    for (before, after) in [
        ([true, false], [false, true]),
        ([true, true], [false, false]),
        ([false, false], [true, true]),
    ] {
        explore(move || {
            let list = before.map(|it| AtomicU32::new(u32::from(it)));
            let shared = Arc::new((Flag::default(), list));
            let change = |server: usize| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (flag, list) = &*shared;
                    list[server].store(u32::from(after[server]), Ordering::Relaxed);
                    flag.note(|| list.iter().any(|it| it.load(Ordering::Relaxed) != 0));
                })
            };
            let workers = [change(0), change(1)];
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(shared.0.is_set(), after.contains(&true));
        });
    }
}
