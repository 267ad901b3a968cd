//! A scrape of the service: how large it is, and how long it takes.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{
    direct::count,
    harness::http,
    report::{Report, Target},
    stage::Service,
};

const SCRAPES: usize = 5;

/// Scrapes one after the other.
#[derive(Debug, Default)]
pub struct Scrapes {
    /// Series of the last one.
    pub series: usize,
    pub text: String,
    pub times_ms: Vec<f64>,
}

/// Scrapes a service that does nothing else.
pub async fn scrapes(service: &Service) -> Result<Scrapes> {
    let mut all = Scrapes::default();
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let (status, text) = http::get(&format!("{}/metrics", service.admin_url)).await?;
        all.times_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(status == 200 && text.contains("campaign_metrics_collector_success 1\n"), "void: {text:.300}");
        all.series = text.lines().filter(|line| !line.starts_with('#')).count();
        all.text = text;
    }
    Ok(all)
}

impl Scrapes {
    /// Reports series, size and time below a name.
    pub fn report(&self, report: &mut Report, name: &str) {
        report.value(&format!("{name}_series"), "series", &[count(self.series)], Target::None);
        report.value(&format!("{name}_scrape_mib"), "MiB", &[count(self.text.len()) / MIB], Target::None);
        report.value(&format!("{name}_scrape_ms"), "ms", &self.times_ms, Target::None);
    }
}

/// Bytes of a MiB.
pub const MIB: f64 = 1_048_576.0;
