//! One convergence run per shape of destination (DESIGN §4.6): the real binary against small stateful
//! twins of the vendors, which keep contacts and lists as the vendor would.
//!
//! A twin answers in its vendor's own words: partial failures, tokens that are over, used-up limits,
//! refusals, jobs. It knows nothing of Muster. What it must hold in the end is computed in plain Rust
//! from the rows of a random world, and what no client may ever do is a *violation*.
//!
//! `MUSTER_CONVERGENCE_SECONDS` (default 3) says how long histories of each shape are started, of which
//! there is one at least; `MUSTER_SEED` repeats the one that failed.

mod amplitude_cohorts;
mod braze_cohorts;
mod customerio_segments;
mod eloqua;
mod facebook;
mod fate;
mod google;
mod history;
mod hubspot_lists;
mod intercom_tags;
mod iterable;
mod klaviyo_lists;
mod linkedin_audiences;
mod mailchimp_list;
mod marketing_cloud_lists;
mod marketo;
mod people;
mod pinterest_audiences;
mod queue;
mod responsys_batch;
mod rolls;
mod salesforce;
mod salesforce_campaigns;
mod salesforce_session;
mod sendgrid_lists;
mod snap_audiences;
mod stage;
mod tiktok_audiences;
mod zendesk;
