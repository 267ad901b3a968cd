//! Typed ids and resource names. They are parsed once at the edge, and are valid from then on.

use std::{fmt, str::FromStr, sync::Arc};

use crate::invalid::{Invalid, excerpt};

/// Longest workspace id: a Kubernetes namespace.
const WORKSPACE_MAX: usize = 63;
/// Longest campaign id: the name of a Kubernetes resource.
const CAMPAIGN_MAX: usize = 253;
/// Longest lead and account id.
const KEY_MAX: usize = 128;

fn is_dns(id: &str, max: usize, dots: bool) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || (dots && byte == b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = id.as_bytes();
    bytes.len() <= max && bytes.iter().copied().all(inner) && outer(bytes.first()) && outer(bytes.last())
}

fn is_key(id: &str) -> bool {
    (1..=KEY_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~@+-".contains(&b))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Invalid::new("", format_args!("`{}` must be {}", excerpt(text), $rule)))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of a workspace; a Kubernetes namespace maps to the workspace of the same name.
    WorkspaceId,
    |text| is_dns(text, WORKSPACE_MAX, false),
    "1 to 63 of `a-z 0-9 -`, starting and ending with a letter or digit"
);
id!(
    /// Id of a campaign within its workspace.
    CampaignId,
    |text| is_dns(text, CAMPAIGN_MAX, true),
    "1 to 253 of `a-z 0-9 - .`, starting and ending with a letter or digit"
);
id!(
    /// Id of an account within its workspace.
    AccountId,
    is_key,
    "1 to 128 of `A-Z a-z 0-9 . _ ~ @ + -`"
);
id!(
    /// The caller's own id of a lead within its campaign.
    LeadId,
    is_key,
    "1 to 128 of `A-Z a-z 0-9 . _ ~ @ + -`"
);

/// `workspaces/{workspace}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceName(pub WorkspaceId);

/// `workspaces/{workspace}/campaigns/{campaign}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CampaignName {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The campaign in it.
    pub campaign: CampaignId,
}

/// `workspaces/{workspace}/accounts/{account}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The account in it.
    pub account: AccountId,
}

/// `workspaces/{workspace}/campaigns/{campaign}/leads/{lead}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeadName {
    /// The campaign.
    pub campaign: CampaignName,
    /// The lead in it.
    pub lead: LeadId,
}

/// `workspaces/{workspace}/optOuts/{lead}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptOutName {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The lead id on its list.
    pub lead: LeadId,
}

/// Splits `collection/id/...` into its ids. The error names the expected form.
fn ids<'a, const N: usize>(text: &'a str, collections: [&str; N], form: &str) -> Result<[&'a str; N], Invalid> {
    let wrong = || Invalid::new("", format_args!("`{}` must have the form `{form}`", excerpt(text)));
    let mut parts = text.split('/');
    let mut found = [""; N];
    for (id, collection) in found.iter_mut().zip(collections) {
        if parts.next() != Some(collection) {
            return Err(wrong());
        }
        *id = parts.next().ok_or_else(wrong)?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(found) }
}

impl FromStr for WorkspaceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let [workspace] = ids(text, ["workspaces"], "workspaces/{workspace}")?;
        Ok(Self(workspace.parse()?))
    }
}

impl FromStr for CampaignName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let form = "workspaces/{workspace}/campaigns/{campaign}";
        let [workspace, campaign] = ids(text, ["workspaces", "campaigns"], form)?;
        Ok(Self { workspace: workspace.parse()?, campaign: campaign.parse()? })
    }
}

impl FromStr for AccountName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let [workspace, account] = ids(text, ["workspaces", "accounts"], "workspaces/{workspace}/accounts/{account}")?;
        Ok(Self { workspace: workspace.parse()?, account: account.parse()? })
    }
}

impl FromStr for LeadName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let form = "workspaces/{workspace}/campaigns/{campaign}/leads/{lead}";
        let [workspace, campaign, lead] = ids(text, ["workspaces", "campaigns", "leads"], form)?;
        let campaign = CampaignName { workspace: workspace.parse()?, campaign: campaign.parse()? };
        Ok(Self { campaign, lead: lead.parse()? })
    }
}

impl FromStr for OptOutName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let [workspace, lead] = ids(text, ["workspaces", "optOuts"], "workspaces/{workspace}/optOuts/{lead}")?;
        Ok(Self { workspace: workspace.parse()?, lead: lead.parse()? })
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspaces/{}", self.0)
    }
}

impl fmt::Display for CampaignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspaces/{}/campaigns/{}", self.workspace, self.campaign)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspaces/{}/accounts/{}", self.workspace, self.account)
    }
}

impl fmt::Display for LeadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/leads/{}", self.campaign, self.lead)
    }
}

impl fmt::Display for OptOutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workspaces/{}/optOuts/{}", self.workspace, self.lead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        for name in ["workspaces/a/campaigns/spring.v2", "workspaces/team-1/campaigns/0"] {
            assert_eq!(name.parse::<CampaignName>().unwrap().to_string(), name);
        }
        let name = "workspaces/a/campaigns/b/leads/Ann.O+1@example.org";
        assert_eq!(name.parse::<LeadName>().unwrap().to_string(), name);
        assert_eq!("workspaces/a/optOuts/x@y".parse::<OptOutName>().unwrap().to_string(), "workspaces/a/optOuts/x@y");
        assert_eq!(
            "workspaces/a/accounts/x@y".parse::<AccountName>().unwrap().to_string(),
            "workspaces/a/accounts/x@y"
        );
    }

    #[test]
    fn malformed_names_are_refused_and_say_the_form() {
        for name in [
            "",
            "a",
            "workspaces/",
            "workspaces/A/campaigns/b",
            "workspaces/a/campaigns/-b",
            "workspaces/a/campaigns/b/",
            "workspaces/a/campaigns/b/leads/c",
            "workspaces/a/accounts/b",
            "workspaces/a\0/campaigns/b",
            "workspaces/é/campaigns/b",
        ] {
            let invalid = name.parse::<CampaignName>().expect_err(name);
            assert!(invalid.problem.contains("must"), "{invalid}");
        }
        assert!("workspaces/a/campaigns/b/leads/sp ace".parse::<LeadName>().is_err());
        assert!(format!("workspaces/a/campaigns/b/leads/{}", "x".repeat(129)).parse::<LeadName>().is_err());
        let long = "y".repeat(100_000).parse::<WorkspaceId>().expect_err("too long");
        assert!(long.problem.len() < 300, "an error does not grow with its input");
    }
}
