//! The resource definition: the checked-in YAML is the generated one, and its rules refuse what can never be valid.

use std::path::Path;

use campaign_controller::crd::{self, ActiveHours, Campaign, CampaignSpec, DesiredState, Window};

/// A resource as the API server would have completed it with the defaults of the schema.
fn campaign(change: impl FnOnce(&mut CampaignSpec)) -> Campaign {
    let mut spec: CampaignSpec = serde_json::from_value(serde_json::json!({})).expect("everything has a default");
    change(&mut spec);
    Campaign::new("spring", spec)
}

#[test]
fn both_charts_have_the_generated_definition() {
    let generated = crd::yaml().unwrap();
    for chart in ["campaign-metrics", "campaign-metrics-crds"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../charts/{chart}/files/campaigns.campaign-metrics.io.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().expect("the path has a folder")).unwrap();
            std::fs::write(&path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "{} is not the generated one: run `UPDATE_GOLDEN=1 cargo test -p campaign-controller --test crd` and commit it",
            path.display()
        );
    }
}

#[test]
fn every_field_is_described_and_every_text_and_list_of_the_spec_is_bounded() {
    let definition: serde_json::Value = serde_yaml::from_str(&crd::yaml().unwrap()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    for part in ["spec", "status"] {
        check_field(part, &schema[part]);
    }
    check_bounds("spec", &schema["spec"]);
}

fn check_field(path: &str, field: &serde_json::Value) {
    assert!(field["description"].is_string(), "{path} is not described");
    for (name, inner) in field["properties"].as_object().into_iter().flatten() {
        check_field(&format!("{path}.{name}"), inner);
    }
}

/// `kubectl explain` shows descriptions and the values of enums, and no bounds or defaults. So the words have them.
#[test]
fn the_description_of_each_field_of_the_spec_has_its_range_and_its_default() {
    let definition: serde_json::Value = serde_yaml::from_str(&crd::yaml().unwrap()).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = 0;
    check_words("spec", spec, &mut fields);
    assert_eq!(fields, 18, "a field that is new or gone");
}

fn check_words(path: &str, object: &serde_json::Value, fields: &mut usize) {
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        *fields += 1;
        let path = format!("{path}.{name}");
        let text = field["description"].as_str().unwrap_or_default();
        let has = |words: String| assert!(text.contains(&words), "{path} does not say `{words}`: {text}");
        assert!(!text.contains('\n'), "{path} has more than one line");
        if let (Some(least), Some(most)) = (field["minimum"].as_f64(), field["maximum"].as_f64()) {
            has(format!("{least} to {most}"));
        }
        for bound in ["maxItems", "maxLength"] {
            // A text with a rule has its format in words; its bound only keeps the rule cheap.
            if let Some(most) = field[bound].as_u64().filter(|_| field["x-kubernetes-validations"].is_null()) {
                let all_of_an_enum = field["items"]["enum"].as_array().is_some_and(|all| all.len() as u64 == most);
                if !all_of_an_enum {
                    has(format!("up to {most}"));
                }
            }
        }
        match &field["default"] {
            serde_json::Value::Null if required.contains(&name.as_str()) => {}
            serde_json::Value::Null => has("Absent means ".to_owned()),
            serde_json::Value::Array(_) => has("Default: none, ".to_owned()),
            serde_json::Value::String(text) => has(format!("Default: {text}.")),
            serde_json::Value::Number(number) => has(format!("Default: {number}")),
            default => has(format!("Default: {default}.")),
        }
        check_words(&path, field, fields);
        check_words(&format!("{path}[]"), &field["items"], fields);
    }
}

fn check_bounds(path: &str, field: &serde_json::Value) {
    let bounded = match field["type"].as_str() {
        Some("string") => field["maxLength"].is_u64() || field["enum"].is_array(),
        Some("array") => field["maxItems"].is_u64(),
        Some("integer") => field["maximum"].is_number() && field["minimum"].is_number(),
        _ => true,
    };
    assert!(bounded, "{path} has no bound");
    for (name, inner) in field["properties"].as_object().into_iter().flatten() {
        check_bounds(&format!("{path}.{name}"), inner);
    }
    if field["items"].is_object() {
        check_bounds(&format!("{path}[]"), &field["items"]);
    }
}

#[test]
fn finished_never_goes_back_and_what_is_fixed_stays() {
    let base = campaign(|_| {});
    let finished = campaign(|spec| spec.state = DesiredState::Finished);
    let complete = campaign(|spec| spec.lead_list_complete = true);
    let paused = campaign(|spec| spec.state = DesiredState::Paused);
    let longer = campaign(|spec| spec.steps = 2);
    for (case, old, new, allowed) in [
        ("pause", &base, &paused, true),
        ("resume", &paused, &base, true),
        ("finish", &paused, &finished, true),
        ("finished stays", &finished, &finished, true),
        ("finished to active", &finished, &base, false),
        ("finished to paused", &finished, &paused, false),
        ("other steps", &base, &longer, false),
        ("list complete", &base, &complete, true),
        ("list open again", &complete, &base, false),
    ] {
        assert_eq!(new.validate_cel_update(old).is_ok(), allowed, "{case}");
    }
}

#[test]
fn empty_windows_and_delays_over_a_year_are_refused() {
    let window = |start: &str, end: &str| {
        let window = Window { start_time: start.into(), end_time: end.into(), ..Window::default() };
        campaign(|spec| {
            spec.active_hours = Some(ActiveHours { time_zone: "UTC".into(), windows: vec![window] });
        })
    };
    assert!(window("09:00", "17:00").validate_cel().is_ok());
    assert!(window("22:00", "02:00").validate_cel().is_ok());
    assert!(window("00:00", "24:00").validate_cel().is_ok());
    assert!(window("09:00", "09:00").validate_cel().is_err());
    for (delay, allowed) in [
        ("0s", true),
        ("8760h", true),
        ("525600m", true),
        ("8761h", false),
        ("525601m", false),
        ("99999999h", false),
        ("2d", false),
    ] {
        let valid = campaign(|spec| spec.follow_up_delay = delay.into()).validate_cel().is_ok();
        assert_eq!(valid, allowed, "{delay}");
    }
}
