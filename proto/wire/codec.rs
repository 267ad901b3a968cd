//! The codec of all calls: protobuf. A message that can't be decoded is the mistake of the one who sent it.
//!
//! Protobuf demands UTF-8 of strings, but some clients pass on the bytes of a provider unchecked. In a batch of outcomes
//! such bytes are replaced by U+FFFD. So a text for people is taken with what can be read of it, a name or key is
//! rejected with its own outcome, and the other outcomes are taken.

use std::{any::Any, marker::PhantomData};

use prost::{
    Message,
    bytes::{Buf as _, Bytes},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

use crate::pb;

/// Encodes messages `T` and decodes messages `U`.
#[derive(Debug, Clone)]
pub struct ProtobufCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ProtobufCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for ProtobufCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProtobufDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProtobufDecoder(PhantomData)
    }
}

/// Decodes messages `U`.
#[derive(Debug, Clone)]
pub struct ProtobufDecoder<U>(PhantomData<U>);

impl<U: Message + Default + Send + 'static> Decoder for ProtobufDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = source.copy_to_bytes(source.remaining());
        match U::decode(bytes.clone()) {
            Ok(message) => Ok(Some(message)),
            Err(error) => match outcomes_with_replaced_bytes(bytes) {
                Some(message) => Ok(Some(message)),
                // It names the message and the field.
                None => Err(Status::invalid_argument(format!("the message is not valid: {error}"))),
            },
        }
    }
}

/// Decodes a batch of outcomes whose strings are not all UTF-8; `None` for other messages, and if more is wrong.
fn outcomes_with_replaced_bytes<U: 'static>(bytes: Bytes) -> Option<U> {
    let batch = RawBatch::decode(bytes).ok()?;
    let (parent, outcomes) = (batch.parent, batch.outcomes.into_iter().map(Into::into).collect());
    let report: Box<dyn Any> = Box::new(pb::ReportOutcomesRequest { parent, outcomes });
    let report = match report.downcast::<U>() {
        Ok(report) => return Some(*report),
        Err(report) => *report.downcast::<pb::ReportOutcomesRequest>().ok()?,
    };
    let streamed = pb::StreamOutcomesRequest { parent: report.parent, outcomes: report.outcomes };
    (Box::new(streamed) as Box<dyn Any>).downcast::<U>().ok().map(|streamed| *streamed)
}

/// A `ReportOutcomesRequest` or `StreamOutcomesRequest` with outcomes whose strings are not checked.
#[derive(Clone, PartialEq, Message)]
struct RawBatch {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(message, repeated, tag = "2")]
    outcomes: Vec<RawOutcome>,
}

/// An `Outcome` whose strings are not checked.
#[derive(Clone, PartialEq, Message)]
struct RawOutcome {
    #[prost(bytes = "bytes", tag = "1")]
    send_key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    lead: Bytes,
    #[prost(int32, tag = "3")]
    step: i32,
    #[prost(int32, tag = "4")]
    kind: i32,
    #[prost(int32, tag = "5")]
    reason: i32,
    #[prost(bytes = "bytes", tag = "6")]
    detail: Bytes,
    #[prost(message, optional, tag = "7")]
    time: Option<prost_types::Timestamp>,
    #[prost(int64, optional, tag = "8")]
    value_micros: Option<i64>,
}

impl From<RawOutcome> for pb::Outcome {
    fn from(raw: RawOutcome) -> Self {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            send_key: text(&raw.send_key),
            lead: text(&raw.lead),
            step: raw.step,
            kind: raw.kind,
            reason: raw.reason,
            detail: text(&raw.detail),
            time: raw.time,
            value_micros: raw.value_micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_outcomes_have_the_fields_of_outcomes() {
        let outcome = pb::Outcome {
            send_key: "key".to_owned(),
            lead: "lead".to_owned(),
            step: 3,
            kind: 2,
            reason: 5,
            detail: "text".to_owned(),
            time: Some(prost_types::Timestamp { seconds: 7, nanos: 9 }),
            value_micros: Some(11),
        };
        let raw = RawOutcome::decode(Bytes::from(outcome.encode_to_vec())).unwrap();
        assert_eq!(pb::Outcome::from(raw), outcome);
    }
}
