//! Reads messages of the API through their descriptors. Tests that walk them cover every field, also fields that are
//! added to the contract later.

use std::{collections::BTreeSet, sync::OnceLock};

use campaign_metrics::{FILE_DESCRIPTOR_SET, pb};
use jiff::Timestamp;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

/// A message whose descriptor is known by its name.
pub trait Described: prost::Message + Default {
    /// Its full name.
    const NAME: &'static str;
}

macro_rules! described {
    ($($message:ident),*) => {
        $(impl Described for pb::$message {
            const NAME: &'static str = concat!("campaign_metrics.v1.", stringify!($message));
        })*
    };
}
described!(Campaign, Account, Lead, LeadOutcome, Claim, CampaignNotSending, OptOut);
described!(QueryCampaignHistoryResponse, QueryAccountHistoryResponse, ListCampaignAccountsResponse);
described!(Diagnosis, CampaignComparison, WorkspaceTotals);

/// The descriptor of a message.
pub fn descriptor<M: Described>() -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are whole"));
    pool.get_message_by_name(M::NAME).expect("a message of the API")
}

/// A message with its descriptor.
pub fn reflect<M: Described>(message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message).expect("a message fits its own descriptor");
    dynamic
}

/// An enum value without the prefix that all values of its enum have.
pub fn short(values: &EnumDescriptor, number: i32) -> String {
    let mut prefix = String::new();
    for letter in values.name().chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    let value = values.get_value(number).unwrap_or_else(|| panic!("{} has no value {number}", values.full_name()));
    value.name().trim_start_matches(&prefix).trim_start_matches('_').to_owned()
}

/// Renders a message that is a single value: a timestamp in RFC 3339 or a duration in seconds.
pub fn well_known(message: &DynamicMessage) -> Option<String> {
    let part = |name: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::I64(number)) => *number,
        Some(Value::I32(number)) => i64::from(*number),
        _ => 0,
    };
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let nanos = i32::try_from(part("nanos")).expect("less than a second");
            Some(Timestamp::new(part("seconds"), nanos).expect("a moment").to_string())
        }
        "google.protobuf.Duration" => {
            let fraction = format!("{:09}", part("nanos"));
            // As in protobuf's JSON: none, three, six or nine digits.
            let digits = [0, 3, 6, 9].into_iter().find(|digits| fraction[*digits..].bytes().all(|byte| byte == b'0'));
            let fraction = &fraction[..digits.unwrap_or(9)];
            Some(format!("{}{}{fraction}s", part("seconds"), if fraction.is_empty() { "" } else { "." }))
        }
        _ => None,
    }
}

/// The paths of all fields of a message that hold a value rather than fields of their own.
pub fn leaves<M: Described>() -> BTreeSet<String> {
    fn walk(message: &MessageDescriptor, prefix: &str, found: &mut BTreeSet<String>) {
        for field in message.fields() {
            let path = format!("{prefix}{}", field.name());
            match field.kind() {
                Kind::Message(inner) if well_known(&DynamicMessage::new(inner.clone())).is_none() => {
                    walk(&inner, &format!("{path}."), found);
                }
                _ => {
                    found.insert(path);
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&descriptor::<M>(), "", &mut found);
    found
}

/// Returns those of [`leaves`] whose value in a message differs from the default. Comparing others proves nothing.
pub fn told<M: Described>(message: &M) -> BTreeSet<String> {
    fn walk(message: &DynamicMessage, prefix: &str, found: &mut BTreeSet<String>) {
        for (field, value) in message.fields() {
            let path = format!("{prefix}{}", field.name());
            let values = match value {
                Value::List(values) => values.iter().collect(),
                value => vec![value],
            };
            for value in values {
                match value {
                    Value::Message(inner) if well_known(inner).is_none() => walk(inner, &format!("{path}."), found),
                    _ => {
                        found.insert(path.clone());
                    }
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&reflect(message), "", &mut found);
    found
}

/// Returns a message with every field set. All numbers, texts and times differ.
///
/// Booleans and enums have too few values for that. Over `round` 0 to 7 no two of them are equal in every round.
pub fn filled<M: Described>(round: u32) -> M {
    fn one(kind: &Kind, round: u32, count: &mut u32) -> Value {
        *count += 1;
        let number = *count + 1000 * (round + 1);
        match kind {
            Kind::Bool => Value::Bool((*count >> (round % 8)) & 1 == 1),
            Kind::Int32 => Value::I32(number.cast_signed()),
            Kind::Int64 => Value::I64(number.into()),
            Kind::Double => Value::F64(f64::from(*count) / 997.0),
            Kind::String => Value::String(format!("workspaces/w{number}/campaigns/c{number}/leads/l{number}")),
            Kind::Enum(values) => {
                let told = u32::try_from(values.values().len() - 1).expect("an enum is small");
                Value::EnumNumber(((*count + round * round) % told + 1).cast_signed())
            }
            Kind::Message(inner) => {
                let mut message = DynamicMessage::new(inner.clone());
                if well_known(&message).is_some() {
                    message.set_field_by_name("seconds", Value::I64(i64::from(number) * 86_399));
                    message.set_field_by_name("nanos", Value::I32((number % 3 * 120_000_000).cast_signed()));
                } else {
                    fill(&mut message, round, count);
                }
                Value::Message(message)
            }
            other => panic!("no field of the API is {other:?} yet"),
        }
    }
    fn fill(message: &mut DynamicMessage, round: u32, count: &mut u32) {
        for field in message.descriptor().fields() {
            let kind = field.kind();
            let value = if field.is_list() {
                Value::List((0..=round % 3).map(|_| one(&kind, round, count)).collect())
            } else {
                one(&kind, round, count)
            };
            message.set_field(&field, value);
        }
    }
    let mut message = DynamicMessage::new(descriptor::<M>());
    fill(&mut message, round, &mut 0);
    message.transcode_to().expect("a message fits its own descriptor")
}
