//! Names fields of a resource for those of the API.

/// Returns the path in a resource of a field of `ApplyCampaignRequest`: `spec.activeHours.timeZone` for
/// `campaign.active_hours.time_zone`. `None` for a field that does not come from the resource.
pub fn resource_field(field: &str) -> Option<String> {
    match (field, field.strip_prefix("campaign.")) {
        ("campaign.name", _) => Some("metadata.name".to_owned()),
        (_, Some(setting)) => Some(format!("spec.{}", camel_case(setting))),
        ("state" | "adoption_policy", None) => Some(format!("spec.{}", camel_case(field))),
        (_, None) => None,
    }
}

/// Writes `active_hours.time_zone` as `activeHours.timeZone`.
fn camel_case(path: &str) -> String {
    let mut after_underscore = false;
    let letter = |letter: char| {
        let capital = std::mem::replace(&mut after_underscore, letter == '_');
        (letter != '_').then(|| if capital { letter.to_ascii_uppercase() } else { letter })
    };
    path.chars().filter_map(letter).collect()
}
