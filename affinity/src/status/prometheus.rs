//! The rendering for Prometheus: its text format 0.0.4.
//!
//! Counts of sessions have the labels of zone and server, since upstreams may share a zone. The state of
//! a server has the label of its upstream, too.

use core::fmt::{self, Write};

use super::output::{OutOfMemory, Output};
use super::report::{Admin, FileReport, Report, ServerReport, ShareReport, ZoneReport, ZoneServer};
use super::text::{Text, Utc};
use crate::servers::Known;

impl Report<'_> {
    /// The report as text.
    pub fn to_prometheus(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut output = Output::default();
        // The output cannot fail.
        match self.write_metrics(&mut output) {
            Ok(()) => output.finish(),
            Err(fmt::Error) => Err(OutOfMemory),
        }
    }

    fn write_metrics(&self, out: &mut Output) -> fmt::Result {
        gauge(out, "info", "Versions of the module and of nginx.")?;
        let versions = [
            ("version", Text(self.version.as_bytes())),
            ("nginx_version", Text(self.nginx_version.as_bytes())),
        ];
        sample(out, "info", &versions, 1)?;
        gauge(out, "uptime_seconds", "Time since this nginx was started.")?;
        sample(out, "uptime_seconds", &[], Millis(self.uptime_ms))?;

        self.of_zones(out, &ZONE_GAUGES, gauge)?;
        self.of_zones(out, &ZONE_COUNTERS, counter)?;
        gauge(out, "zone_timeout_seconds", "Idle time after which a session is forgotten.")?;
        for zone in &self.zones {
            let timeout = Millis(zone.timeout_ms);
            sample(out, "zone_timeout_seconds", &[("zone", zone.name)], timeout)?;
        }
        self.of_files(out)?;
        self.of_records(out)?;
        self.of_shares(out)?;
        counter(out, "requests_total", "Requests by $upstream_sticky_status.")?;
        for zone in &self.zones {
            for (status, count) in zone.requests() {
                let labels = [("zone", zone.name), ("status", Text(status.as_bytes()))];
                sample(out, "requests_total", &labels, count)?;
            }
        }
        counter(
            out,
            "rejected_requests_total",
            "Requests answered with 404, 503 or 400, by reason.",
        )?;
        for zone in &self.zones {
            for (reason, count) in zone.rejected() {
                let labels = [("zone", zone.name), ("reason", Text(reason.as_bytes()))];
                sample(out, "rejected_requests_total", &labels, count)?;
            }
        }

        self.of_zone_servers(out, &SERVER_GAUGES, gauge)?;
        self.of_zone_servers(out, &SERVER_COUNTERS, counter)?;
        gauge(out, "server_state", "1 for what is known of a server, by why that is so.")?;
        self.of_servers(|labels, server| {
            for state in Known::ALL {
                let is_it = server.state == state;
                let reason = server.reason.as_str().filter(|_| is_it).unwrap_or_default();
                let more = [("state", state.as_str()), ("reason", reason)];
                labels.sample(out, "server_state", &more, u64::from(is_it))?;
            }
            Ok(())
        })?;
        gauge(out, "server_state_since_seconds", "When that began (Unix time), if it has.")?;
        self.of_servers(|labels, server| match server.since {
            Some(Utc(since)) => labels.sample(out, "server_state_since_seconds", &[], since),
            None => Ok(()),
        })?;
        gauge(out, "server_admin", "1 for what the administrator wants of a server.")?;
        self.of_servers(|labels, server| {
            for admin in Admin::ALL {
                let more = [("admin", admin.as_str())];
                labels.sample(out, "server_admin", &more, u64::from(server.admin == admin))?;
            }
            Ok(())
        })
    }

    /// Calls `f` with the labels of each server of each upstream.
    fn of_servers(
        &self,
        mut f: impl FnMut(&Labels, &ServerReport<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut labels = Labels::default();
        for upstream in &self.upstreams {
            for server in &upstream.servers {
                labels.0.clear();
                let own = [
                    ("upstream", upstream.name),
                    ("zone", upstream.zone),
                    ("server", server.address),
                ];
                write_labels(&mut labels.0, &own)?;
                f(&labels, server)?;
            }
        }
        Ok(())
    }

    fn of_zones(&self, out: &mut Output, metrics: &[ZoneMetric], head: Head) -> fmt::Result {
        for (name, help, value) in metrics {
            head(out, name, help)?;
            for zone in &self.zones {
                sample(out, name, &[("zone", zone.name)], value(zone))?;
            }
        }
        Ok(())
    }

    /// Metrics of zones with a file; none if no zone has one.
    fn of_files(&self, out: &mut Output) -> fmt::Result {
        let files = || self.zones.iter().filter_map(|zone| Some((zone.name, zone.file?)));
        if files().next().is_none() {
            return Ok(());
        }
        gauge(out, "zone_file_info", "The file of a zone, and how the zone began.")?;
        for (zone, file) in files() {
            let began = Text(file.began.as_str().as_bytes());
            let labels = [("zone", zone), ("path", file.path), ("began", began)];
            sample(out, "zone_file_info", &labels, 1)?;
        }
        let metrics: [FileMetric; 7] = [
            ("zone_file_size_bytes", "Size of the file.", |file| Some(file.size)),
            ("zone_file_imported_sessions", "Sessions taken from another memory.", |file| {
                Some(file.began.numbers().0)
            }),
            ("zone_file_lost_sessions", "Sessions of that memory that were not taken.", |file| {
                let (taken, of, _) = file.began.numbers();
                Some(of.saturating_sub(taken))
            }),
            ("zone_file_damaged_pages", "Pages of the file that were left out.", |file| {
                Some(file.began.numbers().2)
            }),
            ("zone_file_linked", "0 if the file was removed or replaced.", |file| {
                Some(u64::from(file.linked))
            }),
            (
                "zone_file_synced_seconds",
                "When nginx had it written to its disk (Unix time).",
                |file| file.synced.map(|Utc(synced)| synced),
            ),
            ("zone_oldest_session_seconds", "Age of the oldest session, if any.", |file| {
                file.oldest_ms.map(|age| age / 1000)
            }),
        ];
        for (name, help, value) in metrics {
            gauge(out, name, help)?;
            for (zone, file) in files() {
                if let Some(value) = value(&file) {
                    sample(out, name, &[("zone", zone)], value)?;
                }
            }
        }
        Ok(())
    }

    /// Metrics of zones with records; none if no zone has some.
    fn of_records(&self, out: &mut Output) -> fmt::Result {
        let zones = || self.zones.iter().filter_map(|zone| Some((zone, zone.records?)));
        if zones().next().is_none() {
            return Ok(());
        }
        gauge(out, "zone_kept_records", "Sessions that can be revived.")?;
        for (zone, records) in zones() {
            sample(out, "zone_kept_records", &[("zone", zone.name)], records.kept)?;
        }
        counter(out, "records_evicted_total", "Records removed for want of room.")?;
        for (zone, records) in zones() {
            sample(out, "records_evicted_total", &[("zone", zone.name)], records.evicted)?;
        }
        for (index, (name, help)) in LOSSES.into_iter().enumerate() {
            counter(out, name, help)?;
            for (zone, _) in zones() {
                let count = zone.losses().get(index).map_or(0, |(_, count)| *count);
                sample(out, name, &[("zone", zone.name)], count)?;
            }
        }
        counter(out, "sessions_not_revived_total", "Lost sessions that were not revived.")?;
        for (zone, _) in zones() {
            for (reason, count) in zone.not_revived() {
                let labels = [("zone", zone.name), ("reason", Text(reason.as_bytes()))];
                sample(out, "sessions_not_revived_total", &labels, count)?;
            }
        }
        Ok(())
    }

    /// Metrics of zones that several machines share; none if no zone is shared.
    fn of_shares(&self, out: &mut Output) -> fmt::Result {
        let shares = || self.zones.iter().filter_map(|zone| Some((zone.name, zone.share?)));
        if shares().next().is_none() {
            return Ok(());
        }
        let metrics: [ShareMetric; 5] = [
            ("share_up", "1 if the store can be used.", |share| Some(share.up.into())),
            ("share_away_seconds", "Time since the store was lost.", |share| {
                Some(share.away_ms.unwrap_or_default() / 1000)
            }),
            ("share_waiting_sessions", "Sessions that requests wait for.", |share| {
                Some(share.waiting)
            }),
            ("share_listens", "1 if the messages of other machines are heard.", |share| {
                Some(share.listener.is_some().into())
            }),
            ("share_gaps_total", "How often messages may have been missed.", |share| {
                Some(share.gaps)
            }),
        ];
        for (name, help, value) in metrics {
            let head: Head = if name.ends_with("_total") { counter } else { gauge };
            head(out, name, help)?;
            for (zone, share) in shares() {
                if let Some(value) = value(&share) {
                    sample(out, name, &[("zone", zone), ("share", share.name)], value)?;
                }
            }
        }
        gauge(out, "share_round_trip_99_seconds", "99 of 100 replies came in this.")?;
        for (zone, share) in shares() {
            if let Some(millis) = share.round_trip_99_ms {
                let labels = [("zone", zone), ("share", share.name)];
                sample(out, "share_round_trip_99_seconds", &labels, Millis(millis))?;
            }
        }
        Ok(())
    }

    fn of_zone_servers(
        &self,
        out: &mut Output,
        metrics: &[ZoneServerMetric],
        head: Head,
    ) -> fmt::Result {
        for (name, help, value) in metrics {
            head(out, name, help)?;
            for zone in &self.zones {
                for holder in &zone.servers {
                    let labels = [("zone", zone.name), ("server", holder.address)];
                    sample(out, name, &labels, value(holder))?;
                }
            }
        }
        Ok(())
    }
}

/// The labels of a server, as text. They are the same in all of the server's samples.
#[derive(Default)]
struct Labels(Output);

impl Labels {
    /// Writes a sample with further labels. Their values need no escapes.
    fn sample(
        &self,
        out: &mut Output,
        name: &str,
        words: &[(&str, &str)],
        value: u64,
    ) -> fmt::Result {
        out.write_str(PREFIX)?;
        out.write_str(name)?;
        out.append(&self.0);
        for (label, word) in words {
            out.write_str(",")?;
            out.write_str(label)?;
            out.write_str("=\"")?;
            out.write_str(word)?;
            out.write_str("\"")?;
        }
        writeln!(out, "}} {value}")
    }
}

/// Name, help text, and the function that gives the value.
type ZoneMetric = (&'static str, &'static str, fn(&ZoneReport<'_>) -> u64);
type ShareMetric = (&'static str, &'static str, fn(&ShareReport<'_>) -> Option<u64>);
type FileMetric = (&'static str, &'static str, fn(&FileReport<'_>) -> Option<u64>);
type ZoneServerMetric = (&'static str, &'static str, fn(&ZoneServer<'_>) -> u64);
type Head = fn(&mut Output, &str, &str) -> fmt::Result;

const ZONE_GAUGES: [ZoneMetric; 3] = [
    ("zone_size_bytes", "Size of the zone.", |zone| zone.size),
    ("zone_capacity_sessions", "Sessions that fit in the zone.", |zone| zone.stats.capacity),
    ("zone_live_sessions", "Sessions in the zone.", |zone| zone.stats.live),
];

const ZONE_COUNTERS: [ZoneMetric; 7] = [
    ("sessions_created_total", "Sessions learned.", |zone| zone.stats.created),
    ("sessions_refreshed_total", "Requests that found their session.", |zone| zone.refreshed()),
    ("sessions_rebound_total", "Sessions moved to another server.", |zone| zone.stats.moved),
    ("sessions_expired_total", "Sessions at the end of their time.", |zone| zone.stats.expired),
    ("sessions_evicted_total", "Sessions removed for want of room.", |zone| zone.stats.evicted),
    ("sessions_forgotten_total", "Sessions ended or forgotten.", |zone| zone.stats.forgotten),
    ("recovered_workers_total", "Workers that died in a change of the zone.", |zone| {
        zone.stats.deaths
    }),
];

/// In the order of `ZoneReport::losses`.
const LOSSES: [(&str, &str); 3] = [
    ("sessions_pinged_total", "Sessions whose server was asked a ping."),
    ("sessions_lost_total", "Sessions that were lost by their server."),
    ("sessions_revived_total", "Lost sessions that were opened again."),
];

const SERVER_GAUGES: [ZoneServerMetric; 1] =
    [("server_live_sessions", "Sessions of the server.", |server| server.stats.live)];

const SERVER_COUNTERS: [ZoneServerMetric; 7] = [
    ("server_hits_total", "Requests sent to the server of their session.", |server| {
        server.stats.hits
    }),
    ("server_sessions_created_total", "Sessions learned from it.", |server| server.stats.created),
    ("server_sessions_moved_in_total", "Sessions moved to it.", |server| server.stats.moved_in),
    ("server_sessions_moved_out_total", "Sessions moved away.", |server| server.stats.moved_out),
    ("server_sessions_expired_total", "Sessions at the end of their time.", |server| {
        server.stats.expired
    }),
    ("server_sessions_evicted_total", "Sessions removed for want of room.", |server| {
        server.stats.evicted
    }),
    ("server_sessions_forgotten_total", "Sessions ended or forgotten.", |server| {
        server.stats.forgotten
    }),
];

/// The prefix of all names.
const PREFIX: &str = "nginx_sticky_";

fn gauge(out: &mut Output, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge")
}

fn counter(out: &mut Output, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} counter")
}

fn sample(
    out: &mut Output,
    name: &str,
    labels: &[(&str, Text<'_>)],
    value: impl fmt::Display,
) -> fmt::Result {
    // Not by one `write!`: a report has a dozen samples for each server, and formatting is slow.
    out.write_str(PREFIX)?;
    out.write_str(name)?;
    write_labels(out, labels)?;
    let after = if labels.is_empty() { "" } else { "}" };
    writeln!(out, "{after} {value}")
}

/// Writes labels without the closing brace.
fn write_labels(out: &mut Output, labels: &[(&str, Text<'_>)]) -> fmt::Result {
    for (place, (label, text)) in labels.iter().enumerate() {
        out.write_str(if place == 0 { "{" } else { "," })?;
        out.write_str(label)?;
        out.write_str("=\"")?;
        write!(Escaped(out), "{text}")?;
        out.write_str("\"")?;
    }
    Ok(())
}

/// Characters that the value of a label must not contain, and their escapes.
const ESCAPES: [(char, &str); 3] = [('\\', r"\\"), ('"', r#"\""#), ('\n', r"\n")];

/// Writes the value of a label.
struct Escaped<'a>(&'a mut Output);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly every text has none of them. To search byte by byte is fastest: all three are ASCII.
        let is_special = |byte| ESCAPES.iter().any(|(special, _)| *special == char::from(byte));
        if !text.bytes().any(is_special) {
            return self.0.write_str(text);
        }
        for piece in
            text.split_inclusive(|char| ESCAPES.iter().any(|(special, _)| *special == char))
        {
            let escape = |(special, escape)| Some((piece.strip_suffix(special)?, escape));
            let (plain, escape) = ESCAPES.into_iter().find_map(escape).unwrap_or((piece, ""));
            self.0.write_str(plain)?;
            self.0.write_str(escape)?;
        }
        Ok(())
    }
}

/// Milliseconds, shown in seconds.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
