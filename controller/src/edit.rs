//! When the spec of a resource was edited last, as the API server knows it: from `managedFields`.
//!
//! `managedFields` are four fifths of the size of a resource, so the cache keeps one entry without its fields.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::crd::Campaign;

/// Removes all of `managedFields` but the time of the last edit of the spec.
pub fn keep_time(resource: &mut Campaign) {
    let time = edit_time(resource);
    resource.metadata.managed_fields = time.map(|time| {
        let entry = ManagedFieldsEntry { time: Some(time.into()), ..ManagedFieldsEntry::default() };
        vec![entry]
    });
}

/// Returns when the spec was edited last, in whole seconds; `None` if the API server does not say.
pub fn edit_time(resource: &Campaign) -> Option<Timestamp> {
    let entries = resource.metadata.managed_fields.iter().flatten();
    entries.filter(|entry| is_of_spec(entry)).filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max()
}

/// Whether an entry is about the spec. One that [`keep_time`] left has no fields.
fn is_of_spec(entry: &ManagedFieldsEntry) -> bool {
    entry.fields_v1.as_ref().is_none_or(|fields| fields.0.get("f:spec").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_edits_of_the_spec_count_before_and_after_the_rest_is_removed() {
        let entry = |time: &str, manager: &str, fields: serde_json::Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let mut resource: Campaign = serde_json::from_value(json!({
            "apiVersion": "campaign-metrics.io/v1alpha1", "kind": "Campaign", "spec": {},
            "metadata": {"name": "spring", "managedFields": [
                entry("2026-03-02T10:00:05Z", "kubectl-create", json!({"f:spec": {"f:state": {}}})),
                entry("2026-03-02T10:00:07Z", "kubectl-edit", json!({"f:spec": {"f:steps": {}}, "f:metadata": {}})),
                entry("2026-03-02T10:00:09Z", "kubectl-annotate", json!({"f:metadata": {"f:annotations": {}}})),
                entry("2026-03-02T10:00:11Z", "campaign-controller", json!({"f:status": {"f:state": {}}})),
            ]},
        }))
        .expect("the resource is well formed");
        let edited: Timestamp = "2026-03-02T10:00:07Z".parse().unwrap();
        assert_eq!(edit_time(&resource), Some(edited));
        keep_time(&mut resource);
        assert_eq!(edit_time(&resource), Some(edited));
        assert_eq!(resource.metadata.managed_fields.as_ref().unwrap()[0].fields_v1, None);
        resource.metadata.managed_fields = None;
        keep_time(&mut resource);
        assert_eq!(edit_time(&resource), None);
    }
}
