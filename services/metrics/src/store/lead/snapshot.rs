//! Which transactions had committed at one moment, so that rows can be judged later, without keeping a transaction open.

use std::error::Error as StdError;

use tokio_postgres::types::{FromSql, Type, accepts};

/// Numbers below belong to no transaction: their rows have always been there.
const FIRST_TRANSACTION: u32 = 3;

/// A snapshot of Postgres, as `pg_current_snapshot()` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Every transaction below it had ended.
    first_running: u64,
    /// No transaction from it on had ended.
    next: u64,
    /// Those between the two that had not ended.
    running: Vec<u64>,
}

impl Snapshot {
    /// Reads `first:next:running,running`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (first_running, next) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|number| !number.is_empty());
        let running = running.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { first_running, next, running })
    }

    /// Returns whether the transaction that wrote a row, which is visible now, had committed at the moment.
    ///
    /// A row has only the low 32 bits of the number. They are completed to the number that is nearest to the snapshot. So
    /// the answer is right for a transaction that is less than 2^31 transactions away. For an older row it can be wrongly
    /// `false`. Subtransactions do not occur: their numbers are not in a snapshot.
    pub(super) fn saw(&self, Xid(low): Xid) -> bool {
        if low < FIRST_TRANSACTION {
            return true;
        }
        let [.., a, b, c, d] = self.next.to_be_bytes();
        let distance = low.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
        let number = self.next.wrapping_add_signed(distance.into());
        number < self.first_running || number < self.next && !self.running.contains(&number)
    }
}

/// The low 32 bits of the number of a transaction: the column `xmin` of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xid(pub(super) u32);

impl FromSql<'_> for Xid {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(u32::from_be_bytes(raw.try_into()?)))
    }

    accepts!(XID);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_saw_what_had_committed_and_nothing_else() {
        let snapshot = Snapshot::parse("100:110:100,104").unwrap();
        for (number, saw) in
            [(2, true), (3, true), (99, true), (100, false), (101, true), (104, false), (109, true), (110, false)]
        {
            assert_eq!(snapshot.saw(Xid(number)), saw, "{number}");
        }
        assert!(!snapshot.saw(Xid(4000)), "a later one");
        assert!(Snapshot::parse("7:7:").unwrap().saw(Xid(6)), "none is running");
        for broken in ["", "7", "7:8", "a:8:", "7:b:", "7:8:x"] {
            assert_eq!(Snapshot::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn numbers_are_completed_across_a_wraparound() {
        // The low bits of the numbers around it are near 0 and near 2^32.
        let wrapped = (5 << 32) + 10;
        let snapshot = Snapshot::parse(&format!("{}:{wrapped}:{}", wrapped - 20, wrapped - 15)).unwrap();
        let low = |number: u64| Xid(u32::try_from(number & u64::from(u32::MAX)).unwrap());
        assert!(snapshot.saw(low(wrapped - 30)) && snapshot.saw(low(wrapped - 14)) && snapshot.saw(low(wrapped - 1)));
        assert!(!snapshot.saw(low(wrapped - 15)), "it was running");
        assert!(!snapshot.saw(low(wrapped)) && !snapshot.saw(low(wrapped + 1_000_000)), "later ones");
    }
}
