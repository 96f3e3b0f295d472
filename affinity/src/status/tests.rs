use super::*;
use crate::policy::{Rejection, Status};
use crate::servers::{Known, Reason, Source};
use crate::table::{ServerStats, Stats};
use crate::time::Tick;

/// Addresses need no quotes in JSON, names may.
const ADDRESS: Text<'static> = Text(b"127.0.0.1:8001");

const LOSSES: [Loss; 6] = [
    Loss::Pinged,
    Loss::Lost,
    Loss::Revived,
    Loss::NotRevived(Refused::NoServer),
    Loss::NotRevived(Refused::Misfit),
    Loss::NotRevived(Refused::Error),
];

fn report() -> Report<'static> {
    let mut tally = Tally::default();
    let count = |tally: &mut Tally, index: usize, n: u64| tally.0[index] = n;
    count(&mut tally, Tally::of_status(Status::None).unwrap(), 1);
    count(&mut tally, Tally::of_status(Status::New).unwrap(), 2);
    count(&mut tally, Tally::of_status(Status::Unknown).unwrap(), 3);
    count(&mut tally, Tally::of_status(Status::Unavailable).unwrap(), 4);
    count(&mut tally, Tally::of_status(Status::Gone).unwrap(), 5);
    count(&mut tally, Tally::of_status(Status::Rebound).unwrap(), 6);
    count(&mut tally, Tally::of_status(Status::Revived).unwrap(), 10);
    count(&mut tally, Tally::of_rejection(Rejection::NotFound), 7);
    count(&mut tally, Tally::of_rejection(Rejection::Gone), 8);
    count(&mut tally, Tally::of_rejection(Rejection::Unavailable), 9);
    for (number, loss) in (11..).zip(LOSSES) {
        count(&mut tally, Tally::of_loss(loss), number);
    }
    let stats = Stats {
        capacity: 32_000,
        live: 10,
        hits: 100,
        unknown: 3,
        created: 20,
        moved: 1,
        expired: 5,
        evicted: 3,
        forgotten: 2,
        deaths: 1,
    };
    let holder = ServerStats {
        live: 10,
        hits: 100,
        created: 19,
        moved_in: 1,
        moved_out: 0,
        expired: 5,
        evicted: 3,
        forgotten: 2,
    };
    Report {
        version: "0.1.0",
        nginx_version: "1.26.3",
        uptime_ms: 61_005,
        write: false,
        zones: vec![ZoneReport {
            name: Text(b"a \"zone\"\\\n"),
            size: 1 << 20,
            timeout_ms: 600_000,
            lifetime_ms: None,
            file: Some(FileReport {
                path: Text(b"/var/lib/nginx/sticky/zone"),
                size: 1 << 21,
                began: Began::Imported { taken: 7, of: 9, damaged_pages: 2 },
                linked: true,
                synced: Some(Utc(60)),
                oldest_ms: Some(61_000),
            }),
            records: Some(RecordsReport { size: 1 << 22, kept: 9, evicted: 1 }),
            share: Some(ShareReport {
                name: Text(b"mesh"),
                store: Text(b"10.0.0.5:6379"),
                up: false,
                away_ms: Some(2_500),
                round_trip_ms: Some(0),
                round_trip_99_ms: Some(3),
                waiting: 4,
                listener: None,
                heard_ms: Some(2_600),
                gaps: 1,
                announced: false,
            }),
            stats,
            tally,
            servers: vec![ZoneServer { address: ADDRESS, stats: holder }],
        }],
        upstreams: vec![UpstreamReport {
            name: Text(b"mcp"),
            zone: Text(b"a \"zone\"\\\n"),
            servers: vec![ServerReport {
                address: ADDRESS,
                route: None,
                state: Known::Unreachable,
                reason: Reason::Refused,
                since: Some(Utc(60)),
                seen_by: Source::Attempt,
                last_failure: Some(Utc(61)),
                last_success: None,
                admin: Admin::Draining,
                backup: false,
                live: 10,
                hits: 100,
                drain_deadline: Some(Utc(0)),
            }],
        }],
    }
}

fn json(document: &Document<'_>) -> serde_json::Value {
    serde_json::from_slice(&document.to_json().unwrap()).unwrap()
}

#[test]
fn the_whole_report_is_one_object() {
    let report = report();
    let shown = json(&Document::Report(&report));
    let zone = &shown["zones"]["a \"zone\"\\\n"];
    assert_eq!(shown["version"], "0.1.0");
    assert_eq!(zone["created"], 20);
    assert_eq!(zone["refreshed"], 100 + 4 + 6 + 10);
    assert_eq!(zone["lifetime_ms"], serde_json::Value::Null);
    assert_eq!(
        zone["share"],
        serde_json::json!({
            "name": "mesh", "store": "10.0.0.5:6379", "up": false, "away_ms": 2500, "round_trip_ms": 0,
            "round_trip_99_ms": 3, "waiting": 4, "listener": null, "heard_ms": 2600, "gaps": 1,
            "announced": false
        })
    );
    let file = &zone["file"];
    assert_eq!(file["path"], "/var/lib/nginx/sticky/zone");
    assert_eq!((&file["began"], &file["linked"]), (&"imported".into(), &true.into()));
    assert_eq!(file["synced"], "1970-01-01T00:01:00Z");
    let numbers = ["size_bytes", "imported", "imported_of", "damaged_pages", "oldest_ms"];
    assert_eq!(numbers.map(|name| file[name].as_u64().unwrap()), [1 << 21, 7, 9, 2, 61_000]);
    assert_eq!(
        zone["requests"],
        serde_json::json!({
            "none": 1, "new": 2, "hit": 100, "unknown": 3, "unavailable": 4, "gone": 5, "rebound": 6,
            "revived": 10
        })
    );
    assert_eq!(zone["rejected"], serde_json::json!({"unknown": 7, "gone": 8, "unavailable": 9}));
    assert_eq!(
        zone["records"],
        serde_json::json!({
            "size_bytes": 1 << 22, "kept": 9, "evicted": 1, "pinged": 11, "lost": 12, "revived": 13,
            "not_revived": {"no_server": 14, "misfit": 15, "error": 16}
        })
    );
    assert_eq!(zone["servers"]["127.0.0.1:8001"]["moved_in"], 1);
    let server = &shown["upstreams"]["mcp"]["servers"]["127.0.0.1:8001"];
    assert_eq!((&server["state"], &server["admin"]), (&"unreachable".into(), &"draining".into()));
    assert_eq!(
        (&server["reason"], &server["seen_by"]),
        (&"connection refused".into(), &"attempt".into())
    );
    assert_eq!(server["since"], "1970-01-01T00:01:00Z");
    assert_eq!(server["last_failure"], "1970-01-01T00:01:01Z");
    assert_eq!(
        (&server["last_success"], &server["drain"]),
        (&serde_json::Value::Null, &true.into())
    );
    assert_eq!(server["drain_deadline"], "1970-01-01T00:00:00Z");
}

#[test]
fn a_resource_is_its_part_of_the_report() {
    let report = report();
    let whole = json(&Document::Report(&report));
    let name = b"a \"zone\"\\\n";
    let part = |resource| json(&Document::of(&report, &resource).unwrap());
    assert_eq!(part(Resource::Everything), whole);
    assert_eq!(part(Resource::Zones), whole["zones"]);
    assert_eq!(part(Resource::Zone(name)), whole["zones"]["a \"zone\"\\\n"]);
    assert_eq!(part(Resource::Upstreams), whole["upstreams"]);
    assert_eq!(part(Resource::Upstream(b"mcp")), whole["upstreams"]["mcp"]);
    assert_eq!(part(Resource::Servers(b"mcp")), whole["upstreams"]["mcp"]["servers"]);
    assert_eq!(
        part(Resource::Server(b"mcp", ADDRESS.0)),
        whole["upstreams"]["mcp"]["servers"]["127.0.0.1:8001"]
    );
    for (resource, refusal) in [
        (Resource::Zone(b"mcp"), NO_ZONE),
        (Resource::Upstream(b"m"), NO_UPSTREAM),
        (Resource::Servers(b"m"), NO_UPSTREAM),
        (Resource::Server(b"mcp", b"127.0.0.1"), NO_SERVER),
    ] {
        assert_eq!(Document::of(&report, &resource).unwrap_err(), refusal);
    }
}

#[test]
fn errors_and_answers_are_json_too() {
    assert_eq!(
        json(&Document::Refusal(NO_ZONE)),
        serde_json::json!({"error": {"status": 404, "text": "no such zone"}})
    );
    let found = Outcome::Session { server: ADDRESS, age_ms: 2, idle_ms: 1 };
    assert_eq!(
        json(&Document::Outcome(found)),
        serde_json::json!({"server": "127.0.0.1:8001", "age_ms": 2, "idle_ms": 1})
    );
    assert_eq!(
        json(&Document::Outcome(Outcome::Forgotten { forgotten: 3 })),
        serde_json::json!({"forgotten": 3})
    );
}

#[test]
fn prometheus_gets_a_line_for_each_number() {
    let text = String::from_utf8(report().to_prometheus().unwrap()).unwrap();
    for line in [
        r#"nginx_sticky_info{version="0.1.0",nginx_version="1.26.3"} 1"#,
        "# TYPE nginx_sticky_uptime_seconds gauge",
        "nginx_sticky_uptime_seconds 61.005",
        r#"nginx_sticky_zone_size_bytes{zone="a \"zone\"\\\n"} 1048576"#,
        "# TYPE nginx_sticky_sessions_created_total counter",
        r#"nginx_sticky_sessions_created_total{zone="a \"zone\"\\\n"} 20"#,
        r#"nginx_sticky_zone_timeout_seconds{zone="a \"zone\"\\\n"} 600.000"#,
        r#"nginx_sticky_share_up{zone="a \"zone\"\\\n",share="mesh"} 0"#,
        r#"nginx_sticky_share_away_seconds{zone="a \"zone\"\\\n",share="mesh"} 2"#,
        "# TYPE nginx_sticky_share_gaps_total counter",
        r#"nginx_sticky_share_round_trip_99_seconds{zone="a \"zone\"\\\n",share="mesh"} 0.003"#,
        r#"nginx_sticky_requests_total{zone="a \"zone\"\\\n",status="hit"} 100"#,
        r#"nginx_sticky_rejected_requests_total{zone="a \"zone\"\\\n",reason="gone"} 8"#,
        r#"nginx_sticky_zone_kept_records{zone="a \"zone\"\\\n"} 9"#,
        r#"nginx_sticky_records_evicted_total{zone="a \"zone\"\\\n"} 1"#,
        r#"nginx_sticky_sessions_pinged_total{zone="a \"zone\"\\\n"} 11"#,
        r#"nginx_sticky_sessions_lost_total{zone="a \"zone\"\\\n"} 12"#,
        r#"nginx_sticky_sessions_revived_total{zone="a \"zone\"\\\n"} 13"#,
        r#"nginx_sticky_sessions_not_revived_total{zone="a \"zone\"\\\n",reason="misfit"} 15"#,
        r#"nginx_sticky_server_live_sessions{zone="a \"zone\"\\\n",server="127.0.0.1:8001"} 10"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    for (end, count) in [
        (r#",state="unreachable",reason="connection refused"} 1"#, 1),
        (r#",state="up",reason=""} 0"#, 1),
        (
            r#"server_state_since_seconds{upstream="mcp",zone="a \"zone\"\\\n",server="127.0.0.1:8001"} 60"#,
            1,
        ),
        (r#",admin="draining"} 1"#, 1),
        (r#",admin="in_service"} 0"#, 1),
    ] {
        assert_eq!(text.matches(end).count(), count, "{end} in\n{text}");
    }
}

#[test]
fn each_counter_has_a_place_of_its_own() {
    let statuses = [
        Status::None,
        Status::New,
        Status::Unknown,
        Status::Unavailable,
        Status::Gone,
        Status::Rebound,
        Status::Revived,
    ];
    let rejections = [Rejection::NotFound, Rejection::Gone, Rejection::Unavailable];
    let mut places: Vec<usize> = statuses.into_iter().filter_map(Tally::of_status).collect();
    places.extend(LOSSES.map(Tally::of_loss));
    places.extend(rejections.map(Tally::of_rejection));
    places.sort_unstable();
    assert_eq!(places, (0..Tally::LEN).collect::<Vec<_>>());
}

#[test]
fn a_drain_and_its_deadline_are_one_word() {
    assert!(!Draining::NO.is_on());
    assert!(Draining::until(None).is_on());
    assert_eq!(Draining::until(None).deadline(), None);
    for tick in [0, 1, 2, 3, 1000, u32::MAX - 2, u32::MAX - 1, u32::MAX] {
        let draining = Draining::until(Some(Tick(tick)));
        assert!(draining.is_on());
        let later = draining.deadline().unwrap().0.wrapping_sub(tick);
        assert!(later <= 3, "{tick}: {later} ticks later");
    }
}
