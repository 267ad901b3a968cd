//! The one integration binary: tests that run against real parts, by subject.

mod harness;

#[path = "integration/account_of_lead.rs"]
mod account_of_lead;
#[path = "integration/account_totals.rs"]
mod account_totals;
#[path = "integration/alert_days.rs"]
mod alert_days;
#[path = "integration/answering.rs"]
mod answering;
#[path = "integration/answers.rs"]
mod answers;
#[path = "integration/away.rs"]
mod away;
#[path = "integration/backup.rs"]
mod backup;
#[path = "integration/bounds.rs"]
mod bounds;
#[path = "integration/built_from.rs"]
mod built_from;
#[path = "integration/campaigns.rs"]
mod campaigns;
#[path = "integration/chart.rs"]
mod chart;
#[path = "integration/claims.rs"]
mod claims;
#[path = "integration/closing.rs"]
mod closing;
#[path = "integration/commands.rs"]
mod commands;
#[path = "integration/controller.rs"]
mod controller;
#[path = "integration/crash.rs"]
mod crash;
#[path = "integration/crowds.rs"]
mod crowds;
#[path = "integration/daemons.rs"]
mod daemons;
#[path = "integration/dashboards.rs"]
mod dashboards;
#[path = "integration/deadlines.rs"]
mod deadlines;
#[path = "integration/details.rs"]
mod details;
#[path = "integration/docs.rs"]
mod docs;
#[path = "integration/drains.rs"]
mod drains;
#[path = "integration/edges.rs"]
mod edges;
#[path = "integration/encryption.rs"]
mod encryption;
#[path = "integration/export_commands.rs"]
mod export_commands;
#[path = "integration/exports.rs"]
mod exports;
#[path = "integration/facts.rs"]
mod facts;
#[path = "integration/faults.rs"]
mod faults;
#[path = "integration/fleet.rs"]
mod fleet;
#[path = "integration/gauges.rs"]
mod gauges;
#[path = "integration/history.rs"]
mod history;
#[path = "integration/holding.rs"]
mod holding;
#[path = "integration/holds.rs"]
mod holds;
#[path = "integration/import_files.rs"]
mod import_files;
#[path = "integration/imports.rs"]
mod imports;
#[path = "integration/inputs.rs"]
mod inputs;
#[path = "integration/kubernetes.rs"]
mod kubernetes;
#[path = "integration/last_lead.rs"]
mod last_lead;
#[path = "integration/layout.rs"]
mod layout;
#[path = "integration/lead_views.rs"]
mod lead_views;
#[path = "integration/leaving.rs"]
mod leaving;
#[path = "integration/limits.rs"]
mod limits;
#[path = "integration/local_days.rs"]
mod local_days;
#[path = "integration/lock_order.rs"]
mod lock_order;
#[path = "integration/log.rs"]
mod log;
#[path = "integration/metrics_page.rs"]
mod metrics_page;
#[path = "integration/model.rs"]
mod model;
#[path = "integration/namesakes.rs"]
mod namesakes;
#[path = "integration/neighbours.rs"]
mod neighbours;
#[path = "integration/nothing_lost.rs"]
mod nothing_lost;
#[path = "integration/one_campaign.rs"]
mod one_campaign;
#[path = "integration/optimistic.rs"]
mod optimistic;
#[path = "integration/others.rs"]
mod others;
#[path = "integration/outcomes.rs"]
mod outcomes;
#[path = "integration/outside.rs"]
mod outside;
#[path = "integration/pages.rs"]
mod pages;
#[path = "integration/parts.rs"]
mod parts;
#[path = "integration/performance.rs"]
mod performance;
#[path = "integration/picture.rs"]
mod picture;
#[path = "integration/plans.rs"]
mod plans;
#[path = "integration/reading.rs"]
mod reading;
#[path = "integration/readme.rs"]
mod readme;
#[path = "integration/reasons.rs"]
mod reasons;
#[path = "integration/removal.rs"]
mod removal;
#[path = "integration/replicas.rs"]
mod replicas;
#[path = "integration/reporting.rs"]
mod reporting;
#[path = "integration/retiring.rs"]
mod retiring;
#[path = "integration/retries.rs"]
mod retries;
#[path = "integration/roles.rs"]
mod roles;
#[path = "integration/rules.rs"]
mod rules;
#[path = "integration/schema.rs"]
mod schema;
#[path = "integration/senders.rs"]
mod senders;
#[path = "integration/sharing.rs"]
mod sharing;
#[path = "integration/shown.rs"]
mod shown;
#[path = "integration/simulator.rs"]
mod simulator;
#[path = "integration/stop.rs"]
mod stop;
#[path = "integration/storage.rs"]
mod storage;
#[path = "integration/streams.rs"]
mod streams;
#[path = "integration/telemetry.rs"]
mod telemetry;
#[path = "integration/tenants.rs"]
mod tenants;
#[path = "integration/terminal.rs"]
mod terminal;
#[path = "integration/traces.rs"]
mod traces;
#[path = "integration/transport.rs"]
mod transport;
#[path = "integration/unread.rs"]
mod unread;
#[path = "integration/upgrade.rs"]
mod upgrade;
#[path = "integration/upkeep.rs"]
mod upkeep;
#[path = "integration/verdicts.rs"]
mod verdicts;
#[path = "integration/views.rs"]
mod views;
#[path = "integration/waiting.rs"]
mod waiting;
#[path = "integration/watchers.rs"]
mod watchers;
#[path = "integration/watching.rs"]
mod watching;
#[path = "integration/ways.rs"]
mod ways;
#[path = "integration/wiring.rs"]
mod wiring;
#[path = "integration/world.rs"]
mod world;
