//! Loads `examples/`: accounts, then Campaign resources, then their leads.

use anyhow::{Context as _, Result, ensure};

use crate::{harness::parts::repository, stage::Stage, step};

/// The accounts that the resources name. Only carla serves the campaign that is paused.
pub const ACCOUNTS: [&str; 5] = ["alma", "bruno", "carla", "dario", "elena"];

/// The campaigns; each has a resource and a file of leads.
pub const CAMPAIGNS: [&str; 3] = ["partner-outreach", "product-news", "spring-launch"];

/// Loads them.
pub async fn load(stage: &Stage) -> Result<()> {
    step("Creating accounts with campaignctl", async {
        for account in ACCOUNTS {
            stage.campaignctl(&["accounts", "create", account]).await?;
        }
        Ok(())
    })
    .await?;
    let examples = repository().join("examples");
    let resources = examples.join("campaigns");
    let resources = resources.to_str().context("the path of the repository is not UTF-8")?;
    step("Applying examples/campaigns with kubectl, until the controller has them Ready", async {
        stage.kubectl(&["apply", "-f", resources]).await?.success()?;
        let ready = ["wait", "campaigns", "--all", "--for=condition=Ready", "--timeout=30s"];
        stage.kubectl(&ready).await?.success()
    })
    .await?;
    for campaign in CAMPAIGNS {
        let file = examples.join("leads").join(format!("{campaign}.csv"));
        let refused = stage.folder.join(format!("{campaign}.refused.csv"));
        let (file, refused) = (file.to_string_lossy(), refused.to_string_lossy());
        let import = ["leads", "import", &file, "--campaign", campaign, "--complete", "--refused", &refused];
        step(&format!("Importing examples/leads/{campaign}.csv"), stage.campaignctl(&import)).await?;
    }
    let listed = stage.kubectl(&["get", "campaigns", "-o", "name"]).await?.success()?;
    ensure!(listed.lines().count() == CAMPAIGNS.len(), "examples/campaigns has other campaigns than leads:\n{listed}");
    Ok(())
}
