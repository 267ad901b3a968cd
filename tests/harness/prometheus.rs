//! Prometheus with the rules of the chart, scraping daemons of a test or of the demo.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    http,
    parts::{part, repository},
    postgres::free_port,
    process::{Directory, Process, Signal},
    wait::SOON,
};

/// Where the rules of the chart are.
const RULES: &str = "charts/campaign-metrics/files/rules";

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    pub process: Process,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// A series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: Value,
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty without it.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

/// Returns the files of rules, in the order of their names.
pub fn rule_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(RULES)).expect("the chart has rules");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

impl Prometheus {
    /// Starts it in `directory`, with the targets of each job as the addresses of admin ports. It scrapes them and evaluates the
    /// rules at the interval, in place of their own.
    pub async fn start(
        directory: &Path,
        jobs: &[(&str, Vec<String>)],
        interval: Duration,
        then: Directory,
    ) -> Result<Self> {
        let interval = format!("{}ms", interval.as_millis());
        let rules = directory.join("rules");
        fs::create_dir_all(&rules)?;
        for file in rule_files() {
            let mut text = fs::read_to_string(&file)?;
            for usual in ["interval: 30s", "interval: 2m"] {
                text = text.replace(usual, &format!("interval: {interval}"));
            }
            fs::write(rules.join(file.file_name().context("a file has a name")?), text)?;
        }
        let mut configuration = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\n\
             rule_files: [{}/*.yaml]\nscrape_configs:\n",
            rules.display()
        );
        for (job, urls) in jobs {
            let targets: Vec<&str> = urls.iter().map(|url| url.trim_start_matches("http://")).collect();
            writeln!(configuration, "  - job_name: {job}\n    static_configs: [{{targets: {targets:?}}}]")?;
        }
        let file = directory.join("prometheus.yml");
        fs::write(&file, configuration)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(part("prometheus")?);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Process::start("prometheus", &command, directory, Signal::TERM, then)?;
        let url = format!("http://{address}");
        let ready = format!("{url}/-/ready");
        process
            .ready(SOON, async || {
                let (status, body) = http::get(&ready).await?;
                ensure!(status == 200, "{body}");
                Ok(())
            })
            .await?;
        Ok(Self { process, url })
    }

    /// Evaluates an expression now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let answer = self.api(&format!("query?query={}", encoded(expression))).await?;
        let result = answer["result"].as_array().with_context(|| format!("`{expression}` gives no vector"))?;
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str().context("a sample has a value")?.parse()?;
            Ok(Sample { labels: sample["metric"].clone(), value })
        };
        result.iter().map(sample).collect()
    }

    /// The `data` of a path of its API, such as `targets`.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = http::get(&format!("{}/api/v1/{path}", self.url)).await?;
        ensure!(status == 200, "{path}: {body}");
        Ok(serde_json::from_str::<Value>(&body)?["data"].take())
    }
}

/// An expression as part of a URL.
fn encoded(expression: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    expression
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
